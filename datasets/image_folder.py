"""A folder of pictures with one sub-folder per class becomes a dataset.

    flowers/                      flowers/
        daisy/a.jpg                   train/daisy/a.jpg
        daisy/field/b.png             train/rose/c.jpg
        rose/c.jpg                    test/daisy/b.png
                                      ...

What lies in nested folders belongs to the class folder around them. A folder that is divided
already, into train, validation (or val) and test with the class folders below, keeps its splits;
otherwise the content of each file and the seed alone decide its split, so that adding, renaming or
removing other files moves none, and copies of a picture never lie in two splits.
"""

import collections
import dataclasses
import functools
import hashlib
import itertools
import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any, NamedTuple, TypeVar

from absl import logging

from core.errors import DataError, FlagError
from datasets import images
from datasets.conversion import Skipped, Source
from datasets.spec import Example

MAX_FILE_BYTES = 1 << 28  # 256 MiB; a few files are in memory at a time, whatever they are

_SPLIT_FOLDERS = {
    b"train": "train",
    b"validation": "validation",
    b"val": "validation",
    b"test": "test",
}
_JUNK = (b"thumbs.db", b"desktop.ini", b"__macosx")  # left by file managers; hidden files as well
_SIDE_FILES = (".txt", ".csv", ".tsv", ".json", ".xml", ".md", ".yaml", ".yml")
_SIDE_NAMES = ("license", "readme", "copying")

Item = TypeVar("Item")
Result = TypeVar("Result")


class File(NamedTuple):
    """A file that may be a picture."""

    path: bytes  # relative to the root
    label: int
    split: str = ""  # of the folder it lies in; "" if its content decides


@dataclasses.dataclass(frozen=True)
class Folder:
    """What `scan` found."""

    root: bytes  # real path
    class_names: tuple[str, ...]  # in label order
    files: tuple[File, ...]  # in byte order of their paths
    bad: tuple[Skipped, ...] = ()  # what cannot be a picture, such as a broken link
    ignored: int = 0  # junk and text files
    splits: tuple[str, ...] = ()  # those the folder is divided into already


def source(options: Any) -> Source:
    """The folder given as --image_dir, for the converter.

    Args:
        options: the converter's flags; read here: image_dir, on_bad_image, max_bad_fraction,
            max_image_pixels, validation_fraction, test_fraction, seed, num_shards.

    Raises:
        FlagError, DataError: see `scan`.
    """
    folder = scan(options.image_dir)
    if folder.ignored:
        logging.info("ignored %d text files and files of file managers", folder.ignored)
    if folder.splits:
        logging.info(
            "%s is divided already into %s: the split flags are not used",
            options.image_dir,
            ", ".join(folder.splits),
        )
    workers = os.cpu_count() or 1
    decisive = {
        "seed": options.seed,
        "validation_fraction": options.validation_fraction,
        "test_fraction": options.test_fraction,
        "max_pixels": options.max_image_pixels,
    }
    all_examples = functools.partial(
        examples,
        folder,
        on_bad_image=options.on_bad_image,
        max_bad_fraction=options.max_bad_fraction,
        workers=workers,
        **decisive,
    )
    return Source(
        folder.class_names,
        {"sha256": fingerprint(folder, workers), "num_shards": options.num_shards, **decisive},
        all_examples,
        total=len(folder.files) + len(folder.bad),
        num_shards=options.num_shards,
    )


def scan(image_dir: str) -> Folder:
    """Lists the classes and files of a folder of pictures.

    Classes are in byte order of their names (Unicode in NFC), files in byte order of their paths.
    Hidden files, those of file managers, and text files such as labels.csv or LICENSE are ignored.
    Links to files inside the folder are followed; links to folders, links that leave the folder,
    and what is neither file nor folder count as bad files.

    Raises:
        FlagError: no such folder; fewer than 2 classes; pictures outside the class folders; class
            names that look alike or hold control characters.
        DataError: a class without any picture.
    """
    root = os.path.realpath(os.fsencode(image_dir))
    if not os.path.isdir(root):
        raise FlagError("no such folder", where=printable(image_dir), remedy="check --image_dir")
    walk = _Walk(root)
    folders = walk.sub_folders(root)
    splits = {"": folders}
    if _is_divided(folders):
        splits = collections.defaultdict(list)
        for folder in folders:
            splits[_SPLIT_FOLDERS[os.path.basename(folder)]] += walk.sub_folders(folder)
    names = {os.path.basename(folder) for folders in splits.values() for folder in folders}
    class_names = _class_names(names, root)
    labels = {name: label for label, name in enumerate(class_names)}
    files = [
        File(os.path.relpath(path, root), labels[_class_name(folder)], split)
        for split, folders in splits.items()
        for folder in folders
        for path in walk.files(folder)
    ]
    occupied = {file.label for file in files}
    empty = [repr(name) for name, label in labels.items() if label not in occupied]
    if empty:
        raise DataError(
            f"no picture in class {', '.join(empty)}",
            where=printable(root),
            remedy="add pictures or remove the folder",
        )
    return Folder(
        root,
        class_names,
        tuple(sorted(files)),
        tuple(sorted(walk.bad)),
        walk.ignored,
        tuple(split for split in ("train", "validation", "test") if split in splits),
    )


