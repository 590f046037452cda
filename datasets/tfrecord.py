"""Pictures as tf.Example records: the only place that knows the keys.

The keys are those of research/slim, plus `image/filename`, which lets an evaluation name a picture.
"""

import contextlib
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.compat import slim, tf, tf_record_random_reader
from core.errors import DataError, MachineError
from datasets import parallel, records
from datasets.records import FRAME_BYTES
from datasets.spec import Example, Shard

_ENCODED = "image/encoded"
_FORMAT = "image/format"
_LABEL = "image/class/label"
_HEIGHT = "image/height"
_WIDTH = "image/width"
_FILENAME = "image/filename"

# What a record has to hold for `parse`, one value of each; the last may be missing.
_KINDS = {_ENCODED: "bytes_list", _LABEL: "int64_list", _FILENAME: "bytes_list"}
_GZIP = b"\x1f\x8b"  # how a gzip file begins

_ENCODING_BATCH = 500  # pictures per round trip in encode_png: large enough to hide its cost


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


def picture_and_label(serialized: bytes) -> tuple[bytes, int]:
    """The encoded picture and the label of a record, without a graph.

    Raises:
        DataError: it is a record that `parse` fails on; `what` says why.
    """
    try:
        record = tf.train.Example.FromString(serialized)
    except Exception:  # a class of protobuf, which TensorFlow does not name
        raise DataError("not a tf.Example") from None
    feature = record.features.feature
    if _ENCODED not in feature or _LABEL not in feature:
        raise DataError(f"record has keys {sorted(feature)[:10]}, expected {list(_KINDS)}")
    for key, kind in _KINDS.items():
        there = feature[key].WhichOneof("kind") if key in feature else kind
        if there != kind or (key in feature and len(getattr(feature[key], kind).value) != 1):
            raise DataError(f"{key} is no {kind} of one value")
    record.DiscardUnknownFields()
    if record.SerializeToString(deterministic=True) != serialized:
        _check_parses(serialized)
    return feature[_ENCODED].bytes_list.value[0], feature[_LABEL].int64_list.value[0]


def _check_parses(serialized: bytes) -> None:
    """DataError if TensorFlow, whose parser is stricter than that of protobuf, reads no record."""
    try:
        with tf.init_scope():
            parse(tf.constant(serialized))
    except (tf.errors.OpError, UnicodeDecodeError):
        raise DataError("not a tf.Example") from None


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


def check_decodes(encoded: bytes, channels: int) -> None:
    """DataError if TensorFlow cannot decode a picture; for use outside of graphs."""
    try:
        with tf.init_scope():
            decode(tf.constant(encoded), channels)
    except tf.errors.OpError as error:
        # Without the names of the operation before and after the reason.
        reason = re.sub(r"^\{\{.*?\}\} | \[Op:.*", "", error.message)
        raise DataError(f"TensorFlow cannot decode it: {reason}") from None


def encode_png(stacks: Iterable[np.ndarray]) -> Iterator[bytes]:
    """Encodes pictures as PNG, on all cores, a few thousand ahead of the one that is asked for.

    Args:
        stacks: pictures of one size each, uint8 [n, height, width, channels].

    Yields:
        One PNG file per picture, in order.
    """
    batches = (
        stack[start : start + _ENCODING_BATCH]
        for stack in stacks
        for start in range(0, len(stack), _ENCODING_BATCH)
    )
    with tf.Graph().as_default() as graph:
        images = tf.placeholder(tf.uint8, [None, None, None, None])
        files = tf.io.encode_png(images)
    with contextlib.closing(tf.Session(graph=graph)) as session:
        encode = session.make_callable(files, [images])
        for encoded in parallel.in_order(encode, batches):
            yield from encoded


def read(path: Path, numbers: Collection[int] | None = None) -> Iterator[records.Record]:
    """The records of a file in order, each compared with its checksums.

    Of one that does not agree with its checksum the problem is told, and the next record follows.
    After a damaged length, or an end inside a record, no next one can be found.

    Args:
        path: of the file.
        numbers: of the records to read, from 0; of the others the lengths alone are looked at.
            None: all.
    """
    size, number, offset = path.stat().st_size, 0, 0
    reader = tf_record_random_reader(str(path))
    with path.open("rb") as file:
        while offset < size:
            file.seek(offset)
            header = file.read(records.HEADER_BYTES)
            problem, end = _frame_problem(header, offset, size)
            if problem:
                yield records.Record(number, offset, problem=problem, ends_file=True)
                return
            if numbers is None or number in numbers:
                yield _record(reader, number, offset)
            number, offset = number + 1, end


def _record(reader: tf_record_random_reader, number: int, offset: int) -> records.Record:
    try:
        return records.Record(number, offset, reader.read(offset)[0])
    except tf.errors.DataLossError:
        problem = "damaged: the content does not agree with its checksum"
        return records.Record(number, offset, problem=problem)


def _frame_problem(header: bytes, offset: int, size: int) -> tuple[str, int]:
    """What keeps a record from being found, or "", and where the record ends."""
    if len(header) < records.HEADER_BYTES:
        return "truncated", size
    length = records.length(header)
    if length is None:
        if offset:
            return "damaged: the length does not agree with its checksum", size
        if header.startswith(_GZIP):
            return "not a TFRecord file (gzip data?)", size
        return "not a TFRecord file, or its first bytes are damaged", size
    end = offset + FRAME_BYTES + length
    return ("truncated" if end > size else ""), end


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
