"""CIFAR-10 (Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009).

60,000 RGB pictures of 32x32 in 10 classes: 50,000 to train on and 10,000 to test on. Read from the
binary archive, whose rows are one label byte and 3,072 pixel bytes (red, green, blue planes); the
archive is never extracted, and there is nothing in it to unpickle.
"""

import gzip
import itertools
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from core.errors import DataError
from datasets import download, tfrecord
from datasets.conversion import Source
from datasets.spec import Example

CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
ARCHIVE = download.Archive(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    size=170_052_171,
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
BYTES_PER_PICTURE = 2_500  # in a record file; measured: 146.5 MB for the 60,000 pictures
SIZE = 32
ROWS = 10_000  # per member of the archive
ROW_BYTES = 1 + 3 * SIZE * SIZE
MEMBERS = {
    **{f"data_batch_{number}.bin": "train" for number in range(1, 6)},
    "test_batch.bin": "test",
}
MAX_BYTES = len(MEMBERS) * ROWS * ROW_BYTES * 101 // 100  # of all in the archive: 1 % to spare


def source(options: Any) -> Source:
    """CIFAR-10 from --source_archive, or from a download.

    Args:
        options: the converter's flags; read here: source_archive, archive_sha256, dataset_dir,
            validation_pictures.
    """
    settings, total = {}, len(MEMBERS) * ROWS
    held_out = options.validation_pictures
    if held_out:
        settings["validation_pictures"] = held_out
    if options.source_archive:
        settings["archive_sha256"] = download.checked(
            options.source_archive, options.archive_sha256, ARCHIVE
        )

    def examples() -> Iterator[tuple[str, Example]]:
        if options.source_archive:
            yield from _examples(Path(options.source_archive), held_out)
            return
        with download.fetched(ARCHIVE, options.dataset_dir) as archive:
            settings["archive_sha256"] = ARCHIVE.sha256
            yield from _examples(archive, held_out)

    size = total * BYTES_PER_PICTURE + (0 if options.source_archive else ARCHIVE.size)
    return Source(CLASS_NAMES, settings, examples, total=total, size=size)


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """The data files of the archive as (name, content), in the archive's order.

    Raises:
        DataError: it is no gzipped tar, unpacks to more than it should, or a data file is missing
            or of another size.
    """
    missing = set(MEMBERS)
    try:
        with (
            gzip.open(archive) as unpacked,
            tarfile.open(fileobj=_Limited(unpacked, MAX_BYTES), mode="r|") as tar,
        ):
            for member in tar:
                name = Path(member.name).name
                if name not in missing or not member.isreg():
                    continue
                if member.size != ROWS * ROW_BYTES:
                    raise DataError(
                        f"{name} has {member.size} bytes, expected {ROWS * ROW_BYTES}",
                        where=str(archive),
                    )
                missing.remove(name)
                yield name, tar.extractfile(member).read(member.size)
                if not missing:
                    return
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise DataError(f"cannot read the archive: {error}", where=str(archive)) from None
    raise DataError(
        f"{', '.join(sorted(missing))} not in the archive",
        where=str(archive),
        remedy="is it cifar-10-binary.tar.gz?",
    )


class _Limited:
    """A file to read from that may not go on for ever, as an archive made in malice does."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file, self._left = file, limit

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise OSError("it unpacks to more than the files of CIFAR-10")
        return content


def _rows(archive: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The rows of each data file as (name, uint8 [ROWS, ROW_BYTES]), the labels checked."""
    for name, content in members(archive):
        rows = np.frombuffer(content, np.uint8).reshape(ROWS, ROW_BYTES)
        wrong = np.flatnonzero(rows[:, 0] >= len(CLASS_NAMES))
        if wrong.size:
            raise DataError(
                f"label {rows[wrong[0], 0]} at row {wrong[0]} of {name}", where=str(archive)
            )
        yield name, rows


def _examples(archive: Path, held_out: int) -> Iterator[tuple[str, Example]]:
    """(split, example) of each picture; the last `held_out` to train on are for validation."""
    kept = ROWS * list(MEMBERS.values()).count("train") - held_out
    ahead, here = itertools.tee(_rows(archive))  # encoding runs ahead of the labels
    planes = (rows[:, 1:].reshape(ROWS, 3, SIZE, SIZE) for _, rows in ahead)
    images = tfrecord.encode_png(stack.transpose(0, 2, 3, 1) for stack in planes)
    for name, rows in here:
        # Not strict: the pictures go on with those of the next file.
        for row, (label, encoded) in enumerate(zip(rows[:, 0].tolist(), images, strict=False)):
            split = MEMBERS[name]
            if split == "train":
                split = "train" if kept > 0 else "validation"
                kept -= 1
            yield split, Example(encoded, "png", SIZE, SIZE, label, f"{name}:{row}".encode())
