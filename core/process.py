"""What the operating system knows of this process (Linux)."""

import ctypes
import os
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2)
_START = 19  # of what follows the name in /proc/PID/stat: when it started, proc(5), field 22


def seconds_since_start() -> float:
    """How long ago this process was started, to a hundredth of a second."""
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    uptime = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return uptime - int(fields[_START]) / os.sysconf("SC_CLK_TCK")


def resident_bytes() -> int:
    """The memory that it has resident, without that of its children."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """The most memory that it has had resident so far, without that of its children.

    Not what getrusage gives, which begins at the peak of the process that started this one.
    """
    lines = Path("/proc/self/status").read_bytes().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith(b"VmHWM:"))
    return int(kilobytes) * 1024


def cold_start() -> str:
    """What it has taken so far, for people: "3.1 s, with 480 MB of memory"."""
    return f"{seconds_since_start():.1f} s, with {resident_bytes() / 1e6:.0f} MB of memory"


def end_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Has this process signalled as soon as the one that started it has ended, however that ended.

    It stays so when this process executes another program.

    Args:
        parent: the id of that one.
        number: of the signal.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it had ended before
        os.kill(os.getpid(), number)
