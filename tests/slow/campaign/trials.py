"""Trials: one process each, with a directory and random numbers of its own."""

import collections
import contextlib
import fcntl
import multiprocessing
import multiprocessing.connection
import os
import random
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
KINDS = ("lost", "exit code", "traceback", "hang", "not identical", "left-overs", "broken")

fork = multiprocessing.get_context("fork")


class Failed(Exception):  # noqa: N818
    """Ends a trial as failed.

    Args:
        kind: one of KINDS; "broken" is a fault of the campaign itself.
        what: what was seen.
    """

    def __init__(self, kind: str, what: str) -> None:
        self.kind, self.what = kind, what
        super().__init__(kind, what)


class EndOfRow(Exception):  # noqa: N818
    """A row that goes through all moments of something has come to its end."""


class Row(NamedTuple):
    """One row of the table."""

    name: str
    run: Callable[["Trial"], None]
    count: int | None = None  # of trials at scale 1; None: until a trial raises EndOfRow
    seconds: float = 900.0  # after which a trial is killed


class Trial:
    """What one trial is given, and what it finds.

    Args:
        row: name of its row.
        number: its number in the row.
        seed: of the campaign; with the row and the number it decides all that is random.
        scratch: the campaign's directory.
    """

    def __init__(self, row: str, number: int, seed: int, scratch: Path) -> None:
        self.row, self.number = row, number
        self.random = random.Random(f"{seed}/{row}/{number}")
        self.directory = Path(tempfile.mkdtemp(prefix=f"{row}-{number}-", dir=scratch))
        self.cold = number % 10 == 9  # runs its scripts as new processes, not as forks
        self.checked: collections.Counter[str] = collections.Counter()
        self.slowest = 0.0  # seconds; of what, is up to the row
        self.failures: list[tuple[str, str]] = []
        self._shared = scratch / "shared"

    def expect(self, right: bool, kind: str, what: str) -> bool:
        """Notes a failure, after which the trial goes on, unless what is expected holds."""
        if not right:
            self.failures.append((kind, what))
        return right

    def once(self, name: str, make: Callable[[Path], None]) -> Path:
        """A directory that the first trial that needs it fills; the others wait for it."""
        self._shared.mkdir(exist_ok=True)
        directory = self._shared / name
        with (self._shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not directory.exists():
                unfinished = self._shared / f"{name}.unfinished"
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                make(unfinished)
                unfinished.rename(directory)
        return directory


class Outcome(NamedTuple):
    """What a trial came to."""

    row: Row
    number: int
    directory: Path
    seconds: float
    checked: collections.Counter
    slowest: float
    failures: list[tuple[str, str]]
    ended: bool  # the row has no more trials


class _Running:
    """A trial in its own process."""

    def __init__(self, row: Row, trial: Trial) -> None:
        self.row, self.trial = row, trial
        self.started = time.monotonic()
        self._answer, theirs = fork.Pipe(duplex=False)
        self.process = fork.Process(target=_run, args=(row, trial, theirs))
        self.process.start()
        theirs.close()

    def is_late(self) -> bool:
        return time.monotonic() - self.started > self.row.seconds

    def end(self) -> Outcome:
        """The outcome; a trial that still runs is killed, and so is what it has left running."""
        late = self.process.is_alive() and self.is_late()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()
        seconds = time.monotonic() - self.started
        trial = self.trial
        try:
            found = self._answer.recv()
        except EOFError:
            what = f"the trial took more than {self.row.seconds:.0f} s"
            died = f"the trial's process ended with {self.process.exitcode}"
            failure = ("hang", what) if late else ("broken", died)
            found = (trial.checked, 0.0, [failure], False)
        return Outcome(self.row, trial.number, trial.directory, seconds, *found)


def _run(row: Row, trial: Trial, answer: multiprocessing.connection.Connection) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ended = False
    log = os.open(trial.directory / "trial.log", os.O_WRONLY | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        row.run(trial)
    except Failed as failed:
        trial.failures.append((failed.kind, failed.what))
    except EndOfRow:
        ended = True
    except Exception as error:
        traceback.print_exc()
        trial.failures.append(("broken", f"{type(error).__name__}: {error}"))
    answer.send((trial.checked, trial.slowest, trial.failures, ended))


def run(
    jobs: Iterable[tuple[Row, int]], seed: int, scratch: Path, workers: int, until: float
) -> Iterator[Outcome]:
    """Runs trials side by side, each in a fork of this process.

    Args:
        jobs: rows and trial numbers, in order; asked for one at a time, as workers come free.
        seed: of the campaign.
        scratch: where the directories of the trials are made.
        workers: how many trials run at a time.
        until: `time.monotonic()` after which none is begun.

    Yields:
        The outcomes, as trials end.
    """
    running: list[_Running] = []
    jobs = iter(jobs)
    try:
        while True:
            while len(running) < workers and time.monotonic() < until:
                job = next(jobs, None)
                if job is None:
                    break
                row, number = job
                running.append(_Running(row, Trial(row.name, number, seed, scratch)))
            if not running:
                return
            sentinels = [one.process.sentinel for one in running]
            ready = multiprocessing.connection.wait(sentinels, timeout=1)
            for one in [r for r in running if r.process.sentinel in ready or r.is_late()]:
                running.remove(one)
                yield one.end()
    finally:
        for one in running:
            one.end()
