"""MNIST (LeCun, Bottou, Bengio, Haffner, Gradient-Based Learning Applied to Document Recognition).

70,000 grey pictures of 28x28 in 10 classes: 60,000 to train on and 10,000 to test on. Read from a
folder that holds the four official idx.gz files.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from core import files
from core.errors import DataError, FlagError
from datasets import tfrecord
from datasets.conversion import Source
from datasets.spec import Example

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
BYTES_PER_PICTURE = 480  # in a record file; measured: 33.3 MB for the 70,000 pictures
SIZE = 28
SPLITS = {"train": ("train", 60_000), "test": ("t10k", 10_000)}  # split: file prefix, pictures
_IMAGES_HEADER = (2051, SIZE, SIZE)  # magic number, rows, columns (the count stands between)
_LABELS_HEADER = (2049,)


def source(options: Any) -> Source:
    """MNIST from the folder given as --source_archive.

    Args:
        options: the converter's flags; read here: source_archive, archive_sha256.

    Raises:
        FlagError: the folder is not given, or lacks one of the four files, or a checksum is given.
    """
    if not options.source_archive:
        raise FlagError(
            "mnist needs --source_archive",
            remedy="pass the folder with train-images-idx3-ubyte.gz and its three companions",
        )
    if options.archive_sha256:
        raise FlagError("--archive_sha256 is for one file, and mnist is a folder of four")
    folder = Path(options.source_archive)
    paths = {
        split: (
            folder / f"{prefix}-images-idx3-ubyte.gz",
            folder / f"{prefix}-labels-idx1-ubyte.gz",
        )
        for split, (prefix, _) in SPLITS.items()
    }
    missing = [path.name for pair in paths.values() for path in pair if not path.is_file()]
    if missing:
        raise FlagError(f"no {', '.join(missing)}", where=str(folder))
    settings = {
        "sha256": {path.name: files.sha256(path) for pair in paths.values() for path in pair}
    }

    def examples() -> Iterator[tuple[str, Example]]:
        for split, pair in paths.items():
            yield from ((split, example) for example in _examples(*pair, SPLITS[split][1]))

    total = sum(count for _, count in SPLITS.values())
    return Source(
        CLASS_NAMES, settings, examples, total=total, channels=1, size=total * BYTES_PER_PICTURE
    )


def read_idx(path: Path, header: tuple[int, ...], count: int) -> np.ndarray:
    """The bytes of an idx file after its header, as uint8 [count, ...].

    Raises:
        DataError: it is damaged, or another header or size than expected.
    """
    magic, *shape = header
    expected = np.array([magic, count, *shape], ">i4").tobytes()
    size = len(expected) + count * int(np.prod(shape))
    try:
        with gzip.open(path) as file:
            content = file.read(size + 1)  # no more, however much it would unpack to
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read the file: {error}", where=str(path)) from None
    if not content.startswith(expected) or len(content) != size:
        raise DataError(f"not {count} items of the expected idx format", where=str(path))
    return np.frombuffer(content, np.uint8, offset=len(expected)).reshape(count, *shape)


def _examples(images: Path, labels: Path, count: int) -> Iterator[Example]:
    pixels = read_idx(images, _IMAGES_HEADER, count)[..., np.newaxis]
    classes = read_idx(labels, _LABELS_HEADER, count)
    if classes.max() >= len(CLASS_NAMES):
        raise DataError(f"label {classes.max()}", where=f"{labels}:{classes.argmax()}")
    encoded_images = tfrecord.encode_png([pixels])
    for row, (encoded, label) in enumerate(zip(encoded_images, classes.tolist(), strict=True)):
        yield Example(encoded, "png", SIZE, SIZE, label, f"{images.name}:{row}".encode())
