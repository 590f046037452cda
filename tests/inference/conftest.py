"""A model that has learned three colours, what it is exported as, and pictures for it."""

import contextlib
import functools

import pytest

import export_inference_graph
from core import flags as core_flags

ENDINGS = {"saved_model": "", "frozen": ".pb", "tflite": ".tflite", "onnx": ".onnx", "h5": ".h5"}


@pytest.fixture(scope="session")
def colour_model(colour_run):
    """The newest checkpoint of `colour_run`, open."""
    from inference import predictor

    with contextlib.closing(predictor.open_model(str(colour_run))) as model:
        yield model


@pytest.fixture(scope="session")
def export():
    """export(checkpoint, output, "--flag=value", ...) runs the exporting script's main."""

    def export(checkpoint, output, *arguments):
        arguments = [f"--checkpoint_path={checkpoint}", f"--output_file={output}", *arguments]
        export_inference_graph.main(core_flags.parse(export_inference_graph.define, arguments))

    return export


@pytest.fixture(scope="session")
def exported(colour_run, export, tmp_path_factory):
    """exported(format) is the path of an export of `colour_run`, to read only."""

    @functools.cache
    def exported(format_):
        path = tmp_path_factory.mktemp(format_) / f"7{ENDINGS[format_]}"
        export(colour_run, path, f"--format={format_}")
        return path

    return exported
