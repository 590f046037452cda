"""What the measurements were made on."""

import contextlib
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

_LIBRARIES = ("tensorflow", "tf-slim", "numpy", "pillow")
MATRIX_SIDE = 4096  # of the product that stands for the machine's peak: 137 GFLOP, 3 times 67 MB


def facts() -> dict[str, Any]:
    """Processor, cores, memory, versions, and how busy the machine was before."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory GB": round(memory / 1e9, 1),
        "python": platform.python_version(),
        **{library: metadata.version(library) for library in _LIBRARIES},
        "load before": round(os.getloadavg()[0], 2),  # processes, mean of a minute; quiet: 0
    }


def _cpu() -> str:
    """The processor's name; its architecture if the system does not tell."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        for line in lines:
            if line.startswith("model name"):
                return line.split(": ")[1]
    return platform.machine()
