"""Decoded pictures kept in memory, so that each is decoded once and not in every epoch.

A JPEG file of 500x400 takes as long to decode as all the rest of its preparation for a net at 224
pixels, and on two cores the net waits for the core that does it. Decoded it takes 0.6 MB. Whether
all pictures of a split find room is estimated from some of them.
"""

import contextlib
import io
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import PIL.Image
from absl import logging

from core.compat import tf
from core.errors import DataError
from datasets import tfrecord
from datasets.spec import LoadedSplit

SHARE_OF_MEMORY = 0.5  # of what is available; the net wants the rest
WORTHWHILE_BYTES = 32_768  # smaller pictures, such as CIFAR-10's, are decoded as fast as looked up
_SAMPLES = 200  # pictures whose size is looked at
_MEMORY = Path("/proc/meminfo")
_LIMITS = Path("/sys/fs/cgroup")  # of a container, in the files of cgroup v2

Decoder = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def decoder(dataset: LoadedSplit) -> Decoder:
    """A function (index of the record, encoded picture) -> uint8 [height, width, channels].

    If that is worth it, and all pictures of the split fit into memory, it keeps what it has
    decoded. The log says when they do not fit.
    """
    needed, limit = decoded_bytes(dataset), int(SHARE_OF_MEMORY * available_memory())
    if needed < WORTHWHILE_BYTES * dataset.num_samples:
        return lambda _, encoded: tfrecord.decode(encoded, dataset.channels)
    sizes = f"{needed / 1e9:.2f} GB of the {limit / 1e9:.2f} GB that they may"
    if needed > limit:
        logging.info("Decoded pictures would take about %s: each epoch decodes anew.", sizes)
        return lambda _, encoded: tfrecord.decode(encoded, dataset.channels)
    logging.info("Decoded pictures are kept in memory; they take about %s.", sizes)
    return keeping(dataset.channels)


def keeping(channels: int) -> Decoder:
    """A decoder that keeps whatever it has decoded."""
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.string, default_value="")

    def decode(index: tf.Tensor, encoded: tf.Tensor) -> tf.Tensor:
        def for_the_first_time() -> tf.Tensor:
            packed = tf.io.serialize_tensor(tfrecord.decode(encoded, channels))
            with tf.control_dependencies([table.insert(index, packed)]):
                return tf.identity(packed)

        kept = table.lookup(index)
        packed = tf.cond(tf.equal(kept, ""), for_the_first_time, lambda: kept)
        image = tf.io.parse_tensor(packed, tf.uint8)
        image.set_shape([None, None, channels])
        return image

    return decode


def decoded_bytes(dataset: LoadedSplit) -> int:
    """About how much memory all pictures of a split take, by the first ones of each file."""
    each = -(-_SAMPLES // len(dataset.shards))
    sizes = [
        size * dataset.channels
        for path in dataset.paths
        for size in itertools.islice(_pixels(Path(path)), each)
    ]
    return sum(sizes) * dataset.num_samples // max(len(sizes), 1)


def _pixels(path: Path) -> Iterator[int]:
    """The number of pixels of each picture; damaged ones are left out, to be told when trained on.

    PIL reads no more than the head of a picture here.
    """
    for record in tfrecord.read(path):
        with contextlib.suppress(DataError, OSError, PIL.Image.DecompressionBombError):
            encoded, _ = tfrecord.picture_and_label(record.content)
            with PIL.Image.open(io.BytesIO(encoded)) as image:
                yield image.width * image.height


def available_memory() -> int:
    """Bytes that this process can still be given, by the system and by the container it is in."""
    lines = _MEMORY.read_text(encoding="ascii").splitlines()
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
        most = int((_LIMITS / "memory.max").read_text())
        used = int((_LIMITS / "memory.current").read_text())
        return min(1024 * kilobytes, max(most - used, 0))
    return 1024 * kilobytes
