"""What the server's answers look like, for /openapi.json."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from inference.server.errors import STATUS


class _Answer(BaseModel):
    model_config = ConfigDict(protected_namespaces=(), populate_by_name=True)


class Problem(_Answer):
    """What every request that fails is answered with."""

    error: str = Field(description="One sentence for people.")
    reason: str = Field(description=f"One of {', '.join(sorted(STATUS))}.")
    request_id: str = Field(description="Stands in the header X-Request-ID, too.")


class Prediction(_Answer):
    """A class, and how probable it is."""

    class_name: str = Field(alias="class")
    label: int = Field(description="Which of the model's outputs it is, from 0 on.")
    probability: float = Field(ge=0, le=1)


class ModelName(_Answer):
    """Which model answered."""

    name: str
    version: int


class Classification(_Answer):
    """What a picture is."""

    class_name: str = Field(alias="class", description="The most probable class.")
    probability: float = Field(ge=0, le=1)
    predictions: list[Prediction] = Field(description="The most probable classes, best first.")
    model: ModelName


class ServedModel(ModelName):
    """The model that is served."""

    net: str
    image_size: int = Field(description="Height and width that the net takes, pixels.")
    class_names: list[str] = Field(description="In the order of the outputs.")


class Limits(_Answer):
    """What an upload may be."""

    max_image_bytes: int
    max_image_pixels: int = Field(description="Width times height.")


class Health(_Answer):
    """That the server works, and with what."""

    status: Literal["ok"]
    model: ServedModel
    limits: Limits
    reload_error: str | None = Field(
        description="Why the newest model is not the one that is served."
    )


class Row(_Answer):
    """TensorFlow Serving's row format: the outputs for one picture."""

    class_name: str = Field(alias="class")
    probability: float
    probabilities: list[float]


class Rows(_Answer):
    """Answer to `instances`."""

    predictions: list[Row]


class Outputs(_Answer):
    """TensorFlow Serving's column format: each output for all pictures."""

    class_names: list[str] = Field(alias="class")
    probability: list[float]
    probabilities: list[list[float]]


class Columns(_Answer):
    """Answer to `inputs`."""

    outputs: Outputs


class VersionError(_Answer):
    """TensorFlow Serving's way to say that a version has no error."""

    error_code: str
    error_message: str


class VersionStatus(_Answer):
    """The state of a version."""

    version: str
    state: str
    status: VersionError


class ModelStatus(_Answer):
    """TensorFlow Serving's model status."""

    model_version_status: list[VersionStatus]


_PICTURE = {"type": "string", "format": "binary"}
PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": _PICTURE},
            "application/octet-stream": {"schema": _PICTURE},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": _PICTURE},
                }
            },
        },
    }
}

_BASE64 = {
    "type": "object",
    "required": ["b64"],
    "properties": {"b64": {"type": "string", "format": "byte"}},
}
_INSTANCE = {
    "anyOf": [
        _BASE64,
        {"type": "object", "required": ["image_bytes"], "properties": {"image_bytes": _BASE64}},
    ]
}
_PICTURES = {"anyOf": [_BASE64, {"type": "array", "items": _BASE64}]}
_NAMED_PICTURES = {
    "type": "object",
    "required": ["image_bytes"],
    "properties": {"image_bytes": _PICTURES},
}
PREDICT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "signature_name": {"type": "string", "enum": ["serving_default"]},
                        "instances": {"type": "array", "items": _INSTANCE},
                        "inputs": {"anyOf": [_PICTURES, _NAMED_PICTURES]},
                    },
                    "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
                }
            }
        },
    }
}


def problems(*reasons: str) -> dict[int | str, dict]:
    """The answers of a route that fails for these reasons."""
    statuses = sorted({STATUS[reason] for reason in reasons})
    return {
        status: {
            "model": Problem,
            "description": ", ".join(r for r in reasons if STATUS[r] == status),
        }
        for status in statuses
    }
