"""Contestants as processes, and measuring them in turn.

Each has threads and memory of its own and waits while the others have their turn, so that whatever
else the machine does meets all of them alike.
"""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from absl import logging

from core.errors import MachineError

ROOT = Path(__file__).resolve().parents[1]
# Of the contestants: all compute on the processor, and say nothing while they do.
_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


class NotInstalledError(MachineError):
    """A contestant needs a library that its interpreter does not have."""


@contextlib.contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen]:
    """Runs a command from the checkout, and kills it with its children when the block ends."""
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)


def last_line(log: IO[bytes]) -> str:
    """What a process said last."""
    log.seek(0)
    return (log.read().decode(errors="replace").strip() or "no output").splitlines()[-1].strip()


class Usage(NamedTuple):
    """What a command took."""

    seconds: float
    cpu_seconds: float  # its children's included
    peak_mb: float  # resident, 10^6 bytes


def measured(command: list[str]) -> Usage:
    """Runs a script of ours.

    Raises:
        MachineError: it did not end with 0.
    """
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        options = {"stdout": subprocess.DEVNULL, "stderr": log}
        with running([sys.executable, *command], **options) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        if process.returncode:
            what = f"{command[0]} ended with {process.returncode}: {last_line(log)}"
            raise MachineError(what)
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6)


class Worker:
    """A contestant that waits to be asked; see `started`."""

    def __init__(self, module: str, process: subprocess.Popen, log: IO[bytes]) -> None:
        self._module, self._process, self._log = module, process, log
        self.peak_rss = 0  # bytes, so far
        self.facts: Mapping[str, Any] = self._answer()["facts"]

    def seconds(self, task: str, count: int) -> float:
        """How long a number of steps takes.

        Raises:
            MachineError: the contestant died.
        """
        line = json.dumps([task, count]) + "\n"
        with contextlib.suppress(BrokenPipeError):  # it has died: of what, is told instead
            # Not through a buffer, which would try again when it is closed.
            os.write(self._process.stdin.fileno(), line.encode())
        answer = self._answer()
        self.peak_rss = answer["peak_rss"]
        return answer["seconds"]

    def _answer(self) -> Mapping[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise MachineError(f"{self._module} ended with {code}: {last_line(self._log)}")
        answer = json.loads(line)
        if "missing" in answer:
            raise NotInstalledError(f"{answer['missing']} is not installed")
        if "failure" in answer:
            raise MachineError(f"{self._module}: {answer['failure']}")
        return answer


@contextlib.contextmanager
def started(module: str, spec: Mapping[str, Any], python: str = sys.executable) -> Iterator[Worker]:
    """A contestant, until the block ends.

    Args:
        module: its module, which serves by `benchmarks.contestants.serving`.
        spec: what it is to be, as JSON.
        python: the interpreter to run it with.

    Raises:
        NotInstalledError: the interpreter lacks a library.
        MachineError: it died.
    """
    command = [python, "-m", module, json.dumps(spec)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        tempfile.TemporaryFile() as log,
        running(command, stderr=log, env={**os.environ, **_ENVIRONMENT}, **pipes) as process,
    ):
        yield Worker(module, process, log)


class Turn(NamedTuple):
    """What a contestant does when it is its turn."""

    worker: Worker
    task: str
    count: int  # steps
    may_fail: bool = False


def in_turn(turns: Mapping[str, Turn], rounds: int) -> tuple[dict[str, list[float]], list[str]]:
    """Measures all, one after the other, again and again. A round of one step each warms them up.

    Returns:
        The seconds of each, by round; nothing for one that died and may. And a line for each of
        those.

    Raises:
        MachineError: one that may not fail has died.
    """
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    failures: dict[str, str] = {}
    for number in range(rounds + 1):
        if number:
            logging.info("round %d of %d", number, rounds)
        for name, turn in turns.items():
            if name in failures:
                continue
            try:
                took = turn.worker.seconds(turn.task, turn.count if number else 1)
            except MachineError as error:
                if not turn.may_fail:
                    raise
                failures[name] = f"{name}: {error}"
                seconds[name].clear()
                continue
            if number:
                seconds[name].append(took)
    return seconds, list(failures.values())


class Ratio(NamedTuple):
    """How two contestants compare, round by round."""

    median: float
    lowest: float
    highest: float


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio | None:
    """The quotients of what was measured in the same rounds; None if nothing was."""
    quotients = [a / b for a, b in zip(above, below, strict=False)]
    if not quotients:
        return None
    return Ratio(statistics.median(quotients), min(quotients), max(quotients))
