"""The training loop: steps, log lines, summaries, checkpoints, and a stop that loses nothing."""

import contextlib
import functools
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import logging

from core import files, progress
from core.compat import tf
from core.errors import Stopped
from datasets.spec import LoadedSplit
from engine import (
    checkpoint_writer,
    hparams,
    input_pipeline,
    run_dir,
    sessions,
    starting,
    summaries,
)
from engine.model import Classifier
from engine.optimization import TrainOps
from engine.tracking import Tracker

GRAPH_FILE = "graph.pbtxt"


class _Schedule:
    """Says when something that happens every so often is due."""

    def __init__(self, every_steps: int | None, every_secs: float) -> None:
        self._every_steps, self._every_secs = every_steps, every_secs
        self._last = time.monotonic()

    def due(self, step: int) -> bool:
        if self._every_steps:
            return step % self._every_steps == 0
        if time.monotonic() - self._last < self._every_secs:
            return False
        self._last = time.monotonic()
        return True


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them; the second one stops at once.

    Python runs a signal's handler only when TensorFlow returns from a step. So that the second
    signal need not wait for that, a thread reads the signals' numbers from a pipe.
    """
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)

    def remember(number: int, _frame: Any) -> None:
        if not received:
            logging.info("Stopping after this step; a second signal stops at once.")
        received.append(number)

    def exit_at_the_second() -> None:
        stops = 0
        while number := os.read(reader, 1):
            stops += number[0] in numbers
            if stops == 2:
                progress.abandon()
                os._exit(128 + number[0])

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = {number: signal.signal(number, remember) for number in numbers}
    pipe_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread = threading.Thread(target=exit_at_the_second, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(pipe_before)
        os.close(writer)
        thread.join()
        os.close(reader)


class _Log:
    """The log line of every so many steps, and the speed since the last one."""

    def __init__(self, step: int, batch_size: int) -> None:
        self._batch_size = batch_size
        self.restart(step)

    def restart(self, step: int) -> None:
        """Measures from now on: something else than steps took its time."""
        self._step, self._time = step, time.monotonic()

    def line(self, step: int, loss: float) -> None:
        """Logs a step. The speed is the mean since the last line."""
        seconds = (time.monotonic() - self._time) / (step - self._step)
        rate = self._batch_size / seconds
        logging.info(
            "global step %d: loss = %.4f (%.3f sec/step) %.1f images/sec", step, loss, seconds, rate
        )
        self.restart(step)


class _Events:
    """The event file of a run, to be used in a `with`."""

    def __init__(self, directory: Path, step: int, batch_size: int) -> None:
        self._file = summaries.EventFile(directory, tf.get_default_graph())
        # Tells TensorBoard to drop what a run that ended without saving wrote beyond this step.
        self._file.add(step=step, session_log=tf.SessionLog(status=tf.SessionLog.START))
        hparams.remove_end(directory)
        settings = run_dir.recorded(directory).get("settings", {})
        self._file.add(step=step + 1, summary=hparams.session_start(settings))
        self._directory, self._first_step = directory, step + 1
        self._batch_size = batch_size
        self.restart(step)

    def restart(self, step: int) -> None:
        """Measures the speed from now on: something else than steps took its time."""
        self._step, self._time = step, time.monotonic()

    def write(self, step: int, summary: bytes) -> None:
        """Writes a step's summaries and the speed since the last ones."""
        logging.info("Recording summary at step %d.", step)
        rate = (step - self._step) / (time.monotonic() - self._time)
        speed = {"global_step/sec": rate, "images/sec": rate * self._batch_size}
        self._file.add(step=step, summary=tf.Summary.FromString(summary))
        self._file.add(step=step, summary=summaries.scalars(speed))
        self._file.flush()
        self.restart(step)

    def __enter__(self) -> "_Events":
        return self

    def __exit__(self, error: type | None, *_: Any) -> None:
        self._file.close()
        if not self._file.lost:
            hparams.write_end(self._directory, self._first_step, succeeded=error is None)