def examples(
    folder: Folder,
    *,
    seed: int,
    validation_fraction: float,
    test_fraction: float,
    on_bad_image: str,
    max_bad_fraction: float,
    max_pixels: int,
    workers: int,
) -> Iterator[tuple[str, Example] | Skipped]:
    """Reads the pictures of a folder, each file once, with few of them in memory at a time.

    The order mixes the classes; it depends on the seed and the paths only.

    Args:
        folder: what `scan` found.
        seed: decides the order, and with the content of a file its split.
        validation_fraction: share of the validation split, in [0, 1); see `split_of`.
        test_fraction: share of the test split, in [0, 1).
        on_bad_image: "fail" to stop at a file that is no readable picture, "skip" to leave it out.
        max_bad_fraction: with "skip", the share of bad files above which it fails all the same.
        max_pixels: see `images.load`.
        workers: threads that read and decode (the decoders release Python's lock).

    Yields:
        (split name, Example) for a picture, Skipped for a bad file; Example.filename is the path
        inside the folder.

    Raises:
        DataError: a bad file, or too many of them; or a split without any picture, or a class
            without one to train on.
    """

    def read(file: File) -> tuple[str, Example] | Skipped:
        path = os.path.join(folder.root, file.path)
        try:
            content = _content(path)
            image = images.load(content, max_pixels)
        except (DataError, OSError) as error:
            reason = error.what if isinstance(error, DataError) else error.strerror or str(error)
            return Skipped(printable(file.path), reason)
        split = file.split or split_of(content, seed, validation_fraction, test_fraction)
        return split, Example(*image, file.label, file.path)

    shuffled = sorted(folder.files, key=lambda file: _digest(seed, file.path))
    total, bad = len(folder.files) + len(folder.bad), 0
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for item in itertools.chain(folder.bad, _mapped(read, shuffled, workers)):
        if isinstance(item, Skipped):
            bad += 1
            _check_bad(folder, item, on_bad_image, bad, total, max_bad_fraction)
        else:
            split, example = item
            counts[split][example.label] += 1
        yield item
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


def fingerprint(folder: Folder, workers: int) -> str:
    """SHA-256 over the paths and contents of all files, in hex."""

    def digest(file: File) -> bytes:
        try:
            content = _content(os.path.join(folder.root, file.path))
        except (DataError, OSError):
            content = b""  # a bad file; what is wrong with it is told when it is converted
        return hashlib.sha256(content).digest()

    total = hashlib.sha256()
    for file, content in zip(folder.files, _mapped(digest, folder.files, workers), strict=True):
        total.update(hashlib.sha256(file.path).digest() + content)
    return total.hexdigest()


def printable(path: str | bytes) -> str:
    """A path in one line: control characters and bytes that are not UTF-8 are escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Walk:
    """Goes through folders below a root, and keeps account of what is not a picture."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self.bad: list[Skipped] = []
        self.ignored = 0

    def sub_folders(self, folder: bytes) -> list[bytes]:
        """The folders right below one that should hold nothing else.

        Raises:
            FlagError: a picture lies there.
        """
        folders, files = self._list(folder)
        for path in files:
            with open(path, "rb") as file:
                if images.image_format(file.read(1024)):
                    raise FlagError(
                        "need at least 2 classes, each a sub-folder; here a picture lies outside",
                        where=printable(path),
                        remedy="move it into the sub-folder of its class",
                    )
        self.ignored += len(files)
        return folders

    def files(self, folder: bytes) -> Iterator[bytes]:
        """The files of a folder and of all folders below it."""
        pending = [folder]
        while pending:
            folders, files = self._list(pending.pop())
            pending += folders
            yield from files

    def _list(self, folder: bytes) -> tuple[list[bytes], list[bytes]]:
        """The folders and the files right below a folder."""
        folders, files = [], []
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            self._add_bad(folder, error.strerror)
            return folders, files
        for entry in entries:
            if _is_ignored(entry.name):
                self.ignored += 1
            elif entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                files.append(entry.path)
            elif not entry.is_symlink():
                self._add_bad(entry.path, "not a regular file")
            elif problem := self._link_problem(entry.path):
                self._add_bad(entry.path, problem)
            else:
                files.append(entry.path)
        return folders, files

    def _link_problem(self, path: bytes) -> str:
        """Why a link is not followed; "" if it is."""
        target = os.path.realpath(path)
        if os.path.commonpath([self.root, target]) != self.root:
            return "link that leaves the folder"
        if not os.path.exists(target):
            return "broken link"
        if os.path.isdir(target):
            return "link to a folder (not followed)"
        return "" if os.path.isfile(target) else "link to what is not a regular file"

    def _add_bad(self, path: bytes, reason: str) -> None:
        self.bad.append(Skipped(printable(os.path.relpath(path, self.root)), reason))


