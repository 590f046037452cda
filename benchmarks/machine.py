"""What the measurements were made on."""

import os
from importlib import metadata
from typing import Any

from core import processor

_LIBRARIES = ("tensorflow", "tf-slim", "numpy", "pillow")
MATRIX_SIDE = 4096  # of the product that stands for the machine's peak: 137 GFLOP, 3 times 67 MB


def facts() -> dict[str, Any]:
    """Processor, cores, memory, versions, and how busy the machine was before."""
    return {
        **processor.machine(),
        **{library: metadata.version(library) for library in _LIBRARIES},
        "load before": round(os.getloadavg()[0], 2),  # processes, mean of a minute; quiet: 0
    }
