"""What is kept of a run while it goes on: validations, the best checkpoint, history.csv, curves."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import logging

from core import extras, files
from core.compat import slim, tf
from core.errors import MachineError
from datasets.spec import LoadedSplit
from engine import checkpoint_writer, history, run_dir, summaries
from engine.history import History
from engine.validation import Validator

BEST = "best"  # sub-directory for the best checkpoint
VALIDATION = "validation"  # sub-directory for TensorBoard's events of the validations
_SHARED = ("accuracy", "loss")


class Tracker:
    """Keeps the history of a run, validates, and keeps the best checkpoint.

    Make it when the graph is complete, and hold the directory's lock.

    Args:
        record: the history.
        learning_rate: of the training, float32 scalar.
        validation: the split to validate on, if there is one.
        directory: the run directory.
        config: read here: the flags of validation, and what `Validator` reads.

    Raises:
        MachineError: the disk has no room for the best checkpoint.
    """

    def __init__(
        self,
        record: History,
        learning_rate: tf.Tensor,
        validation: LoadedSplit | None,
        directory: Path,
        config: Any,
    ) -> None:
        self._record, self._learning_rate = record, learning_rate
        self._directory, self._config = directory, config
        self._validator = Validator(validation, config) if validation else None
        self._events = self._best = None
        if self._validator:
            best = files.make_directory(directory / BEST)
            files.sweep(best)
            # No more than what the best checkpoint is used for: not the state of the optimizer.
            kept = {v.op.name: v for v in (*slim.get_model_variables(), *self._validator.weights)}
            kept = [*kept.values(), tf.train.get_global_step()]
            self._best = checkpoint_writer.Writer(best, keep=1, variables=kept)

    @property
    def stops_early(self) -> bool:
        """Whether --early_stopping_patience is at its end."""
        return history.stops_early(self._record.state, self._config)

    @contextlib.contextmanager
    def opened(self, session: tf.Session, step: int) -> Iterator[None]:
        """Goes on from where a session is."""
        self._record.restart(session)
        if not self._validator:
            yield
        else:
            directory = files.make_directory(self._directory / VALIDATION)
            self._events = summaries.EventFile(directory)
            self._events.add(step=step, session_log=tf.SessionLog(status=tf.SessionLog.START))
            try:
                with self._validator.opened():
                    yield
            finally:
                self._events.close()

    def add(self, loss: float, accuracy: float) -> None:
        """Counts a step."""
        self._record.add(loss, accuracy)

    def end_row_if_due(
        self, session: tf.Session, step: int, stopped: list[int], is_last: bool = False
    ) -> bool:
        """Validates, if there is a split for it, and adds a row to the history, where one is due.

        Args:
            session: of the training.
            step: just taken.
            stopped: signals. One that comes during the validation gives it up, without a row: a
                run that is resumed there begins with it.
            is_last: whether there is a row in any case.

        Returns:
            Whether it was.

        Raises:
            DataError: a record of the validation split is damaged.
            DivergedError: the net's outputs are not finite there.
            MachineError: the disk is full.
        """
        due = self._record.is_due(step) or (is_last and not self._record.has_row(step))
        if stopped or not due:
            return False
        scores = None
        if self._validator:
            found = self._validator.scores(session, stopped)
            if found is None:
                return False
            scores = self._validator.metrics(found)
        state = self._record.state
        best = self._record.end_row(step, float(session.run(self._learning_rate)), scores)
        self._record.store(session)
        if scores:
            self._tell(step, scores, state.factor)
            if best:
                self._save_best(session, step)
            self._record.write()
        return True

    def _tell(self, step: int, scores: dict[str, float | None], factor: float) -> None:
        """Says what a validation found, in the log and to TensorBoard."""
        state, metric = self._record.state, self._config.best_metric
        numbers = {name: value for name, value in scores.items() if value is not None}
        logging.info(
            "validation at step %d: %s; %s",
            step,
            ", ".join(f"{name} = {value:.4f}" for name, value in numbers.items()),
            f"best {metric} at step {state.best_step:.0f}" if state.best_step else f"no {metric}",
        )
        if state.factor != factor:
            logging.info("No better %s for a while: learning rate x %g", metric, state.factor)
        if self.stops_early:
            logging.info("Stopping early: no better %s for %d validations", metric, state.waited)
        # Accuracy and loss under the tags of training, the others under those of an evaluation.
        tags = {name: name if name in _SHARED else f"eval/{name}" for name in numbers}
        tagged = {tags[name]: value for name, value in numbers.items()}
        self._events.add(step=step, summary=summaries.scalars(tagged))
        self._events.flush()

    def _save_best(self, session: tf.Session, step: int) -> None:
        described = (self._directory / run_dir.RUN_FILE).read_text(encoding="utf-8")
        files.write_text(self._directory / BEST / run_dir.RUN_FILE, described)
        self._best.save(session, step)

    def store(self, session: tf.Session) -> None:
        """Brings what a checkpoint is to hold into the session, and the history to the disk."""
        self._record.store(session)
        self._record.write()

    def draw(self) -> None:
        """Draws curves.png, if there is a history and matplotlib."""
        if not self._record.rows:
            return
        try:
            extras.need("plots", "matplotlib")
        except MachineError as error:
            logging.info("no curves.png: %s", error)
            return
        from engine import curves

        curves.write(self._directory, self._record)
