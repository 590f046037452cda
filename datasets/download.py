"""Fetching archives: verified before they are used, never extracted."""

import contextlib
import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from absl import logging

from core import files, progress
from core.errors import DataError, FlagError, MachineError

TRIES = 3
STALL_SECONDS = 30.0
_BLOCK_BYTES = 1 << 18
# Not every OSError: when the disk is full, another try does not help.
_NETWORK = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)


class Archive(NamedTuple):
    """A file on a server, with what it must be."""

    url: str
    size: int  # bytes
    sha256: str

    @property
    def name(self) -> str:
        """Its file name."""
        return self.url.rsplit("/", 1)[1]


def checked(path: str, sha256: str | None, official: Archive) -> str:
    """The SHA-256 of a local copy, compared with the one asked for or else reported.

    Raises:
        FlagError: there is no such file.
        DataError: `sha256` is given and is not that of the file.
    """
    if not Path(path).is_file():
        raise FlagError("no such file", where=path, remedy="check --source_archive")
    actual = files.sha256(path)
    if sha256 and actual != sha256.lower():
        raise DataError(
            f"sha256 is {actual}, expected {sha256.lower()}",
            where=path,
            remedy="get the archive again, or correct --archive_sha256",
        )
    known = "the official archive" if actual == official.sha256 else "not the official archive"
    logging.info("%s: sha256 %s (%s)", path, actual, "as asked for" if sha256 else known)
    return actual


@contextlib.contextmanager
def fetched(archive: Archive, directory: str, tries: int = TRIES) -> Iterator[Path]:
    """A verified copy of the archive, removed once the block has succeeded.

    A copy that an earlier run left behind, because what came after it failed, is used again.

    Raises:
        DataError: what came is not the archive; it is kept with the ending .bad.
        MachineError: it could not be fetched.
        OSError: it could not be written.
    """
    path = Path(directory) / archive.name
    if not (path.is_file() and path.stat().st_size == archive.size):
        part = path.with_name(path.name + ".part")
        try:
            _download_with_retries(archive, part, tries)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    _verify(path, archive)
    yield path
    path.unlink()


def _download_with_retries(archive: Archive, part: Path, tries: int) -> None:
    for attempt in range(1, tries + 1):
        try:
            return _download(archive, part)
        except _NETWORK as error:
            reason = getattr(error, "reason", None) or error
            if attempt == tries:
                raise MachineError(
                    f"cannot download {archive.url}: {reason}",
                    remedy=f"fetch {archive.name} by hand and pass it with --source_archive",
                ) from None
            logging.warning("download failed (%s), trying again", reason)
            time.sleep(attempt)
    return None


def _download(archive: Archive, part: Path) -> None:
    request = urllib.request.urlopen(archive.url, timeout=STALL_SECONDS)
    with (
        request as response,
        part.open("wb") as file,
        progress.bar(f"Downloading {archive.name}", archive.size, unit="bytes") as done,
    ):
        # One block more than expected is enough to see that it is something else.
        while file.tell() <= archive.size and (block := response.read(_BLOCK_BYTES)):
            file.write(block)
            done(len(block))
        file.flush()
        os.fsync(file.fileno())


def _verify(path: Path, archive: Archive) -> None:
    """DataError unless the file has the size and the checksum of the archive."""
    size, actual = path.stat().st_size, files.sha256(path)
    if (size, actual) == (archive.size, archive.sha256):
        return
    bad = path.with_name(path.name + ".bad")
    path.replace(bad)
    raise DataError(
        f"expected {archive.size} bytes with sha256 {archive.sha256}, "
        f"got {size} bytes with {actual}",
        where=str(bad),
        remedy="look at what the server sent, then run again or pass --source_archive",
    )
