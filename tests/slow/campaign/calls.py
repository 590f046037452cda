"""The system calls of a process that change files, each held until it is decided on.

The kernel hands them over by seccomp's user notification (seccomp_unotify(2); Linux 5.5, no
privileges needed): every thread's, those of TensorFlow's Saver too, and each before it has any
effect. So a process can be killed just before its Nth call, or its Nth call made to fail.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.slow.campaign.processes import PATIENCE, Script
from tests.slow.campaign.trials import EndOfRow, Failed, Trial

# Number on x86-64, name, and how the call tells its file: by a descriptor in the first argument, a
# path in the first, or a path in the second that is relative to the directory in the first.
_CALLS = {
    1: ("write", "descriptor"),
    18: ("pwrite64", "descriptor"),
    20: ("writev", "descriptor"),
    74: ("fsync", "descriptor"),
    75: ("fdatasync", "descriptor"),
    77: ("ftruncate", "descriptor"),
    82: ("rename", "path"),
    83: ("mkdir", "path"),
    84: ("rmdir", "path"),
    87: ("unlink", "path"),
    257: ("openat", "path at"),  # only those that may create a file
    263: ("unlinkat", "path at"),
}
_FILLING = {"write", "pwrite64", "writev", "fsync", "mkdir", "openat"}  # what a full disk refuses
_OPENAT = 257

_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP = 317  # number of the call
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000
_LOAD, _EQUALS, _HAS_BITS, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF
_NUMBER_AT, _FLAGS_AT = 0, 32  # in struct seccomp_data: the call's number, its third argument
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # ioctls, with the sizes of their structs
_NOTIFICATION = struct.Struct("QIIiIQ6Q")  # id, thread, flags, call, architecture, address, args
_RESPONSE = struct.Struct("QqiI")  # id, value, error, flags
_CONTINUE = 1


class Call(NamedTuple):
    """One call that waits to be let through."""

    name: str
    path: str

    @property
    def fills(self) -> bool:
        """Whether a full disk would refuse it."""
        return self.name in _FILLING


def _program() -> bytes:
    """The BPF program that picks the calls out."""

    def line(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, value)

    always = [number for number in _CALLS if number != _OPENAT]
    lines = [line(_LOAD, _NUMBER_AT)]
    lines += [line(_EQUALS, number, len(always) + 3 - i) for i, number in enumerate(always)]
    lines += [line(_EQUALS, _OPENAT, 0, 2), line(_LOAD, _FLAGS_AT), line(_HAS_BITS, os.O_CREAT, 1)]
    return b"".join([*lines, line(_RETURN, _ALLOW), line(_RETURN, _NOTIFY)])


def _install(connection: socket.socket) -> None:
    """In the process to be watched: from here on its calls wait for whoever has the listener."""
    libc = ctypes.CDLL(None, use_errno=True)
    program = _program()
    code = ctypes.create_string_buffer(program)
    size = len(program) // 8
    described = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", size, ctypes.addressof(code)))
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, described)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    socket.send_fds(connection, [b"listener"], [listener])
    os.close(listener)


def _text(thread: int, address: int) -> str:
    with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return os.fsdecode(memory.read(4096).split(b"\0", 1)[0])


def _file(thread: int, kind: str, arguments: Sequence[int]) -> str:
    """The path that a call is about."""
    if kind == "descriptor":
        return os.readlink(f"/proc/{thread}/fd/{arguments[0]}")
    if kind == "path":
        return os.path.join(os.readlink(f"/proc/{thread}/cwd"), _text(thread, arguments[0]))
    descriptor = ctypes.c_int(arguments[0]).value
    place = "cwd" if descriptor < 0 else f"fd/{descriptor}"
    return os.path.join(os.readlink(f"/proc/{thread}/{place}"), _text(thread, arguments[1]))


def watch(
    trial: Trial,
    name: str,
    arguments: Sequence[str],
    directory: Path,
    decide: Callable[[Call], int],
) -> Script:
    """Runs a script, and asks about each call that changes a file below a directory.

    Args:
        trial: whose script it is.
        name: the script.
        arguments: its command line.
        directory: calls about files elsewhere are let through.
        decide: gives 0 to let a call through, the error it is to fail with, or minus a signal that
            the process gets in its place.

    Returns:
        The script, which has ended or is about to.

    Raises:
        Failed: this machine does not let calls be watched, or the script hangs.
    """
    if platform.machine() != "x86_64":
        raise Failed("broken", "the numbers of the system calls are those of x86-64")
    ours, theirs = socket.socketpair()
    script = Script(trial, name, *arguments, before=lambda: _install(theirs))
    theirs.close()
    _, received, _, _ = socket.recv_fds(ours, 100, 1)
    if not received:
        raise Failed("broken", "the kernel does not let system calls be watched")
    (listener,) = received
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    deadline = time.monotonic() + PATIENCE
    try:
        while True:
            events = poll.poll(1000 * PATIENCE)
            if not events or time.monotonic() > deadline:
                script.finish({0}, 0)  # it hangs
            if events[0][1] & select.POLLHUP:
                return script
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just died
                _answer(listener, script, directory, decide)
    finally:
        os.close(listener)


def _answer(listener: int, script: Script, directory: Path, decide: Callable) -> None:
    notification = bytearray(_NOTIFICATION.size)
    fcntl.ioctl(listener, _RECEIVE, notification)
    key, thread, _, number, _, _, *values = _NOTIFICATION.unpack(notification)
    call, kind = _CALLS[number]
    path = _file(thread, kind, values)
    error = decide(Call(call, path)) if path.startswith(f"{directory}/") else 0
    if error < 0:
        script.signal(-error)
        return
    flags = 0 if error else _CONTINUE
    fcntl.ioctl(listener, _SEND, bytearray(_RESPONSE.pack(key, 0, -error, flags)))


def kill_at(
    trial: Trial, name: str, arguments: Sequence[str], directory: Path, moment: int
) -> None:
    """Runs a script and kills it just before its so-manieth call that changes a file, from 0.

    Raises:
        EndOfRow: it ended before.
    """
    left = moment

    def decide(call: Call) -> int:
        nonlocal left
        left -= 1
        if left >= 0:
            return 0
        print("killed at", call.name, call.path, flush=True)
        trial.checked[call.name] += 1
        return -signal.SIGKILL

    script = watch(trial, name, arguments, directory, decide)
    if script.finish({0, -signal.SIGKILL}) == 0:
        raise EndOfRow


def full_from(
    trial: Trial,
    name: str,
    arguments: Sequence[str],
    directory: Path,
    moment: int,
    concerns: Callable[[Call], bool] = lambda call: call.fills,
) -> Script:
    """Runs a script on a disk that is full from its so-manieth write on, from 0.

    Args:
        trial: whose script it is.
        name: the script.
        arguments: its command line.
        directory: where the disk is full.
        moment: the first write that fails.
        concerns: which calls count and fail.

    Raises:
        EndOfRow: it made fewer.
    """
    left = moment

    def decide(call: Call) -> int:
        nonlocal left
        if not concerns(call):
            return 0
        left -= 1
        if left == -1:
            print("full from", call.name, call.path, flush=True)
        return 0 if left >= 0 else errno.ENOSPC

    script = watch(trial, name, arguments, directory, decide)
    if left >= 0:
        script.finish({0})
        raise EndOfRow
    return script