def _is_ignored(name: bytes) -> bool:
    """Whether a file or folder of that name is no part of the data, by rule."""
    if name.startswith(b".") or name.lower() in _JUNK:
        return True
    path = PurePosixPath(os.fsdecode(name).lower())
    return path.suffix in _SIDE_FILES or path.name in _SIDE_NAMES


def _is_divided(folders: list[bytes]) -> bool:
    """Whether the folders are splits, train and at least one other, each with folders inside."""

    def has_folder(folder: bytes) -> bool:
        return any(entry.is_dir() and not _is_ignored(entry.name) for entry in os.scandir(folder))

    names = {os.path.basename(folder) for folder in folders}
    return (
        b"train" in names
        and len(names) >= 2
        and names <= _SPLIT_FOLDERS.keys()
        and all(map(has_folder, folders))
    )


def _class_name(folder: bytes) -> str:
    """The name of the class that a folder stands for."""
    return unicodedata.normalize("NFC", os.fsdecode(os.path.basename(folder)))


def _class_names(folder_names: set[bytes], root: bytes) -> tuple[str, ...]:
    """The class names in label order, checked."""
    alike: dict[str, list[str]] = collections.defaultdict(list)
    for folder_name in sorted(folder_names):
        name = _class_name(folder_name)
        # Cc: control characters, Zl and Zp: line ends, Cs: bytes that are not UTF-8.
        if any(unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") for c in name):
            raise FlagError(
                f"class name '{printable(folder_name)}' has control characters or is not UTF-8",
                where=printable(root),
                remedy="rename the folder",
            )
        look = unicodedata.normalize("NFC", name.casefold()).strip()
        alike[look].append(ascii(os.fsdecode(folder_name)))
    for names in alike.values():
        if len(names) > 1:
            raise FlagError(
                f"class names that look the same: {', '.join(names)}",
                where=printable(root),
                remedy="rename or merge the folders",
            )
    if len(folder_names) < 2:
        found = ", ".join(printable(name) for name in folder_names) or "none"
        raise FlagError(
            f"need at least 2 classes, found {found}",
            where=printable(root),
            remedy="--image_dir takes a folder with one sub-folder of pictures per class "
            "(links to folders are not followed)",
        )
    return tuple(sorted(map(_class_name, folder_names), key=str.encode))


def _content(path: bytes) -> bytes:
    """The bytes of a file; DataError if it is not a regular file, or is too large."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
        raise DataError("not a regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise DataError(f"{status.st_size} bytes exceed the limit of {MAX_FILE_BYTES}")
    with open(path, "rb") as file:
        return file.read()


def _digest(seed: int, content: bytes) -> bytes:
    return hashlib.sha256(b"%d:" % seed + content).digest()


def _mapped(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """`function` of each item in order, worked out in threads a few items ahead."""
    with ThreadPoolExecutor(workers) as pool:
        ahead: collections.deque = collections.deque()
        try:
            for item in items:
                ahead.append(pool.submit(function, item))
                if len(ahead) > 2 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


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
    """DataError for a split that stayed empty, or a class that cannot be trained on."""
    total = sum(count.total() for count in counts.values())
    for split, share in shares.items():
        if share and not counts[split]:
            raise DataError(
                f"none of the {total} pictures fell to the {split} split",
                where=printable(folder.root),
                remedy=f"add pictures, or change --{split}_fraction={share:g} "
                "(0 for no such split) or --seed",
            )
    for label, name in enumerate(folder.class_names):
        if not counts["train"][label]:
            elsewhere = sum(count[label] for count in counts.values())
            raise DataError(
                f"no picture of class {name!r} to train on ({elsewhere} in other splits)",
                where=printable(folder.root),
                remedy="add pictures of it",
            )
