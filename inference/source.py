"""A checkpoint, the run it is of, and its net as a graph: what classifies and what is exported."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from core.compat import tf
from engine import checkpoints, freezing, run_dir
from engine.sessions import ALL_CORES, Machine
from inference import graph


@dataclasses.dataclass(frozen=True)
class Source:
    """A checkpoint that is to be used; `read` gives it."""

    checkpoint: str
    run: run_dir.Run
    freezer: freezing.Freezer
    net: tf.GraphDef  # from the images to the logits of the freezer

    @property
    def step(self) -> int:
        """Global step."""
        return checkpoints.step_of(self.checkpoint) or 0

    def description(self) -> dict[str, Any]:
        """What the export says of itself."""
        return graph.describe(self.run, self.step)

    def classifying(self) -> tf.GraphDef:
        """The graph from image files to probabilities."""
        return graph.classifying(self.net, self.freezer, self.run, self.description())

    def from_prepared(self) -> tf.GraphDef:
        """The graph from prepared pictures to probabilities, for what cannot decode files."""
        with tf.Graph().as_default() as the_graph:
            images = tf.placeholder(tf.float32, self.freezer.images.shape, name=graph.INPUT)
            (logits,) = tf.import_graph_def(
                self.net, {self.freezer.images.name: images}, [self.freezer.logits.name], name="net"
            )
            tf.nn.softmax(logits, name=graph.PROBABILITIES)
        return the_graph.as_graph_def()

    def probabilities(self, encoded: list[bytes]) -> np.ndarray:
        """What the checkpoint itself gives, in the net as it was trained: float32 [N, C]."""
        with self.freezer.logits.graph.as_default():
            images = graph.prepared(tf.constant(encoded), self.run)
            probabilities = tf.nn.softmax(self.freezer.logits)
        with self.freezer.restored(self.checkpoint, ALL_CORES) as session:
            return session.run(probabilities, {self.freezer.images: session.run(images)})

    def prepared(self, encoded: list[bytes]) -> Iterator[np.ndarray]:
        """Image files as the net takes them, one by one: float32 [1, size, size, channels]."""
        with tf.Graph().as_default(), tf.Session() as session:
            image_bytes = tf.placeholder(tf.string, [None])
            prepare = session.make_callable(graph.prepared(image_bytes, self.run), [image_bytes])
            for one in encoded:
                yield prepare([one])


def read(checkpoint_path: str, run: run_dir.Run, machine: Machine) -> Source:
    """The source that a path means.

    Args:
        checkpoint_path: run directory or checkpoint.
        run: the run that it is of.
        machine: for TensorFlow.

    Raises:
        FlagError: the checkpoint is not of such a run.
        CheckpointError: it cannot be read.
    """
    checkpoint = checkpoints.resolve(checkpoint_path)
    with tf.Graph().as_default():
        freezer = graph.freezer(run)
        net = freezer.frozen(checkpoint, machine)
    return Source(checkpoint, run, freezer, net)
