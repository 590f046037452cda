"""A trial: a training in a process and a run directory of its own."""

import csv
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from core import files, process
from engine.tuning import space

FLAGS_FILE, LOG_FILE = "trial.flags", "log.txt"
_ROOT = Path(__file__).resolve().parents[2]
_HISTORY = "history.csv"


class Point(NamedTuple):
    """A validation of a training."""

    step: int
    epoch: str
    value: float


def directory_of(study_dir: Path, number: int) -> Path:
    """The run directory of a trial."""
    return study_dir / f"trial_{number:04d}"


def history(directory: Path, metric: str) -> list[Point]:
    """The validations of a run so far, without those of which the metric is not defined.

    Args:
        directory: of the run.
        metric: one of --best_metric.
    """
    path = directory / _HISTORY
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    column = f"validation_{metric}"
    return [Point(int(r["step"]), r["epoch"], float(r[column])) for r in rows if r[column]]


def prepare(directory: Path, fixed: Mapping[str, str], drawn: Mapping[str, Any], side: int) -> None:
    """Makes the run directory of a trial with its flagfile, unless that is there.

    The flagfile does not name the directory, so that a study can be moved. A trial that is resumed
    keeps its flagfile: the number of threads has a part in its numbers.

    Args:
        directory: of the run.
        fixed: the flags that are the same for all trials.
        drawn: the flags that are not.
        side: trials that run side by side and share the cores.
    """
    files.make_directory(directory)
    if (directory / FLAGS_FILE).exists():
        return
    machine = {"keep_checkpoint_max": 1}
    if side > 1:
        threads = max(1, len(os.sched_getaffinity(0)) // side)
        machine |= {"intra_op_threads": threads, "inter_op_threads": threads}
    lines = space.lines({**machine, **fixed, **drawn})
    files.write_text(directory / FLAGS_FILE, "\n".join(lines) + "\n")


def tidy(directory: Path, *, best: bool) -> None:
    """Removes what a trial that has ended for good leaves: checkpoints to resume from.

    Args:
        directory: of the run.
        best: whether to keep its best checkpoint.
    """
    for path in (*directory.glob("model.ckpt-*"), directory / "checkpoint"):
        path.unlink(missing_ok=True)
    if not best:
        shutil.rmtree(directory / "best", ignore_errors=True)


class Training:
    """The process of a trial, begun at once. It is told to stop if this process ends.

    Args:
        directory: of the run, with the flagfile that `prepare` writes.
    """

    def __init__(self, directory: Path) -> None:
        self._log = directory / LOG_FILE
        self._started = time.monotonic()
        flags = (f"--flagfile={directory / FLAGS_FILE}", f"--train_dir={directory}")
        command = [sys.executable, str(_ROOT / "train_image_classifier.py"), *flags]
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us
                preexec_fn=functools.partial(process.end_with, os.getpid(), signal.SIGTERM),
            )

    @property
    def exit_code(self) -> int | None:
        """None while it goes on; negative if a signal ended it."""
        return self._process.poll()

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return time.monotonic() - self._started

    def stop(self) -> None:
        """Has it save what it has reached and end."""
        if self.exit_code is None:
            self._process.terminate()

    def wait(self) -> None:
        """Waits for its end."""
        self._process.wait()

    def last_words(self) -> str:
        """The error that it ended with, or else its last line."""
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            text = log.read().decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return (errors or lines or ["no output"])[-1]
