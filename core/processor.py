"""What Linux tells of the processor."""

import contextlib
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# What multiplies bfloat16 in hardware, as /proc/cpuinfo names it.
_BFLOAT16 = {"avx512_bf16", "amx_bf16"}


def name() -> str:
    """The processor's name, empty if the system does not tell."""
    return _told("model name")


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
