"""What a checkpoint can be exported as: one file per format, which writes it and opens it."""

from typing import NamedTuple

from core.registry import Registry


class Format(NamedTuple):
    """A kind of export."""

    ending: str  # of its file; "" for a directory
    write: str  # place of write(source, path, calibration)
    open: str = ""  # place of open_export(path, machine); "" if it is opened as a checkpoint


FORMATS = Registry(
    "Format [%s] was not recognized",
    {
        "saved_model": Format(
            "",
            "inference.formats.saved_model:write",
            "inference.formats.saved_model:open_export",
        ),
        "frozen": Format(
            ".pb", "inference.formats.frozen:write", "inference.formats.frozen:open_export"
        ),
        "tflite": Format(
            ".tflite", "inference.formats.tflite:write", "inference.formats.tflite:open_export"
        ),
        "onnx": Format(
            ".onnx", "inference.formats.onnx:write", "inference.formats.onnx:open_export"
        ),
        "h5": Format(".h5", "inference.formats.hdf5:write"),
    },
)
