"""The HTTP API: its routes, and what they answer.

GET  /                                    the page, with its files below /static
POST /classify                            one picture, in a form or as it is
POST /v1/models/NAME:predict              pictures as TensorFlow Serving's REST API takes them
GET  /v1/models/NAME                      the version that is served, as there
GET  /healthz  /metrics  /openapi.json    for programs
"""

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import prometheus_client
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from inference import classification
from inference.predictor import Model
from inference.server import schema, tensorflow_serving
from inference.server.bodies import MULTIPART_BYTES, Bodies, file_of_form, too_large
from inference.server.classifying import Classifier
from inference.server.envelope import Envelope
from inference.server.errors import RequestError, answer
from inference.server.metrics import Metrics
from inference.server.models import Models

_PAGE = Path(__file__).with_name("page")
_CONTENT_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_LARGE_JSON = 100_000  # bytes that take more than a millisecond to parse
_REFUSALS = (
    *("bad_request", "timeout", "length_required", "too_large", "not_an_image"),
    *("unreadable_image", "bad_output", "internal", "busy", "stopping"),
)


@dataclasses.dataclass(frozen=True)
class Service:
    """What the routes work with."""

    name: str  # of the model, in addresses and answers
    models: Models
    classifier: Classifier
    bodies: Bodies
    metrics: Metrics
    max_image_bytes: int
    max_image_pixels: int


def create_app(service: Service, is_stopping: Callable[[], bool] = lambda: False) -> FastAPI:
    """The application.

    Args:
        service: what it works with.
        is_stopping: whether the server is about to end, so that connections are not kept.
    """
    # FastAPI's own pages of documentation load scripts from elsewhere.
    app = FastAPI(title="Image classifier", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_middleware(Envelope, observe=service.metrics.observe_request, is_stopping=is_stopping)
    app.add_exception_handler(HTTPException, _no_such_route)
    app.add_exception_handler(RequestValidationError, _bad_parameter)
    _add_page(app)
    _add_classify(app, service)
    _add_tensorflow_serving(app, service)
    _add_operations(app, service)
    return app


def _add_page(app: FastAPI) -> None:
    """The files of the page, read now: no request ever opens a file."""

    def add(path: str, file: Path) -> None:
        content, content_type = file.read_bytes(), _CONTENT_TYPES[file.suffix]

        async def page() -> Response:
            return Response(content, media_type=content_type)

        app.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)

    for file in sorted(_PAGE.iterdir()):
        if file.suffix in _CONTENT_TYPES:
            add("/" if file.name == "index.html" else f"/static/{file.name}", file)


def _add_classify(app: FastAPI, service: Service) -> None:
    @app.post(
        "/classify",
        response_model=schema.Classification,
        responses=schema.problems(*_REFUSALS),
        openapi_extra=schema.PICTURE_BODY,
        summary="Classify one picture",
    )
    async def classify(
        request: Request, top_k: Annotated[int, Query(ge=1, description="How many classes.")] = 5
    ) -> dict[str, Any]:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        is_form = content_type == "multipart/form-data"
        limit = service.max_image_bytes + (MULTIPART_BYTES if is_form else 0)
        async with service.bodies.read(request, limit) as body:
            upload = await file_of_form(request, body) if is_form else body
            _check_size(upload, service)
            with service.models.lease() as predictor:
                (row,) = await service.classifier.probabilities([upload], predictor)
                names = predictor.model.class_names
        ranked = classification.ranked(row, names, top_k)
        predictions = classification.as_json(ranked)
        best = {key: predictions[0][key] for key in ("class", "probability")}
        model = {"name": service.name, "version": predictor.model.version}
        return {**best, "predictions": predictions, "model": model}


def _add_tensorflow_serving(app: FastAPI, service: Service) -> None:
    async def predict(request: Request, name: str, version: int | None = None) -> dict[str, Any]:
        with service.models.lease() as predictor:
            _check_model(service, predictor.model, name, version)
            # In base64 a picture takes four thirds of its size.
            async with service.bodies.read(request, 2 * service.max_image_bytes) as body:
                if len(body) > _LARGE_JSON:
                    wanted = await asyncio.to_thread(tensorflow_serving.parsed, body)
                else:
                    wanted = tensorflow_serving.parsed(body)
                for picture in wanted.pictures:
                    _check_size(picture, service)
                rows = await service.classifier.probabilities(wanted.pictures, predictor)
            return tensorflow_serving.answer(wanted, predictor.model.class_names, rows)

    def status(name: str, version: int | None = None) -> dict[str, Any]:
        _check_model(service, service.models.model, name, version)
        return tensorflow_serving.status(service.models.model.version)

    for path in ("/v1/models/{name}", "/v1/models/{name}/versions/{version}"):
        app.add_api_route(
            f"{path}:predict",
            predict,
            methods=["POST"],
            response_model=schema.Rows | schema.Columns,
            responses=schema.problems("not_found", *_REFUSALS),
            openapi_extra=schema.PREDICT_BODY,
            summary="Classify pictures (TensorFlow Serving's predict)",
        )
        app.add_api_route(
            path,
            status,
            response_model=schema.ModelStatus,
            responses=schema.problems("not_found"),
            summary="Which version is served (TensorFlow Serving's status)",
        )


def _add_operations(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", response_model=schema.Health, summary="Whether the server works")
    async def health() -> dict[str, Any]:
        model = service.models.model
        return {
            "status": "ok",
            "model": {
                "name": service.name,
                "version": model.version,
                "net": model.model_name,
                "image_size": model.image_size,
                "class_names": model.class_names,
            },
            "limits": {
                "max_image_bytes": service.max_image_bytes,
                "max_image_pixels": service.max_image_pixels,
            },
            "reload_error": service.models.reload_error,
        }

    @app.get("/metrics", response_class=Response, summary="Metrics, for Prometheus")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=prometheus_client.CONTENT_TYPE_LATEST)


def _check_size(picture: bytes, service: Service) -> None:
    if len(picture) > service.max_image_bytes:
        raise too_large(service.max_image_bytes)


def _check_model(service: Service, model: Model, name: str, version: int | None) -> None:
    if name != service.name:
        raise RequestError("not_found", "There is no model of this name.")
    if version not in (None, model.version):
        raise RequestError("not_found", "This version of the model is not served.")


async def _no_such_route(request: Request, error: HTTPException) -> Response:
    if error.status_code == 405:
        failure = RequestError(
            "method_not_allowed",
            "This address does not take this method.",
            [*(error.headers or {}).items()],
        )
    else:
        failure = RequestError("not_found", "There is nothing at this address.")
    return answer(failure, request.state.request_id)


async def _bad_parameter(request: Request, error: RequestValidationError) -> Response:
    names = ", ".join(str(problem["loc"][-1]) for problem in error.errors())
    failure = RequestError("bad_request", f"This parameter has no valid value: {names}.")
    return answer(failure, request.state.request_id)
