"""Writing files so that nothing half-written ever carries a final name, and directory locks."""

import contextlib
import fcntl
import glob
import hashlib
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from core.errors import CheckpointError, LockedError, MachineError

_STAGING = ".tmp-"
_COMMITTING = ".committing"
_LOCK = ".lock"
_LOCK_TRIES = 5  # within half a second; `is_locked` holds a lock for less


@contextlib.contextmanager
def atomic_write(
    path: str | os.PathLike, *, binary: bool = False, durable: bool = True
) -> Iterator[IO]:
    """Opens a temporary sibling for writing and renames it to `path` when the block succeeds.

    Text is UTF-8 with plain newlines. If the block fails, `path` is as it was before. Unless it is
    to be durable, a power cut, but no other end of the process, can lose what was written.
    """
    path = Path(path)
    temporary = path.with_name(f"{_STAGING}{os.getpid()}-{uuid.uuid4().hex[:8]}-{path.name}")
    text = {} if binary else {"encoding": "utf-8", "newline": ""}
    try:
        with temporary.open("wb" if binary else "w", **text) as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_new(path: str | os.PathLike) -> Iterator[Path]:
    """The name of a temporary sibling, which becomes `path` when the block succeeds.

    The block makes a file of it, or a directory of files; nothing may stand at `path`.
    """
    path = Path(path)
    temporary = path.with_name(f"{_STAGING}{os.getpid()}-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        inside = temporary.rglob("*") if temporary.is_dir() else []
        for file in (temporary, *inside):
            _sync(file)
        temporary.rename(path)
        sync_directory(path.parent)
    finally:
        if temporary.exists():
            _remove(temporary)


def sweep_path(path: str | os.PathLike) -> None:
    """Removes what processes that were killed have left of writing a path."""
    path = Path(path)
    _sweep_killed(path.parent, f"{_STAGING}*-{glob.escape(path.name)}")


def sweep_killed(directory: Path) -> None:
    """Removes what processes that were killed have left of writing any path of a directory."""
    _sweep_killed(directory, f"{_STAGING}*")


def _sweep_killed(directory: Path, pattern: str) -> None:
    for left in directory.glob(pattern):
        process = left.name.removeprefix(_STAGING).partition("-")[0]
        if not Path(f"/proc/{process}").exists():
            _remove(left)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a whole text file under the rules of `atomic_write`."""
    with atomic_write(path) as file:
        file.write(text)


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's content, as hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def checksum_line(file: Path) -> str:
    """A line of the sha256sum tool."""
    return f"{sha256(file)}  {file.name}\n"


def check_sums(sums: Path, covered: list[Path]) -> None:
    """Compares files with the lines of a file that sha256sum would write of them.

    Args:
        sums: the file with the lines, in order of name.
        covered: all the files that it should list.

    Raises:
        CheckpointError: one is damaged, missing, or not listed; it is named.
    """
    text = sums.read_bytes()
    lines = {file: checksum_line(file) for file in covered}
    if text == "".join(map(lines.get, sorted(lines))).encode():
        return
    listed = text.decode(errors="replace").splitlines(keepends=True)
    names = {line.rstrip().split("  ")[-1]: line for line in listed}
    for file in sorted(lines):
        if names.get(file.name, lines[file]) != lines[file]:
            what = f"damaged: its checksum is not that in {sums.name}"
            raise CheckpointError(what, where=str(file))
    missing = sorted(names.keys() - {file.name for file in lines})
    what = f"{missing[0]} is listed, but missing" if missing else "damaged"
    raise CheckpointError(what, where=str(sums))


@contextlib.contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """A directory to write files in that `commit` then moves into `directory`.

    It is made inside `directory`, so that moving is a rename on one file system, and is removed
    with whatever is still in it when the block ends.
    """
    stage = directory / f"{_STAGING}{os.getpid()}-{uuid.uuid4().hex[:8]}"
    stage.mkdir()
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def commit(stage: Path, names: list[str], directory: Path) -> None:
    """Moves files out of a staging directory, all at once, in the place of any with their names.

    The staging directory gets a name that `committed` looks into: from that one rename on the new
    files are the ones that count. They then move to their final names in the given order, so that
    to other tools the last one is the mark that the rest is complete. What a crash leaves of this
    is finished by `sweep`. All are flushed to disk before anything changes.
    """
    for name in names:
        with (stage / name).open("rb") as file:
            os.fsync(file.fileno())
    for path in stage.iterdir():
        if path.name not in names:
            path.unlink()
    sync_directory(stage)
    pending = stage.rename(directory / _COMMITTING)
    sync_directory(directory)
    _move(pending, names, directory)


def committed(directory: Path, name: str) -> Path:
    """Where a committed file of a directory stands, even if a crash kept it from its place."""
    path = directory / _COMMITTING / name
    return path if path.exists() else directory / name


def _move(pending: Path, names: list[str], directory: Path) -> None:
    for name in names:
        (pending / name).replace(directory / name)
    sync_directory(directory)
    pending.rmdir()


def sync_directory(directory: Path) -> None:
    """Flushes a directory's entries to disk, so that a rename in it outlives a power cut."""
    _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unfinished(directory: Path) -> list[Path]:
    """What interrupted writers left in a directory."""
    return sorted([*directory.glob(f"{_STAGING}*"), *directory.glob(_COMMITTING)])


def sweep(directory: Path) -> None:
    """Finishes or removes what interrupted writers left. Call it only with the lock held."""
    pending = directory / _COMMITTING
    if pending.is_dir():
        _move(pending, sorted(path.name for path in pending.iterdir()), directory)
    for path in unfinished(directory):
        _remove(path)


def check_space(
    directory: Path, needed: int, what: str, remedy: str = "free some space, or use another disk"
) -> None:
    """MachineError if the disk of a directory has less than the needed bytes free.

    Args:
        directory: where `what` is to be written.
        needed: bytes.
        what: what needs them, for the message.
        remedy: what to do about it.
    """
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise MachineError(
            f"disk full: {what} needs about {needed / 1e6:.1f} MB, {free / 1e6:.1f} MB are free",
            where=str(directory),
            remedy=remedy,
        )


def make_directory(path: str | os.PathLike) -> Path:
    """Makes a directory with its parents, if it is not there; MachineError if that cannot be."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(
            f"cannot make the directory: {error.strerror}", where=str(path)
        ) from None
    return path


def is_locked(directory: Path) -> bool:
    """Whether a process, this one or another, holds the lock of a directory."""
    with contextlib.suppress(OSError), (directory / _LOCK).open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the one writer's lock of a directory; the kernel frees it when the holder dies.

    Raises:
        LockedError: another process holds it; its process id, host and start are named.
        MachineError: the directory cannot be written to.
    """
    path = directory / _LOCK
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise MachineError(
            f"cannot write to the directory: {error.strerror}", where=str(directory)
        ) from None
    with file:
        if not _locks(file):
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise LockedError(
                f"the directory is in use by {holder}",
                where=str(directory),
                remedy="wait for it to end, or use another directory",
            )
        file.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {since}")
        file.flush()
        yield


def _locks(file: IO) -> bool:
    """Takes the lock; False if another process keeps it."""
    for attempt in range(_LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1 * (attempt < _LOCK_TRIES - 1))
        else:
            return True
    return False
