"""The pictures that are to be classified: found in a folder or by a pattern, and read."""

import glob
import os
from typing import NamedTuple

from core.errors import DataError, FlagError
from datasets import image_folder, images
from datasets.class_folders import pictures_below, printable

_WILDCARDS = (b"*", b"?", b"[")


class Picture(NamedTuple):
    """A file to classify, or what is known to be none."""

    root: bytes  # the folder
    path: bytes  # relative to the folder
    problem: str = ""  # why there is nothing to read

    @property
    def name(self) -> str:
        r"""The path as text; bytes that are not UTF-8 as \xNN."""
        return self.path.decode("utf-8", "backslashreplace")


class Content(NamedTuple):
    """What was read of a picture."""

    picture: Picture
    encoded: bytes = b""  # as a record would hold it; empty if there is a problem
    original: bytes = b""  # the file as it is
    problem: str = ""


def find(what: str) -> list[Picture]:
    """The pictures of a folder and all below it, of a pattern, or a single one.

    In a folder, hidden files, those of file managers and text files are left out, as they are in a
    folder that is converted; a pattern (`*`, `?`, `[...]`, and `**` for any depth) finds what it
    says.

    Args:
        what: folder, pattern or file.

    Returns:
        Pictures in byte order of their paths, which are relative to the folder; of a pattern, to
        the part of it that is before the first wildcard.

    Raises:
        FlagError: there is no such file or folder, or no picture in it.
    """
    if os.path.isdir(what):
        root = os.path.realpath(os.fsencode(what))
        paths, bad, _ = pictures_below(what)
        found = [Picture(root, path) for path in paths]
        found += [Picture(root, os.fsencode(path), problem) for path, problem in bad]
    else:
        pattern = os.fsencode(what)
        matches = [pattern] if os.path.lexists(pattern) else glob.glob(pattern, recursive=True)
        root = _fixed_part(pattern)
        files = (match for match in matches if not os.path.isdir(match))
        found = [Picture(root, os.path.relpath(path, root)) for path in files]
    if not found:
        raise FlagError("no picture there", where=printable(what), remedy="check --images")
    return sorted(found, key=lambda picture: picture.path)


def _fixed_part(pattern: bytes) -> bytes:
    """The folder in which all that matches a pattern lies."""
    folder = os.path.dirname(pattern)
    while any(wildcard in folder for wildcard in _WILDCARDS):
        folder = os.path.dirname(folder)
    return folder or b"."


def read(picture: Picture, max_file_mb: int, max_pixels: int) -> Content:
    """Reads a picture as a conversion does, so that evaluation would see the same; never raises.

    Damage inside of a JPEG is left to be found by the model, which decodes it.

    Args:
        picture: from `find`.
        max_file_mb: larger files are a problem, unread, 10^6 bytes.
        max_pixels: more of them are a problem, not decoded.
    """
    if picture.problem:
        return Content(picture, problem=picture.problem)
    try:
        original = image_folder.read_file(os.path.join(picture.root, picture.path), max_file_mb)
        encoded = images.load(original, max_pixels, is_decoded_next=True).encoded
        return Content(picture, encoded, original)
    except DataError as error:
        return Content(picture, problem=error.what)
    except OSError as error:
        return Content(picture, problem=error.strerror or str(error))