def run(
    classifier: Classifier,
    train_ops: TrainOps,
    summary_op: tf.Tensor,
    tracker: Tracker,
    dataset: LoadedSplit,
    directory: Path,
    config: Any,
) -> None:
    """Trains until --max_number_of_steps, an early stop or a signal, and saves what was reached.

    Args:
        classifier: what is trained.
        train_ops: what takes the steps.
        summary_op: all summaries of a step.
        tracker: keeps the history, validates.
        dataset: what is trained on, to name a damaged record.
        directory: the run directory, held.
        config: read here: the flags of the run and of the machine, batch_size.

    Raises:
        Stopped: a signal came; the step just finished is saved.
        DivergedError: the loss or a variable is not finite; the checkpoint before stays newest.
        DataError: a record is damaged.
        CheckpointError, FlagError: as `starting.starting_point`.
    """
    start = starting.starting_point(directory, config)
    writer = checkpoint_writer.Writer(directory, config.keep_checkpoint_max)
    files.write_text(directory / GRAPH_FILE, str(tf.get_default_graph().as_graph_def()))
    logging.info("Starting Session.")
    with sessions.session(config) as opened, _stop_signals() as signals:
        start(opened)
        opened.run(classifier.batch.start)
        step = int(opened.run(tf.train.get_global_step()))
        writer.save(opened, step)
        with (
            _Events(directory, step, config.batch_size) as events,
            tracker.opened(opened, step),
            input_pipeline.damage_named(dataset, config.labels_offset),
        ):
            loop = _Loop(opened, classifier, train_ops, summary_op, tracker, writer, events, config)
            step = loop.run(step, signals)
        if signals:
            tracker.draw()
            raise Stopped(signals[0], f"stopped at step {step}, which is saved")
    logging.info("Finished training! Saving model to disk.")


class _Loop:
    """The steps of a run, and what comes between them."""

    def __init__(
        self,
        session: tf.Session,
        classifier: Classifier,
        train_ops: TrainOps,
        summary_op: tf.Tensor,
        tracker: Tracker,
        writer: checkpoint_writer.Writer,
        events: _Events,
        config: Any,
    ) -> None:
        self._session, self._config = session, config
        self._train_ops, self._summary_op = train_ops, summary_op
        self._told = (classifier.cross_entropy, classifier.accuracy)
        self._tracker, self._writer, self._events = tracker, writer, events
        self._fetching = functools.cache(lambda *tensors: session.make_callable(list(tensors)))

    def run(self, step: int, signals: list[int]) -> int:
        """Takes steps until the end or a signal, and saves; returns the step that was reached."""
        config, last = self._config, self._config.max_number_of_steps
        saving = _Schedule(config.save_interval_steps, config.save_interval_secs)
        summarizing = _Schedule(config.save_summaries_steps, config.save_summaries_secs)
        first, log = step + 1, _Log(step, config.batch_size)
        # A signal had put it off.
        self._tracker.end_row_if_due(self._session, step, signals, self._is_last(step))
        with progress.bar("Training", last, unit="steps", completed=step) as done:
            while not self._is_over(step, signals):
                step += 1
                loss = self._take(step, step in (first, last) or summarizing.due(step))
                done()
                if step % config.log_every_n_steps == 0:
                    log.line(step, loss)
                if self._tracker.end_row_if_due(self._session, step, signals, self._is_last(step)):
                    log.restart(step)
                    self._events.restart(step)
                if saving.due(step) and not self._is_over(step, signals):
                    self._save(step)
        try:
            if not signals:  # they are in a hurry
                self._tracker.draw()
        finally:
            self._save(step)  # last: with this checkpoint the run is complete
        return step

    def _is_last(self, step: int) -> bool:
        last = self._config.max_number_of_steps
        return last is not None and step >= last

    def _is_over(self, step: int, signals: list[int]) -> bool:
        return bool(signals) or self._tracker.stops_early or self._is_last(step)

    def _take(self, step: int, summarize: bool) -> float:
        """Takes a step; returns the total loss before it."""
        fetched = (self._train_ops.at(step), *self._told)
        if summarize:
            with _divergence_named(self._session, step, self._writer):
                *values, summary = self._fetching(*fetched, self._summary_op)()
        else:
            values = self._fetching(*fetched)()
        loss, *told = values
        if not math.isfinite(loss):
            raise self._writer.diverged(self._session, f"the loss is {loss} at step {step}")
        if summarize:
            self._events.write(step, summary)
        self._tracker.add(*told)
        return loss

    def _save(self, step: int) -> None:
        self._tracker.store(self._session)
        self._writer.save(self._session, step)


@contextlib.contextmanager
def _divergence_named(
    session: tf.Session, step: int, writer: checkpoint_writer.Writer
) -> Iterator[None]:
    """A histogram of values that are not finite fails before the loss can be looked at."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        if "histogram for" not in str(error).lower():
            raise
        raise writer.diverged(session, f"a layer is not finite at step {step}") from None
