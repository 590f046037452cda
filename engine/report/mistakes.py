"""The pictures that a classifier is wrong about: which they are, and what they show."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.compat import tf
from core.errors import DataError
from datasets import records, tfrecord
from datasets.spec import LoadedSplit
from engine import input_pipeline, sessions
from engine.scores import Scores
from preprocessing import ops, preprocessing_factory

LONGEST_SIDE = 512  # pixels of a picture that is to be shown; larger ones are shrunk


class Mistake(NamedTuple):
    """One picture with a wrong prediction."""

    index: int  # of the record in its split
    name: str  # of the picture
    label: int
    prediction: int
    probability: float  # of the prediction


def most_confident(scores: Scores, count: int) -> list[Mistake]:
    """The wrong predictions with the largest probabilities, the largest first.

    Args:
        scores: of a split.
        count: how many, at most. Of equal probabilities that of the lower record comes first.
    """
    labels, predictions, names = scores.labels, scores.predictions, scores.names
    probabilities = scores.probabilities.max(axis=1)
    wrong = np.flatnonzero(predictions != labels)
    order = np.argsort(-probabilities[wrong], kind="stable")
    return [
        Mistake(i, names[i], int(labels[i]), int(predictions[i]), float(probabilities[i]))
        for i in wrong[order][:count].tolist()
    ]


def encoded_pictures(dataset: LoadedSplit, indices: Sequence[int]) -> list[bytes]:
    """The files of some pictures of a split; the other records are hopped over.

    Args:
        dataset: the split.
        indices: of its records.

    Raises:
        DataError: one of the records is damaged or missing; file and record are named.
    """
    found, first = {}, 0
    for path, shard in zip(dataset.paths, dataset.shards, strict=True):
        numbers = {i - first for i in indices if first <= i < first + shard.records}
        for number, encoded in _of_file(Path(path), numbers):
            found[first + number] = encoded
        first += shard.records
    return [found[index] for index in indices]


def _of_file(path: Path, numbers: Collection[int]) -> Iterator[tuple[int, bytes]]:
    """The number and the picture of some records of a file."""
    found = tfrecord.read(path, numbers)
    for number in sorted(numbers):
        record = next(found, records.Record(number, path.stat().st_size, problem="missing"))
        try:
            if record.problem:
                raise DataError(record.problem)
            encoded, _ = tfrecord.picture_and_label(record.content)
        except DataError as error:
            where = f"{path}: record {record.number}, offset {record.offset}"
            remedy = "convert the dataset again"
            raise DataError(error.what, where=where, remedy=remedy) from None
        yield number, encoded


def decoded(dataset: LoadedSplit, indices: Sequence[int], config: Any) -> list[np.ndarray]:
    """Pictures of a split as they are stored, to be shown.

    Args:
        dataset: the split.
        indices: of its records.
        config: read here: labels_offset, and what `sessions.session` reads.

    Returns:
        Of each uint8 [height, width, channels], shrunk so that no side is above LONGEST_SIDE.

    Raises:
        DataError: one of the records is damaged or missing; file and record are named.
    """
    return _of_each(dataset, indices, config, _shrunk)


def _shrunk(image: tf.Tensor) -> tf.Tensor:
    """A uint8 image divided by the smallest whole number that brings it below LONGEST_SIDE."""
    sides = tf.shape(image)[:2]
    divisor = -(-tf.reduce_max(sides) // LONGEST_SIDE)
    height, width = tf.unstack(-(-sides // divisor))
    area_means = ops.resize(image, height, width, tf.raw_ops.ResizeArea)
    return tf.cast(tf.round(area_means), tf.uint8)


def prepared(dataset: LoadedSplit, indices: Sequence[int], config: Any) -> np.ndarray:
    """Pictures of a split as evaluation gives them to the net.

    Args:
        dataset: the split.
        indices: of its records.
        config: read here: preprocessing_name, use_grayscale, eval_image_size, labels_offset, and
            what `sessions.session` reads.

    Returns:
        float32 [M, size, size, channels].

    Raises:
        DataError: one of the records is damaged or missing; file and record are named.
    """
    preprocess = preprocessing_factory.get_preprocessing(
        config.preprocessing_name, is_training=False, use_grayscale=config.use_grayscale
    )
    size = config.eval_image_size
    return np.stack(_of_each(dataset, indices, config, lambda image: preprocess(image, size, size)))


def _of_each(
    dataset: LoadedSplit,
    indices: Sequence[int],
    config: Any,
    function: Callable[[tf.Tensor], tf.Tensor],
) -> list[np.ndarray]:
    """A function of the decoded image, of each of some pictures of a split."""
    encoded = encoded_pictures(dataset, indices)
    with (
        tf.Graph().as_default(),
        sessions.session(config) as session,
        input_pipeline.damage_named(dataset, config.labels_offset),
    ):
        file = tf.placeholder(tf.string, [])
        result = function(tfrecord.decode(file, dataset.channels))
        return [session.run(result, {file: content}) for content in encoded]
