"""Measures models as they answer: latency, speed, start and memory, each in fresh processes.

The models have their turns one after the other, again and again, so that whatever else the machine
does meets all of them alike. This process needs no TensorFlow.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from core import progress
from core.errors import (
    CheckpointError,
    ClassifierError,
    DataError,
    DivergedError,
    FlagError,
    LockedError,
    MachineError,
)

# Of the throughput; on processors the speed grows little beyond.
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)

_ROOT = Path(__file__).resolve().parents[2]
_KINDS = {
    kind.exit_code: kind
    for kind in (FlagError, DataError, MachineError, CheckpointError, LockedError, DivergedError)
}


class Spread(NamedTuple):
    """What several processes gave."""

    median: float  # of an even number of them, the lower of the two in the middle
    lowest: float
    highest: float


def measure(
    models: Mapping[str, str], pictures: Path, repeats: int, seconds: float
) -> dict[str, dict[str, Spread]]:
    """Measures each model in several processes.

    Args:
        models: what each one is called, and the path of a run directory, checkpoint or export.
        pictures: an image file, or a folder of nothing else.
        repeats: processes per model.
        seconds: how long a process measures the latency, and the speed at each batch size.

    Returns:
        By model: latency_ms and latency_p99_ms (median and 99th percentile of the latencies of a
        process), images_per_second (at the best batch size), best_batch, cold_start_s, peak_mb and
        resident_mb (10^6 bytes), cpu_percent (100 is one core); all as `probe` describes them.

    Raises:
        ClassifierError: a model cannot be measured; it is named, the kind is that of its error.
        MachineError: a process was killed.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in models}
    total = repeats * len(models)
    with progress.bar("Measuring", total, unit="processes") as advance:
        for _ in range(repeats):
            for name, path in models.items():
                found[name].append(_figures(_probed(name, path, pictures, seconds)))
                advance()
    return {
        name: {key: _spread([each[key] for each in processes]) for key in processes[0]}
        for name, processes in found.items()
    }


def _figures(answer: Mapping[str, Any]) -> dict[str, float]:
    """What is reported of a process, of all that it told."""
    percentiles = statistics.quantiles(answer["latencies_ms"], n=100, method="inclusive")
    same = ("best_batch", "cold_start_s", "peak_mb", "resident_mb", "cpu_percent")
    return {
        "latency_ms": statistics.median(answer["latencies_ms"]),
        "latency_p99_ms": percentiles[98],
        "images_per_second": max(answer["images_per_second"].values()),
        **{key: answer[key] for key in same},
    }


def _spread(values: Sequence[float]) -> Spread:
    # Between two batch sizes there is none.
    return Spread(statistics.median_low(values), min(values), max(values))


def _probed(name: str, path: str, pictures: Path, seconds: float) -> dict[str, Any]:
    """What a fresh process tells of a model."""
    spec = {
        "model": os.path.abspath(path),
        "pictures": os.path.abspath(pictures),
        "seconds": seconds,
        "batch_sizes": BATCH_SIZES,
        "parent": os.getpid(),
    }
    command = [sys.executable, "-m", "inference.comparison.probe", json.dumps(spec)]
    with tempfile.TemporaryFile() as log:
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": log}
        # In a session of its own: Ctrl-C is for us.
        with subprocess.Popen(command, cwd=_ROOT, start_new_session=True, **options) as process:
            try:
                line, _ = process.communicate()
            finally:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode < 0:
            ended = signal.Signals(-process.returncode).name
            raise MachineError(
                f"{name}: {ended} ended the process that measured it",
                where=path,
                remedy="see whether the machine has memory enough",
            )
        if not line:
            log.seek(0)
            said = log.read().decode(errors="replace").strip() or "no output"
            raise ClassifierError(f"{name}: {said.splitlines()[-1].strip()}", where=path)
    answer = json.loads(line)
    if "error" in answer:
        error = answer["error"]
        where = error["where"] or str(pictures)
        raise _KINDS[error["exit_code"]](
            f"{name}: {error['what']}", where=where, remedy=error["remedy"]
        )
    return answer
