"""One file with a TensorFlow GraphDef: the graph of `inference/graph.py`."""

from pathlib import Path

from core.compat import tf
from core.errors import CheckpointError
from engine.sessions import Machine
from inference import graph, predictor
from inference.source import Source


def write(source: Source, path: Path, _: list[bytes]) -> None:
    """Writes the export."""
    path.write_bytes(source.classifying().SerializeToString())


def open_export(path: str, machine: Machine) -> predictor.Predictor:
    """Opens an export.

    Raises:
        CheckpointError: it is damaged, or not one of this project.
    """
    predictor.check_sums(path)
    try:
        classifying = tf.GraphDef.FromString(Path(path).read_bytes())
    except Exception:  # a class of protobuf, which TensorFlow does not name
        raise CheckpointError("not a frozen graph", where=path) from None
    model = predictor.described(graph.description(classifying), path)
    return predictor.of_graph(classifying, model, machine)
