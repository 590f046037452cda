"""What lies in a folder of pictures: its classes and its files, listed without being read.

    flowers/                      flowers/
        daisy/a.jpg                   train/daisy/a.jpg
        daisy/field/b.png             train/rose/c.jpg
        rose/c.jpg                    test/daisy/b.png
                                      ...

What lies in nested folders belongs to the class folder around them. A folder that is divided
already, into train, validation (or val) and test with the class folders below, keeps its splits.
"""

import collections
import dataclasses
import os
import unicodedata
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from core.errors import DataError, FlagError
from datasets import images
from datasets.conversion import Skipped

_SPLIT_FOLDERS = {
    b"train": "train",
    b"validation": "validation",
    b"val": "validation",
    b"test": "test",
}
_JUNK = (b"thumbs.db", b"desktop.ini", b"__macosx")  # left by file managers; hidden files as well
_SIDE_FILES = (".txt", ".csv", ".tsv", ".json", ".xml", ".md", ".yaml", ".yml")
_SIDE_NAMES = ("license", "readme", "copying")


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
    empty: tuple[str, ...] = ()  # classes without a file


def scan(
    image_dir: str,
    *,
    merge_case: bool = False,
    allow_empty_class: bool = False,
    allow_single_class: bool = False,
) -> Folder:
    """Lists the classes and files of a folder of pictures.

    Classes are in byte order of their names (Unicode in NFC), files in byte order of their paths.
    Hidden files, those of file managers, and text files such as labels.csv or LICENSE are ignored.
    Links to files inside the folder are followed; links to folders, links that leave the folder,
    and what is neither file nor folder count as bad files.

    Args:
        image_dir: the folder.
        merge_case: take class folders that look alike, such as Cat and cat, for one class, with
            the name that is first in byte order.
        allow_empty_class: keep the label of a class without any file.
        allow_single_class: take a folder with one class.

    Raises:
        FlagError: no such folder; too few classes; pictures outside the class folders; class
            names that look alike or hold control characters.
        DataError: a class without any file.
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
    classes = _classes(names, root, merge_case, 1 if allow_single_class else 2)
    class_names = tuple(sorted(set(classes.values()), key=str.encode))
    labels = {name: class_names.index(class_) for name, class_ in classes.items()}
    files = [
        File(os.path.relpath(path, root), labels[os.path.basename(folder)], split)
        for split, folders in splits.items()
        for folder in folders
        for path in walk.files(folder)
    ]
    occupied = {file.label for file in files}
    empty = tuple(name for label, name in enumerate(class_names) if label not in occupied)
    if empty and not allow_empty_class:
        raise DataError(
            f"no picture in class {', '.join(map(repr, empty))}",
            where=printable(root),
            remedy="add pictures, remove the folder, or pass --allow_empty_class",
        )
    return Folder(
        root,
        class_names,
        tuple(sorted(files)),
        tuple(sorted(walk.bad)),
        walk.ignored,
        tuple(split for split in ("train", "validation", "test") if split in splits),
        empty,
    )


def pictures_below(folder: str) -> tuple[list[bytes], list[Skipped], int]:
    """What may be a picture in a folder without classes and in all folders below it.

    Args:
        folder: an existing folder.

    Returns:
        Paths relative to the folder, in byte order; what cannot be a picture, by the rules of
        `scan`, in order; how many files were ignored.
    """
    root = os.path.realpath(os.fsencode(folder))
    walk = _Walk(root)
    paths = sorted(os.path.relpath(path, root) for path in walk.files(root))
    return paths, sorted(walk.bad), walk.ignored


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


def _classes(
    folder_names: set[bytes], root: bytes, merge_case: bool, fewest: int
) -> dict[bytes, str]:
    """The class that each folder name stands for; the names are checked."""
    alike: dict[str, list[bytes]] = collections.defaultdict(list)
    for folder_name in sorted(folder_names):
        name = _class_name(folder_name)
        # Cc: control characters, Zl and Zp: line ends, Cs: bytes that are not UTF-8.
        if any(unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs") for c in name):
            raise FlagError(
                f"class name '{printable(folder_name)}' has control characters or is not UTF-8",
                where=printable(root),
                remedy="rename the folder",
            )
        alike[unicodedata.normalize("NFC", name.casefold()).strip()].append(folder_name)
    for names in alike.values():
        if len(names) > 1 and not merge_case:
            raise FlagError(
                "class names that look the same: "
                + ", ".join(ascii(os.fsdecode(name)) for name in names),
                where=printable(root),
                remedy="rename or merge the folders, or pass --merge_case",
            )
    if len(alike) < fewest:
        found = ", ".join(printable(name) for name in sorted(folder_names)) or "none"
        raise FlagError(
            f"need at least {'2 classes' if fewest > 1 else '1 class'}, found {found}",
            where=printable(root),
            remedy="--image_dir takes a folder with one sub-folder of pictures per class "
            "(links to folders are not followed)"
            + (", or pass --allow_single_class" if alike else ""),
        )
    return {name: _class_name(names[0]) for names in alike.values() for name in names}


def _class_name(folder_name: bytes) -> str:
    return unicodedata.normalize("NFC", os.fsdecode(folder_name))
