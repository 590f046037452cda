"""The graph that classifies: from image files to probabilities, with class names inside.

It is what a checkpoint is turned into to classify with it, and what the exports that TensorFlow
runs hold, so that all of them decode and prepare a picture as evaluation does. Its nodes:

    image_bytes    string [N]: JPEG or PNG files
    input          float32 [N, size, size, channels]: the same pictures, prepared; can be fed, too
    logits         float32 [N, C]
    probabilities  float32 [N, C]
    class          string [N]: names of the most probable classes
    probability    float32 [N]: their probabilities
    description    string: as JSON, what `describe` gives
"""

import dataclasses
import json
from typing import Any

from core.compat import tf
from datasets import tfrecord
from engine import freezing, run_dir
from preprocessing import preprocessing_factory

IMAGE_BYTES, INPUT = "image_bytes", "input"
LOGITS, PROBABILITIES = "logits", "probabilities"
CLASS, PROBABILITY = "class", "probability"
DESCRIPTION = "description"

# Pictures that are decoded at a time, at most: enough for the threads of any machine.
_UNDER_WAY = 32


def freezer(run: run_dir.Run) -> freezing.Freezer:
    """What freezes the checkpoints of a run; call it inside a graph of its own."""
    channels = 1 if run.use_grayscale else run.channels
    return freezing.Freezer(run.image_size, channels, run.num_classes, run)


def prepared(image_bytes: tf.Tensor, run: run_dir.Run) -> tf.Tensor:
    """Decodes image files and prepares them as evaluation does.

    Args:
        image_bytes: string [N], JPEG or PNG files as `datasets.images.load` gives them.
        run: whose preprocessing it is.

    Returns:
        float32 [N, size, size, channels].
    """
    preprocess = preprocessing_factory.get_preprocessing(
        run.preprocessing_name, is_training=False, use_grayscale=run.use_grayscale
    )

    def one(encoded: tf.Tensor) -> tf.Tensor:
        image = tfrecord.decode(encoded, run.channels)
        return preprocess(image, run.image_size, run.image_size)

    return tf.map_fn(
        one, image_bytes, fn_output_signature=tf.float32, parallel_iterations=_UNDER_WAY
    )


def classifying(
    net: tf.GraphDef, freezer: freezing.Freezer, run: run_dir.Run, description: dict[str, Any]
) -> tf.GraphDef:
    """The graph described above.

    Args:
        net: what `freezer` made of a checkpoint.
        freezer: names the ends of `net`.
        run: the run that the checkpoint is of.
        description: the content of the node of that name.
    """
    with tf.Graph().as_default() as graph:
        image_bytes = tf.placeholder(tf.string, [None], name=IMAGE_BYTES)
        images = prepared(image_bytes, run)
        images = tf.placeholder_with_default(images, freezer.images.shape, name=INPUT)
        (logits,) = tf.import_graph_def(
            net, {freezer.images.name: images}, [freezer.logits.name], name="net"
        )
        logits = tf.identity(logits, name=LOGITS)
        probabilities = tf.nn.softmax(logits, name=PROBABILITIES)
        names = tf.constant(outputs(run))
        tf.gather(names, tf.argmax(probabilities, axis=1), name=CLASS)
        tf.reduce_max(probabilities, axis=1, name=PROBABILITY)
        tf.constant(json.dumps(description, ensure_ascii=False), name=DESCRIPTION)
    return graph.as_graph_def()


def outputs(run: run_dir.Run) -> list[str]:
    """The names of the net's outputs, in their order."""
    return list(run.class_names[run.labels_offset :])


def describe(run: run_dir.Run, step: int) -> dict[str, Any]:
    """What an export says of itself: the run, but for where its data were, and the step."""
    return dataclasses.asdict(run) | {"dataset_dir": "", "global_step": step}


def description(classifying: tf.GraphDef) -> str:
    """The content of the node `description`; empty if there is no such node."""
    for node in classifying.node:
        if node.name == DESCRIPTION and node.op == "Const":
            return tf.make_ndarray(node.attr["value"].tensor).item().decode("utf-8", "replace")
    return ""
