"""A folder of pictures with one sub-folder per class becomes a dataset.

Unless the folder is divided into splits already, the content of each file and the seed alone decide
its split, so that adding, renaming or removing other files moves none, and copies of a picture
never lie in two splits.
"""

import collections
import functools
import hashlib
import itertools
import os
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

from absl import logging

from core.errors import DataError
from datasets import images, parallel
from datasets.class_folders import File, Folder, printable, scan
from datasets.conversion import Skipped, Source
from datasets.spec import Example

_BYTES_PER_RECORD = 250  # beside the picture: frame, keys, label, size, file name


class Content(NamedTuple):
    """What is known of a file before it is converted."""

    sha256: bytes = b""  # empty if it cannot be read
    size: int = 0  # bytes


def source(options: Any) -> Source:
    """The folder given as --image_dir, for the converter.

    Args:
        options: the converter's flags; read here: those of the groups "Folder of pictures" and
            "Split", and num_shards.

    Raises:
        FlagError, DataError: see `scan`.
    """
    folder = scan(
        options.image_dir,
        merge_case=options.merge_case,
        allow_empty_class=options.allow_empty_class,
        allow_single_class=options.allow_single_class,
    )
    if folder.empty:
        logging.warning("no picture in class %s; its label is kept", ", ".join(folder.empty))
    if folder.ignored:
        logging.info("ignored %d text files and files of file managers", folder.ignored)
    if folder.splits:
        logging.info(
            "%s is divided already into %s: the split flags are not used",
            options.image_dir,
            ", ".join(folder.splits),
        )
    workers = os.cpu_count() or 1
    contents = read_contents(folder, options.max_file_mb, workers)
    _warn_of_copies(folder, contents)
    decisive = {
        "seed": options.seed,
        "validation_fraction": options.validation_fraction,
        "test_fraction": options.test_fraction,
        "max_pixels": options.max_image_pixels,
        "max_file_mb": options.max_file_mb,
    }
    all_examples = functools.partial(
        examples,
        folder,
        contents,
        on_bad_image=options.on_bad_image,
        max_bad_fraction=options.max_bad_fraction,
        workers=workers,
        **decisive,
    )
    return Source(
        folder.class_names,
        {"sha256": fingerprint(folder, contents), "num_shards": options.num_shards, **decisive},
        all_examples,
        total=len(folder.files) + len(folder.bad),
        num_shards=options.num_shards,
        size=sum(content.size + _BYTES_PER_RECORD for content in contents),
    )


def read_contents(folder: Folder, max_file_mb: int, workers: int) -> list[Content]:
    """Reads all files of a folder; one that is bad is told when it is converted, not here."""

    def read(file: File) -> Content:
        try:
            content = read_file(os.path.join(folder.root, file.path), max_file_mb)
        except (DataError, OSError):
            return Content()
        return Content(hashlib.sha256(content).digest(), len(content))

    return list(parallel.in_order(read, folder.files, workers))


def fingerprint(folder: Folder, contents: list[Content]) -> str:
    """SHA-256 over the paths and contents of all files, in hex."""
    total = hashlib.sha256()
    for file, content in zip(folder.files, contents, strict=True):
        total.update(hashlib.sha256(file.path).digest() + content.sha256)
    return total.hexdigest()


def _warn_of_copies(folder: Folder, contents: list[Content]) -> None:
    """Warns of pictures that a divided folder has in two splits: they make a test too easy."""
    first: dict[bytes, File] = {}
    for file, content in zip(folder.files, contents, strict=True):
        other = first.setdefault(content.sha256, file)
        if content.size and file.split != other.split:
            logging.warning(
                "%s and %s are the same picture, in two splits",
                printable(other.path),
                printable(file.path),
            )


