"""An ONNX model from prepared pictures to probabilities, for ONNX Runtime (extra `onnx`).

Its input `input` is float32 [N, size, size, channels], its output `probabilities` float32 [N, C].
ONNX has no operator that decodes image files; what has to happen before the input, and the names of
the classes, stand in the metadata: `description`, and `labels` with a line per class.
"""

import json
import logging
from pathlib import Path
from typing import Any

from core import extras
from core.errors import CheckpointError
from engine.sessions import Machine
from inference import graph, predictor
from inference.source import Source

# Of 2022: IR and operators that ONNX Runtime 1.12 and all later ones, and TensorRT 8.5, read.
OPSET = 17


def write(source: Source, path: Path, _: list[bytes]) -> None:
    """Writes the export.

    Raises:
        MachineError: tf2onnx is not installed.
    """
    extras.need("onnx", "tf2onnx", "onnx", "onnxruntime")
    import onnx
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    model, _ = tf2onnx.convert.from_graph_def(
        source.from_prepared(),
        input_names=[f"{graph.INPUT}:0"],
        output_names=[f"{graph.PROBABILITIES}:0"],
        opset=OPSET,
    )
    _rename(model.graph, {f"{name}:0": name for name in (graph.INPUT, graph.PROBABILITIES)})
    for end in (*model.graph.input, *model.graph.output):
        end.type.tensor_type.shape.dim[0].dim_param = "N"
    labels = "\n".join(graph.outputs(source.run))
    onnx.helper.set_model_props(
        model, {"description": json.dumps(source.description()), "labels": labels}
    )
    onnx.save(model, path)


def _rename(model: Any, names: dict[str, str]) -> None:
    """Renames tensors of an ONNX graph."""
    for end in (*model.input, *model.output):
        end.name = names.get(end.name, end.name)
    for node in model.node:
        for ends in (node.input, node.output):
            ends[:] = [names.get(name, name) for name in ends]


def open_export(path: str, machine: Machine) -> predictor.Predictor:
    """Opens an export.

    Raises:
        CheckpointError: it is damaged, or not one of this project.
        MachineError: ONNX Runtime is not installed.
    """
    extras.need("onnx", "onnxruntime")
    import onnxruntime

    predictor.check_sums(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = machine.intra_op_threads
    try:
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes, one for each kind of damage
        raise CheckpointError(f"not an ONNX model: {error}", where=path) from None
    description = session.get_modelmeta().custom_metadata_map.get("description", "")
    model = predictor.described(description, path)
    return predictor.of_prepared(
        lambda images: session.run([graph.PROBABILITIES], {graph.INPUT: images})[0], model, machine
    )
