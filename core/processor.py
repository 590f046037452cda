"""What Linux tells of the processor, and of the machine around it."""

import contextlib
import os
import platform
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
# What multiplies bfloat16 in hardware, as /proc/cpuinfo names it.
_BFLOAT16 = {"avx512_bf16", "amx_bf16"}


def name() -> str:
    """The processor's name, empty if the system does not tell."""
    return _told("model name")


def machine() -> dict[str, Any]:
    """What measurements are made on: processor, cores that may be used, memory, Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": name() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory GB": round(memory / 1e9, 1),
        "python": platform.python_version(),
    }


def multiplies_bfloat16() -> bool:
    """Whether it has instructions for products of bfloat16; False if the system does not tell."""
    return not _BFLOAT16.isdisjoint(_told("flags").split())


def _told(key: str) -> str:
    """What the file says of the first core."""
    with contextlib.suppress(OSError):
        for line in CPUINFO.read_text(encoding="utf-8").splitlines():
            found, _, value = line.partition(":")
            if found.strip() == key:
                return value.strip()
    return ""