def examples(
    folder: Folder,
    contents: list[Content],
    *,
    seed: int,
    validation_fraction: float,
    test_fraction: float,
    on_bad_image: str,
    max_bad_fraction: float,
    max_pixels: int,
    max_file_mb: int,
    workers: int,
) -> Iterator[tuple[str, Example] | Skipped]:
    """Reads the pictures of a folder, each file once, with few of them in memory at a time.

    The order mixes the classes; it depends on the seed and the paths only.

    Args:
        folder: what `scan` found.
        contents: what `read_contents` found; a file that has changed since is a bad one.
        seed: decides the order, and with the content of a file its split.
        validation_fraction: share of the validation split, in [0, 1); see `split_of`.
        test_fraction: share of the test split, in [0, 1).
        on_bad_image: "fail" to stop at a file that is no readable picture, "skip" to leave it out.
        max_bad_fraction: with "skip", the share of bad files above which it fails all the same.
        max_pixels: see `images.load`.
        max_file_mb: size above which a file is bad without being read, in 10^6 bytes.
        workers: threads that read and decode (the decoders release Python's lock).

    Yields:
        (split name, Example) for a picture, Skipped for a bad file; Example.filename is the path
        inside the folder.

    Raises:
        DataError: a bad file, or too many of them; or a split without any picture, or a class
            without one to train on.
    """
    animated: list[str] = []

    def read(item: tuple[File, Content]) -> tuple[str, Example] | Skipped:
        file, expected = item
        path = os.path.join(folder.root, file.path)
        try:
            content = read_file(path, max_file_mb)
            if hashlib.sha256(content).digest() != expected.sha256:
                raise DataError("changed during the conversion")
            image = images.load(content, max_pixels)
            if images.is_animated(content):
                animated.append(printable(file.path))
        except (DataError, OSError) as error:
            reason = error.what if isinstance(error, DataError) else error.strerror or str(error)
            return Skipped(printable(file.path), reason)
        split = file.split or split_of(content, seed, validation_fraction, test_fraction)
        return split, Example(*image, file.label, file.path)

    shuffled = sorted(
        zip(folder.files, contents, strict=True), key=lambda item: _digest(seed, item[0].path)
    )
    total, bad = len(folder.files) + len(folder.bad), 0
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for item in itertools.chain(folder.bad, parallel.in_order(read, shuffled, workers)):
        if isinstance(item, Skipped):
            bad += 1
            _check_bad(folder, item, on_bad_image, bad, total, max_bad_fraction)
        else:
            split, example = item
            counts[split][example.label] += 1
        yield item
    if animated:
        logging.warning(
            "of pictures with several frames the first one is taken: %d, such as %s",
            len(animated),
            min(animated),
        )
    shares = {"validation": validation_fraction, "test": test_fraction}
    _check_counts(folder, counts, {} if folder.splits else shares)


def split_of(content: bytes, seed: int, validation_fraction: float, test_fraction: float) -> str:
    """The split of a file, a pure function of its content and the seed.

    A hash of both is a number u in [0, 1): test if u < test_fraction, validation if it is among the
    next validation_fraction, else train.
    """
    u = int.from_bytes(_digest(seed, hashlib.sha256(content).digest())[:8], "big") / 2**64
    if u < test_fraction:
        return "test"
    return "validation" if u < test_fraction + validation_fraction else "train"


def read_file(path: bytes, max_file_mb: int) -> bytes:
    """The bytes of a file.

    Args:
        path: the file.
        max_file_mb: size above which it is refused, 10^6 bytes.

    Raises:
        DataError: it is too large, or not a regular file.
        OSError: it cannot be read.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
        raise DataError("not a regular file")
    if status.st_size > max_file_mb * 1e6:
        raise DataError(f"{status.st_size / 1e6:.1f} MB exceed the limit of {max_file_mb} MB")
    with open(path, "rb") as file:
        return file.read()


def _digest(seed: int, content: bytes) -> bytes:
    return hashlib.sha256(b"%d:" % seed + content).digest()


def _check_bad(
    folder: Folder, skipped: Skipped, on_bad_image: str, bad: int, total: int, limit: float
) -> None:
    """DataError if a bad file ends the conversion."""
    where = os.path.join(printable(folder.root), skipped.path)
    if on_bad_image == "fail":
        raise DataError(
            skipped.reason,
            where=where,
            remedy="repair or remove the file, or pass --on_bad_image=skip",
        )
    if bad / total > limit:
        raise DataError(
            f"{bad} of {total} files are bad so far, more than --max_bad_fraction={limit:g} "
            f"allows; the last: {skipped.reason}",
            where=where,
            remedy="repair or remove them, or allow more",
        )


def _check_counts(
    folder: Folder, counts: dict[str, collections.Counter], shares: dict[str, float]
) -> None:
    """DataError for a split that stayed empty, or a class that cannot be trained on.

    Classes that were empty to begin with have been allowed to be.
    """
    total = sum(count.total() for count in counts.values())
    if not total:
        raise DataError("no picture in it", where=printable(folder.root))
    for split, share in shares.items():
        if share and not counts[split]:
            raise DataError(
                f"none of the {total} pictures fell to the {split} split",
                where=printable(folder.root),
                remedy=f"add pictures, or change --{split}_fraction={share:g} "
                "(0 for no such split) or --seed",
            )
    for label, name in enumerate(folder.class_names):
        if not counts["train"][label] and name not in folder.empty:
            elsewhere = sum(count[label] for count in counts.values())
            raise DataError(
                f"no picture of class {name!r} to train on ({elsewhere} in other splits)",
                where=printable(folder.root),
                remedy="add pictures of it",
            )
