"""What TensorBoard shows of a training run, under the tags of research/slim.

Tags are given outright, with the raw summary operations: tf.summary would append a number to a
tag whose name an operation already has, which is how `total_loss_1` once came about. `accuracy`
and `loss` are the tags that an evaluation writes too, so that both lie on one chart.
"""

import uuid
from pathlib import Path

from core.compat import slim, tf
from engine.model import Classifier

# Pictures of a batch that are shown, and whose activations are counted: those of a whole batch of
# 50 at 224x224 are hundreds of millions of numbers, which take longer than several steps.
IMAGES = 4


def training_summaries(classifier: Classifier, learning_rate: tf.Tensor) -> tf.Tensor:
    """All summaries of a training step, as one serialized protocol buffer."""
    summaries = [
        *_scalars(classifier, learning_rate),
        *_histograms(classifier),
        tf.summary.image("input", classifier.batch.images, max_outputs=IMAGES),
    ]
    return tf.raw_ops.MergeSummary(inputs=summaries)


def _scalars(classifier: Classifier, learning_rate: tf.Tensor) -> list[tf.Tensor]:
    values = {
        "learning_rate": learning_rate,
        "accuracy": classifier.accuracy,
        "loss": classifier.cross_entropy,
        "total_loss_1": classifier.total_loss,
        "losses/softmax_cross_entropy_loss/value": classifier.cross_entropy,
        "Losses/clone_loss": classifier.cross_entropy,
    }
    if tf.losses.get_regularization_losses():
        values["Losses/regularization_loss"] = tf.losses.get_regularization_loss()
    for name, layer in _activations(classifier).items():
        values[f"sparsity/{name}"] = tf.nn.zero_fraction(layer)
    return [tf.raw_ops.ScalarSummary(tags=tag, values=value) for tag, value in values.items()]


def _activations(classifier: Classifier) -> dict[str, tf.Tensor]:
    return {name: layer[:IMAGES] for name, layer in classifier.end_points.items()}


def _histograms(classifier: Classifier) -> list[tf.Tensor]:
    values = {f"activations/{name}": layer for name, layer in _activations(classifier).items()}
    for variable in slim.get_model_variables():
        values[f"{variable.op.name}_1"] = variable.read_value()
    return [tf.raw_ops.HistogramSummary(tag=tag, values=value) for tag, value in values.items()]


def event_writer(directory: Path, graph: tf.Graph | None = None) -> tf.summary.FileWriter:
    """A writer of a new event file, which shows the graph if one is given.

    TensorFlow names the file by the second: of two that are opened within one, the later would
    overwrite the earlier but for the suffix.
    """
    return tf.summary.FileWriter(str(directory), graph, filename_suffix=f".{uuid.uuid4().hex[:8]}")


def scalar(tag: str, value: float) -> tf.Summary:
    """A summary of one number that was computed outside the graph."""
    return tf.Summary(value=[tf.Summary.Value(tag=tag, simple_value=value)])
