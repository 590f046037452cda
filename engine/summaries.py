"""What TensorBoard shows of a training run, under the tags of research/slim.

Tags are given outright, with the raw summary operations: tf.summary would append a number to a
tag whose name an operation already has, which is how `total_loss_1` once came about. `accuracy`
and `loss` are the tags that an evaluation writes too, so that both lie on one chart.
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import logging

from core.compat import slim, tf
from engine.model import Classifier

# Pictures of a batch that are shown, and whose activations are counted: those of a whole batch of
# 50 at 224x224 are hundreds of millions of numbers, which take longer than several steps.
IMAGES = 4
# Values of a tensor that its histogram counts: counting 80 million, as those of ResNet at 224x224
# are, takes longer than half a step. Of a share p the standard error is sqrt(p (1 - p) / 65536),
# which is at most 0.2 %.
HISTOGRAM_VALUES = 1 << 16
_FILE_VERSION = 2  # the first event says so (EventsWriter::kCurrentVersion of TensorFlow)


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
    if classifier.auxiliary_loss is not None:
        values["losses/aux_loss/value"] = classifier.auxiliary_loss
        values["Losses/clone_loss"] = classifier.cross_entropy + classifier.auxiliary_loss
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
    return [
        tf.raw_ops.HistogramSummary(tag=tag, values=sample(value)) for tag, value in values.items()
    ]


def sample(values: tf.Tensor) -> tf.Tensor:
    """All values of a tensor, or HISTOGRAM_VALUES of them: at random, the same in every step.

    Evenly spaced ones would be of a few channels only, where the spacing divides their number.
    """
    flat = tf.reshape(values, [-1])
    size = tf.size(flat, out_type=tf.int64)
    count = tf.minimum(size, HISTOGRAM_VALUES)
    drawn = tf.random.stateless_uniform([count], (0, 0), maxval=size, dtype=tf.int64)
    return tf.gather(flat, tf.where(size > HISTOGRAM_VALUES, drawn, tf.range(count)))


class EventFile:
    """A new event file, for TensorBoard. Losing it costs a warning, never the run.

    Args:
        directory: where to write it.
        graph: shown by TensorBoard, if it is given.
        suffix: what its name ends with.
    """

    def __init__(self, directory: Path, graph: tf.Graph | None = None, *, suffix: str = "") -> None:
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        # TensorFlow's own names go by the second: of two within one, one would be lost. TensorBoard
        # reads them in the order of their names.
        unique = f"{seconds:010d}.{socket.gethostname()}.{os.getpid()}.{nanoseconds:09d}"
        self._path = directory / f"events.out.tfevents.{unique}{suffix}"
        self._writer = None
        with self._loss_told():
            self._writer = tf.io.TFRecordWriter(str(self._path))
        self.add(file_version=f"brain.Event:{_FILE_VERSION}")
        if graph is not None:
            self.add(graph_def=graph.as_graph_def().SerializeToString())
        self.flush()

    @property
    def lost(self) -> bool:
        """Whether it could not be written."""
        return self._writer is None

    def add(self, **event: Any) -> None:
        """Adds one event, given by the fields of tf.Event; its time is now."""
        with self._loss_told():
            if self._writer:
                self._writer.write(tf.Event(wall_time=time.time(), **event).SerializeToString())

    def flush(self) -> None:
        """Hands what was added to the operating system."""
        with self._loss_told():
            if self._writer:
                self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        with self._loss_told():
            if self._writer:
                self._writer.close()

    @contextlib.contextmanager
    def _loss_told(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            self._writer = None
            logging.warning(
                "cannot write %s (%s): no more summaries, all else goes on",
                self._path,
                error.message.split("\n")[0],
            )


def scalars(values: dict[str, float]) -> tf.Summary:
    """A summary of numbers that were computed outside the graph, by tag."""
    return tf.Summary(
        value=[tf.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    )
