"""Pictures as tf.Example records: the only place that knows the keys.

The keys are those of research/slim, plus `image/filename`, which lets an evaluation name a picture.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.compat import slim, tf
from core.errors import MachineError
from datasets.records import FRAME_BYTES
from datasets.spec import Example, Shard

_ENCODED = "image/encoded"
_FORMAT = "image/format"
_LABEL = "image/class/label"
_HEIGHT = "image/height"
_WIDTH = "image/width"
_FILENAME = "image/filename"

_ENCODING_BATCH = 1000  # pictures per round trip in encode_png: large enough to hide its cost


class Record(NamedTuple):
    """One parsed record, as scalar tensors."""

    encoded: tf.Tensor  # string
    label: tf.Tensor  # int64
    filename: tf.Tensor  # string; empty in research/slim's own records


def serialize(example: Example) -> bytes:
    """A picture as the bytes of a tf.Example, the same ones for the same picture."""

    def of_bytes(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def of_int(value: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    features = {
        _ENCODED: of_bytes(example.encoded),
        _FORMAT: of_bytes(example.format.encode()),
        _LABEL: of_int(example.label),
        _HEIGHT: of_int(example.height),
        _WIDTH: of_int(example.width),
        _FILENAME: of_bytes(example.filename),
    }
    record = tf.train.Example(features=tf.train.Features(feature=features))
    # Deterministic: otherwise the keys come in an order that differs from process to process.
    return record.SerializeToString(deterministic=True)


def parse(serialized: tf.Tensor) -> Record:
    """The record in a scalar string tensor; running it fails if a key is missing."""
    features = tf.io.parse_single_example(
        serialized,
        {
            _ENCODED: tf.io.FixedLenFeature([], tf.string),
            _LABEL: tf.io.FixedLenFeature([], tf.int64),
            _FILENAME: tf.io.FixedLenFeature([], tf.string, default_value=""),
        },
    )
    return Record(features[_ENCODED], features[_LABEL], features[_FILENAME])


def slim_decoder(channels: int) -> slim.tfexample_decoder.TFExampleDecoder:
    """What tf-slim's data providers read records with; its items are `image` and `label`."""
    return slim.tfexample_decoder.TFExampleDecoder(
        {
            _ENCODED: tf.io.FixedLenFeature([], tf.string),
            _FORMAT: tf.io.FixedLenFeature([], tf.string, default_value="png"),
            _LABEL: tf.io.FixedLenFeature([], tf.int64),
        },
        {
            "image": slim.tfexample_decoder.Image(_ENCODED, _FORMAT, channels=channels),
            "label": slim.tfexample_decoder.Tensor(_LABEL),
        },
    )


def decode(encoded: tf.Tensor, channels: int) -> tf.Tensor:
    """The picture in a scalar string tensor: uint8 [height, width, channels], sizes unknown.

    Reads PNG, JPEG, GIF (its first frame), BMP and WebP.
    """
    image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    image.set_shape([None, None, channels])
    return image


def encode_png(images: np.ndarray) -> Iterator[bytes]:
    """Encodes pictures of one size as PNG, on all cores.

    Args:
        images: uint8 [n, height, width, channels].

    Yields:
        One PNG file per picture, in order.
    """
    for start in range(0, len(images), _ENCODING_BATCH):
        with tf.Graph().as_default(), tf.Session() as session:
            pictures = tf.data.Dataset.from_tensor_slices(images[start : start + _ENCODING_BATCH])
            encoded = pictures.map(tf.io.encode_png, num_parallel_calls=os.cpu_count())
            batch = tf.data.make_one_shot_iterator(encoded.batch(_ENCODING_BATCH)).get_next()
            yield from session.run(batch)


class ShardWriter:
    """Writes one record file and counts what it writes.

    Args:
        path: the file to write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = tf.io.TFRecordWriter(str(path))
        self.records = self.bytes = 0

    def write(self, example: Example) -> None:
        """Appends one picture."""
        serialized = serialize(example)
        self._writer.write(serialized)
        self.records += 1
        self.bytes += len(serialized) + FRAME_BYTES

    def close(self) -> None:
        """Closes the file; MachineError if not all of it reached the disk.

        After a failed flush TensorFlow closes an empty file without a word, hence the look at the
        size.
        """
        with contextlib.suppress(tf.errors.OpError):
            self._writer.close()
        size = self._path.stat().st_size
        if size != self.bytes:
            raise MachineError(
                f"only {size} of {self.bytes} bytes could be written",
                where=str(self._path),
                remedy="is the disk full?",
            )

    def shard(self, name: str, sha256: str) -> Shard:
        """What dataset.json says of this file under its final name."""
        return Shard(name, self.records, self.bytes, sha256)
