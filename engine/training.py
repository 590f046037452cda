"""The training loop: steps, log lines, summaries, checkpoints, and a stop that loses nothing."""

import contextlib
import dataclasses
import functools
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from absl import logging

from core import files, progress
from core.compat import tf
from core.errors import FlagError, Stopped
from datasets.spec import LoadedSplit
from engine import (
    checkpoint_writer,
    checkpoints,
    hparams,
    input_pipeline,
    mixed_precision,
    run_dir,
    summaries,
)
from engine.model import Classifier
from engine.optimization import TrainOps

GRAPH_FILE = "graph.pbtxt"


@dataclasses.dataclass(frozen=True)
class Machine:
    """The flags of `define_machine`, for what has no others to pass to a session."""

    inter_op_threads: int = 0
    intra_op_threads: int = 0
    master: str = ""


ALL_CORES = Machine()


def session_config(config: Any) -> tf.ConfigProto:
    """How TensorFlow uses the machine.

    Args:
        config: read here: inter_op_threads, intra_op_threads, and, of training, clone_on_cpu and
            mixed_precision.
    """
    proto = tf.ConfigProto(
        inter_op_parallelism_threads=config.inter_op_threads,
        intra_op_parallelism_threads=config.intra_op_threads,
        # An operation without a GPU kernel runs on the CPU instead of ending the run.
        allow_soft_placement=True,
        device_count={"GPU": 0} if getattr(config, "clone_on_cpu", False) else {},
    )
    proto.gpu_options.allow_growth = True
    if hasattr(config, "mixed_precision"):  # evaluation is float32
        mixed_precision.apply(proto, config)
    return proto


@contextlib.contextmanager
def session(config: Any) -> Iterator[tf.Session]:
    """A session on --master.

    Args:
        config: read here: master, and what `session_config` reads.

    Raises:
        FlagError: no server answers to --master.
    """
    try:
        opened = tf.Session(config.master, config=session_config(config))
    except tf.errors.OpError as error:
        raise FlagError(
            f"--master={config.master}: {error.message.splitlines()[0]}",
            remedy="pass grpc://HOST:PORT, or leave it out",
        ) from None
    with opened:
        yield opened


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
        self._restart(step)

    def _restart(self, step: int) -> None:
        self._step, self._time = step, time.monotonic()

    def line(self, step: int, loss: float) -> None:
        """Logs a step. The speed is the mean since the last line."""
        seconds = (time.monotonic() - self._time) / (step - self._step)
        rate = self._batch_size / seconds
        logging.info(
            "global step %d: loss = %.4f (%.3f sec/step) %.1f images/sec", step, loss, seconds, rate
        )
        self._restart(step)


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
        self._step, self._time = step, time.monotonic()

    def write(self, step: int, summary: bytes) -> None:
        """Writes a step's summaries and the speed since the last ones."""
        logging.info("Recording summary at step %d.", step)
        now = time.monotonic()
        rate = (step - self._step) / (now - self._time)
        speed = {"global_step/sec": rate, "images/sec": rate * self._batch_size}
        self._file.add(step=step, summary=tf.Summary.FromString(summary))
        self._file.add(step=step, summary=summaries.scalars(speed))
        self._step, self._time = step, now
        self._file.flush()

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
    dataset: LoadedSplit,
    directory: Path,
    config: Any,
) -> None:
    """Trains until --max_number_of_steps or a signal, and saves what was reached.

    Args:
        classifier: what is trained.
        train_ops: what takes the steps.
        summary_op: all summaries of a step.
        dataset: what is trained on, to name a damaged record.
        directory: the run directory, held.
        config: read here: the flags of the run and of the machine, batch_size.

    Raises:
        Stopped: a signal came; the step just finished is saved.
        DivergedError: the loss or a variable is not finite; the checkpoint before stays newest.
        DataError: a record is damaged.
        CheckpointError, FlagError: as `checkpoints.starting_point`.
    """
    start = checkpoints.starting_point(directory, config)
    writer = checkpoint_writer.Writer(directory, config.keep_checkpoint_max)
    files.write_text(directory / GRAPH_FILE, str(tf.get_default_graph().as_graph_def()))
    logging.info("Starting Session.")
    with session(config) as opened, _stop_signals() as signals:
        start(opened)
        opened.run(classifier.batch.start)
        step = int(opened.run(tf.train.get_global_step()))
        writer.save(opened, step)
        with (
            _Events(directory, step, config.batch_size) as events,
            input_pipeline.damage_named(dataset, config.labels_offset),
        ):
            step = _steps(opened, step, train_ops, summary_op, writer, events, signals, config)
        writer.save(opened, step)
        if signals:
            raise Stopped(signals[0], f"stopped at step {step}, which is saved")
    logging.info("Finished training! Saving model to disk.")


def _steps(
    session: tf.Session,
    step: int,
    train_ops: TrainOps,
    summary_op: tf.Tensor,
    writer: checkpoint_writer.Writer,
    events: _Events,
    signals: list[int],
    config: Any,
) -> int:
    """Takes steps until the end or a signal; returns the step that was reached."""

    @functools.cache
    def fetching(*tensors: tf.Tensor) -> Callable[[], list[Any]]:
        return session.make_callable(list(tensors))

    saving = _Schedule(config.save_interval_steps, config.save_interval_secs)
    summarizing = _Schedule(config.save_summaries_steps, config.save_summaries_secs)
    last = config.max_number_of_steps
    first, log = step + 1, _Log(step, config.batch_size)
    with progress.bar("Training", last, unit="steps", completed=step) as done:
        while not signals and (last is None or step < last):
            step += 1
            if step in (first, last) or summarizing.due(step):
                with _divergence_named(session, step, writer):
                    loss, summary = fetching(train_ops.at(step), summary_op)()
            else:
                (loss,), summary = fetching(train_ops.at(step))(), None
            if not math.isfinite(loss):
                raise writer.diverged(session, f"the loss is {loss} at step {step}")
            if summary is not None:
                events.write(step, summary)
            done()
            if step % config.log_every_n_steps == 0:
                log.line(step, loss)
            if saving.due(step):
                writer.save(session, step)
    return step


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
