"""What the measurements were made on."""

import os
import platform
from importlib import metadata
from typing import Any

from core import processor

_LIBRARIES = ("tensorflow", "tf-slim", "numpy", "pillow")
MATRIX_SIDE = 4096  # of the product that stands for the machine's peak: 137 GFLOP, 3 times 67 MB


def facts() -> dict[str, Any]:
    """Processor, cores, memory, versions, and how busy the machine was before."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": processor.name() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory GB": round(memory / 1e9, 1),
        "python": platform.python_version(),
        **{library: metadata.version(library) for library in _LIBRARIES},
        "load before": round(os.getloadavg()[0], 2),  # processes, mean of a minute; quiet: 0
    }
