"""Requests and answers of TensorFlow Serving's REST API, as far as they are about pictures.

https://www.tensorflow.org/tfx/serving/api_rest; a picture is `{"b64": "..."}` there.
"""

import base64
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from inference.server.errors import RequestError

INPUT = "image_bytes"
SIGNATURE = "serving_default"


class PredictRequest(NamedTuple):
    """What a client wants to know."""

    pictures: list[bytes]  # image files
    is_row_format: bool


def parsed(body: bytes) -> PredictRequest:
    """Reads a request in row format (`instances`) or column format (`inputs`).

    Raises:
        RequestError: it is not one.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestError("bad_request", "The body is not JSON.") from None
    if not isinstance(content, dict) or ("instances" in content) == ("inputs" in content):
        raise RequestError("bad_request", "The body has to have either instances or inputs.")
    if content.get("signature_name", SIGNATURE) != SIGNATURE:
        raise RequestError("bad_request", f"The only signature is {SIGNATURE}.")
    if "instances" in content:
        values = content["instances"]
        if isinstance(values, list):
            values = [_named(value) for value in values]
    else:
        values = _named(content["inputs"])
        values = values if isinstance(values, list) else [values]
    if not isinstance(values, list) or not values:
        raise RequestError("bad_request", "There have to be one or more images.")
    return PredictRequest([_picture(value) for value in values], "instances" in content)


def answer(
    request: PredictRequest, class_names: Sequence[str], rows: Sequence[np.ndarray]
) -> dict[str, Any]:
    """The answer to a request, in its format.

    Args:
        request: what was asked.
        class_names: of the model's outputs.
        rows: probabilities of each picture's classes, float32 [C].
    """
    best = [int(row.argmax()) for row in rows]
    outputs = {
        "class": [class_names[label] for label in best],
        "probability": [float(row[label]) for row, label in zip(rows, best, strict=True)],
        "probabilities": [row.tolist() for row in rows],
    }
    if not request.is_row_format:
        return {"outputs": outputs}
    columns = zip(*outputs.values(), strict=True)
    return {"predictions": [dict(zip(outputs, row, strict=True)) for row in columns]}


def status(version: int) -> dict[str, Any]:
    """What is said of the one version that is served."""
    return {
        "model_version_status": [
            {
                "version": str(version),
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }


def _named(value: Any) -> Any:
    """The value of the one input, which can be named or not."""
    return value[INPUT] if isinstance(value, dict) and [*value] == [INPUT] else value


def _picture(value: Any) -> bytes:
    if not isinstance(value, dict) or [*value] != ["b64"] or not isinstance(value["b64"], str):
        raise RequestError("bad_request", 'An image has to be given as {"b64": "..."}.')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except ValueError:
        raise RequestError("bad_request", "An image is not valid base64.") from None
