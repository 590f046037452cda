"""A TensorFlow Lite model from prepared pictures to probabilities (extra `tflite`).

Its input is float32 [N, size, size, channels], its output float32 [N, C]; with --quantize the
layers between them compute with int8 (Jacob et al. 2018, "Quantization and training of neural
networks for efficient integer-arithmetic-only inference"), by ranges found on calibration pictures.
labels.txt and description.json are attached as a ZIP archive, as TensorFlow Lite's own metadata
does it: `unzip` shows them.
"""

import json
import os
import threading
import zipfile
from pathlib import Path

import numpy as np

from core import extras
from core.compat import tf
from core.errors import CheckpointError
from engine.sessions import Machine
from inference import graph, predictor
from inference.source import Source

LABELS_FILE, DESCRIPTION_FILE = "labels.txt", "description.json"


def write(source: Source, path: Path, calibration: list[bytes]) -> None:
    """Writes the export.

    Args:
        source: what is exported.
        path: the file.
        calibration: image files; if there are any, the layers compute with int8.

    Raises:
        MachineError: the interpreter is not installed.
    """
    extras.need("tflite", "ai_edge_litert")
    with tf.Graph().as_default() as the_graph, tf.Session() as session:
        tf.import_graph_def(source.from_prepared(), name="")
        ends = (the_graph.get_tensor_by_name(f"{n}:0") for n in (graph.INPUT, graph.PROBABILITIES))
        converter = tf.lite.TFLiteConverter.from_session(session, *([end] for end in ends))
        if calibration:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: (
                [images] for images in source.prepared(calibration)
            )
        path.write_bytes(converter.convert())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(LABELS_FILE, "".join(f"{name}\n" for name in graph.outputs(source.run)))
        archive.writestr(DESCRIPTION_FILE, json.dumps(source.description()))


def open_export(path: str, machine: Machine) -> predictor.Predictor:
    """Opens an export.

    Raises:
        CheckpointError: it is damaged, or not one of this project.
        MachineError: the interpreter is not installed.
    """
    extras.need("tflite", "ai_edge_litert")
    from ai_edge_litert.interpreter import Interpreter

    predictor.check_sums(path)
    try:
        with zipfile.ZipFile(path) as archive:
            description = archive.read(DESCRIPTION_FILE).decode()
        threads = machine.intra_op_threads or len(os.sched_getaffinity(0))
        interpreter = Interpreter(path, num_threads=threads)
    except (zipfile.BadZipFile, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"not a TensorFlow Lite model of this project: {error}", where=path
        ) from None
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    lock = threading.Lock()

    def run(images: np.ndarray) -> np.ndarray:
        with lock:
            if tuple(interpreter.get_input_details()[0]["shape"]) != images.shape:
                interpreter.resize_tensor_input(taken["index"], images.shape)
            interpreter.allocate_tensors()
            interpreter.set_tensor(taken["index"], images)
            interpreter.invoke()
            return interpreter.get_tensor(given["index"])

    return predictor.of_prepared(run, predictor.described(description, path), machine)
