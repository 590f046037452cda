"""A SavedModel, for TensorFlow Serving and `tf.saved_model.load`.

It has the graph of `inference/graph.py`, with two signatures: `serving_default` takes image files
as `image_bytes`, and `images` takes prepared pictures; both give `class`, `probability` and
`probabilities`. The weights are constants, so that there are no variables to be lost. Beside
saved_model.pb stand labels.txt, an "id:name" line per class, and MANIFEST.sha256.
"""

from pathlib import Path
from typing import Any

from core import files
from core.compat import quiet, tf
from core.errors import CheckpointError
from datasets import spec
from engine.sessions import Machine
from inference import graph, predictor
from inference.source import Source

SUMS_FILE = f"MANIFEST{predictor.SUMS}"
LABELS_FILE = "labels.txt"


def write(source: Source, path: Path, _: list[bytes]) -> None:
    """Writes the export, a directory."""
    with tf.Graph().as_default() as the_graph, tf.Session() as session, quiet():
        tf.import_graph_def(source.classifying(), name="")

        def info(name: str) -> Any:
            return tf.saved_model.build_tensor_info(the_graph.get_tensor_by_name(f"{name}:0"))

        def signature(key: str, node: str) -> Any:
            outputs = (graph.CLASS, graph.PROBABILITY, graph.PROBABILITIES)
            return tf.saved_model.build_signature_def(
                {key: info(node)},
                {name: info(name) for name in outputs},
                tf.saved_model.PREDICT_METHOD_NAME,
            )

        builder = tf.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            [tf.saved_model.tag_constants.SERVING],
            signature_def_map={
                tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY: signature(
                    "image_bytes", graph.IMAGE_BYTES
                ),
                "images": signature("images", graph.INPUT),
            },
        )
        builder.save()
    labels = spec.labels_text(tuple(graph.outputs(source.run)))
    (path / LABELS_FILE).write_text(labels, encoding="utf-8")
    covered = [path / LABELS_FILE, path / predictor.SAVED_MODEL]
    sums = "".join(map(files.checksum_line, sorted(covered)))
    (path / SUMS_FILE).write_text(sums, encoding="utf-8")


def open_export(path: str, machine: Machine) -> predictor.Predictor:
    """Opens an export.

    Raises:
        CheckpointError: it is damaged, or not one of this project.
    """
    directory = Path(path)
    sums = directory / SUMS_FILE
    if not sums.exists():
        raise CheckpointError(
            f"not an export of this project: it has no {SUMS_FILE}",
            where=path,
            remedy="make it with export_inference_graph.py",
        )
    # TensorFlow would load variables, too, if there were any.
    files.check_sums(
        sums, [file for file in directory.rglob("*") if file.is_file() and file != sums]
    )
    with tf.Graph().as_default() as the_graph, tf.Session() as session, quiet():
        tf.saved_model.load(session, [tf.saved_model.tag_constants.SERVING], path)
        classifying = the_graph.as_graph_def()
    model = predictor.described(graph.description(classifying), path)
    return predictor.of_graph(classifying, model, machine)
