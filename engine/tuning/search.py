"""The search: trials side by side, each followed, pruned, ended or gone on with."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import logging
from optuna.trial import Trial, TrialState

from core import files, progress
from core.errors import ClassifierError, ExitCode, MachineError, Stopped
from engine.tuning import report, trials
from engine.tuning.study import Study

_POLL_SECONDS = 0.1
# What no other values would change: the data, the disk, a checkpoint, another process.
_ENDS_STUDY = {ExitCode.DATA, ExitCode.ENVIRONMENT, ExitCode.CHECKPOINT, ExitCode.LOCKED}
_ENOUGH_FAILURES = 3  # trials that all fail in the beginning: it is not for their values
_KINDS = {
    kind.exit_code: kind for kind in ClassifierError.__subclasses__() if "exit_code" in vars(kind)
}
_STOP = (signal.SIGINT, signal.SIGTERM)
# Exit codes of a training that was stopped, after saving or before it could.
_STOPPED = {code: number for number in _STOP for code in (128 + number, -number)}


class _Running:
    """A trial whose training goes on."""

    def __init__(self, trial: Trial, directory: Path) -> None:
        self.trial, self.directory = trial, directory
        self.training = trials.Training(directory)
        self.points = 0  # validations that were looked at
        self.told = False  # the study, of its end
        self._seconds_before = trial.user_attrs.get("seconds", 0.0)

    @property
    def seconds(self) -> float:
        """How long it has trained, over all processes."""
        return self._seconds_before + self.training.seconds


class Search:
    """Tries values until there are enough trials.

    Args:
        study: what has been tried so far.
        fixed: the flags that are the same for all trials, as texts.
        config: read here: num_trials, parallel_trials, timeout_minutes.
    """

    def __init__(self, study: Study, fixed: Mapping[str, str], config: Any) -> None:
        self._study, self._fixed, self._config = study, fixed, config
        self._running: list[_Running] = []

    def run(self) -> int | None:
        """Goes on with the trials that are unfinished, then draws new ones.

        Returns:
            The signal that ended it, if one did.

        Raises:
            ClassifierError: no trial can work; it is the error of one of them.
        """
        minutes, started = self._config.timeout_minutes, time.monotonic()
        total = max(self._config.num_trials, len(self._study.trials))
        self._tidy()
        report.write(self._study, self._fixed)
        waiting = self._study.unfinished()
        done = len(self._study.finished)
        if done == total:
            logging.info(
                "Nothing to do: %s has %d trials, --num_trials is %d.",
                self._study.directory,
                done,
                self._config.num_trials,
            )
        with (
            _stop_signals() as signals,
            progress.bar("Tuning", total, unit="trials", completed=done) as advance,
            self._stopped_in_the_end(),
        ):
            while not signals:
                self._fill(waiting, total)
                if not self._running:
                    if not waiting:
                        break
                elif minutes and time.monotonic() - started > 60 * minutes:
                    logging.info("--timeout_minutes=%g are over.", minutes)
                    break
                time.sleep(_POLL_SECONDS)
                for one in list(self._running):
                    if self._followed(one):
                        self._running.remove(one)
                        advance()
        report.write(self._study, self._fixed)
        return signals[0] if signals else None

    def check_found(self) -> None:
        """Raises the error of the last trial, if all have ended and none is complete."""
        if self._study.best is None and not self._study.unfinished():
            last = self._study.trials[-1]
            why, code = last.user_attrs["reason"], last.user_attrs["exit_code"]
            directory = trials.directory_of(self._study.directory, last.number)
            raise _error(f"no trial is complete; trial {last.number}: {why}", code, directory)

    def _fill(self, waiting: list[Trial], total: int) -> None:
        """Starts as many trials as go side by side."""
        side = self._config.parallel_trials
        while len(self._running) < side:
            if not waiting and len(self._study.trials) < total:
                waiting.append(self._study.draw())
            directories = (trials.directory_of(self._study.directory, t.number) for t in waiting)
            # One that was killed with its study may still be saving.
            ready = [not files.is_locked(directory) for directory in directories]
            if True not in ready:
                return
            trial = waiting.pop(ready.index(True))
            directory = trials.directory_of(self._study.directory, trial.number)
            trials.prepare(directory, self._fixed, trial.params, side)
            values = " ".join(f"{name}={value}" for name, value in trial.params.items())
            logging.info("Trial %d: %s", trial.number, values)
            self._running.append(_Running(trial, directory))
            report.write(self._study, self._fixed)

    def _followed(self, one: _Running) -> bool:
        """Takes in what a training has reached; whether it is over."""
        code = one.training.exit_code  # asked first: what is there by now is all
        if not one.told:
            points = trials.history(one.directory, self._study.metric)
            if len(points) > one.points:
                one.points = len(points)
                self._prune_if_hopeless(one, points)
            if code is not None and not one.told:
                self._end(one, code, points)
        if code is None:
            return False
        self._tidy()
        return True

    def _prune_if_hopeless(self, one: _Running, points: list[trials.Point]) -> None:
        at = self._study.report(one.trial, [point.value for point in points])
        if at is not None:
            self._tell(one, TrialState.PRUNED, points[:at], reason=f"pruned at validation {at}")
            one.training.stop()

    def _end(self, one: _Running, code: int, points: list[trials.Point]) -> None:
        """Ends a trial whose training has ended.

        Raises:
            ClassifierError: other trials would end like it.
            Stopped: it was stopped, and not by this process.
        """
        if code == ExitCode.OK and points:
            self._tell(one, TrialState.COMPLETE, points)
            return
        if code in _STOPPED:
            raise Stopped(
                _STOPPED[code],
                f"trial {one.trial.number} was stopped; the same command goes on with the study",
            )
        words = one.training.last_words()
        if code == ExitCode.OK:
            code, words = ExitCode.FLAGS, f"no validation has a value of {self._study.metric}"
        elif code < 0:
            words = f"{signal.Signals(-code).name} ended its process: {words}"
        error = _error(f"trial {one.trial.number}: {words}", code, one.directory)
        # Of memory other values may need less.
        if code in _ENDS_STUDY and not words.startswith("out of memory"):
            raise error
        self._tell(one, TrialState.FAIL, points, reason=words, exit_code=code)
        if len(self._study.failures()) >= min(_ENOUGH_FAILURES, self._config.num_trials):
            raise error

    def _tell(
        self, one: _Running, state: TrialState, points: list[trials.Point], **why: Any
    ) -> None:
        """Ends a trial for good, and says so."""
        study = self._study
        reached = {}
        if points:
            best = min(points, key=lambda point: study.order(point.value))
            reached = {"step": best.step, "steps": points[-1].step, "epochs": points[-1].epoch}
        study.note(one.trial, seconds=round(one.seconds, 1), **reached, **why)
        value = best.value if state == TrialState.COMPLETE else None
        study.end(one.trial, state, value)
        one.told = True
        report.write(study, self._fixed)
        logging.info(report.line(study, study.trials[one.trial.number]))

    def _tidy(self) -> None:
        """Removes the checkpoints of trials that have ended for good, but the best of the best."""
        best = self._study.best
        for trial in self._study.finished:
            directory = trials.directory_of(self._study.directory, trial.number)
            if not files.is_locked(directory):  # else one that was pruned is still saving
                trials.tidy(directory, best=best is not None and trial.number == best.number)

    @contextlib.contextmanager
    def _stopped_in_the_end(self) -> Iterator[None]:
        """Leaves no training behind: each saves what it has reached, to be gone on with."""
        try:
            yield
        finally:
            for one in self._running:
                one.training.stop()
            for one in self._running:
                one.training.wait()
            for one in self._running:
                if not one.told:
                    self._study.note(one.trial, seconds=round(one.seconds, 1))


def _error(what: str, code: int, directory: Path) -> ClassifierError:
    """The error of a training, by its exit code."""
    kind = MachineError if code < 0 else _KINDS.get(code, ClassifierError)
    return kind(what, where=str(directory / trials.LOG_FILE))


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM; the second one ends this process, and with it all trainings."""
    received: list[int] = []

    def remember(number: int, _frame: Any) -> None:
        if received:
            progress.abandon()
            os._exit(128 + number)
        received.append(number)
        logging.info("Stopping the trials, which save; a second signal stops at once.")

    before = {number: signal.signal(number, remember) for number in _STOP}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
