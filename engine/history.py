"""What a run remembers beside its weights: how it went, its best validation, how long ago that was.

All that decides on the rest of the run is one small variable, which is saved with the weights: a
run that is resumed from a checkpoint stops, and lowers its learning rate, where the uninterrupted
one would have. history.csv is for people and other programs, and written anew from it.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from core import csv_table
from core.compat import tf
from engine import checkpoints
from engine.flags.validation import METRICS

FILE = "history.csv"
COLUMNS = (
    *("step", "epoch", "learning_rate", "training_loss", "training_accuracy"),
    *(f"validation_{name}" for name in METRICS),
)


class State(NamedTuple):
    """What the past of a run means for its future.

    Attributes:
        row: step of the last row of the history that was due.
        steps: since that row, over which the next two are summed.
        loss: sum of the cross-entropies.
        accuracy: sum of the accuracies.
        best: best value of --best_metric so far.
        best_step: of that value; 0 if there is none.
        reference: the value that is to be improved on by more than --early_stopping_min_delta.
        reference_step: of that value; 0 if there is none.
        waited: validations since then.
        plateau_waited: validations since then, or since the learning rate was lowered.
        factor: by which plateaus have lowered the learning rate.
        metric: --best_metric, by its number among METRICS.
    """

    row: float = 0.0
    steps: float = 0.0
    loss: float = 0.0
    accuracy: float = 0.0
    best: float = 0.0
    best_step: float = 0.0
    reference: float = 0.0
    reference_step: float = 0.0
    waited: float = 0.0
    plateau_waited: float = 0.0
    factor: float = 1.0
    metric: float = 0.0


def validated(state: State, step: int, value: float | None, config: Any) -> State:
    """The state after a validation.

    Args:
        state: before it.
        step: of the validation, at least 1.
        value: of --best_metric; None, where it is not defined, is no improvement.
        config: read here: best_metric, early_stopping_min_delta, learning_rate_decay_type,
            plateau_patience, plateau_factor, head_only_steps: while the head alone is trained,
            nothing is waited for.
    """
    improved = value is not None and (
        not state.reference_step
        or _gain(value, state.reference, config) > config.early_stopping_min_delta
    )
    if improved:
        return state._replace(
            reference=value, reference_step=float(step), waited=0.0, plateau_waited=0.0
        )
    if step <= config.head_only_steps:
        return state
    state = state._replace(waited=state.waited + 1, plateau_waited=state.plateau_waited + 1)
    plateau = config.learning_rate_decay_type == "plateau"
    if plateau and state.plateau_waited >= config.plateau_patience:
        state = state._replace(plateau_waited=0.0, factor=state.factor * config.plateau_factor)
    return state


def measured(state: State, config: Any) -> State:
    """A state as --best_metric counts; values of another metric are no measure, and forgotten."""
    metric = float(METRICS.index(config.best_metric))
    if state.metric == metric:
        return state
    kept = ("row", "steps", "loss", "accuracy", "factor")
    return State(**{name: getattr(state, name) for name in kept}, metric=metric)


def _gain(value: float, than: float, config: Any) -> float:
    """By how much a value of --best_metric is better than another."""
    return than - value if config.best_metric == "loss" else value - than


def stops_early(state: State, config: Any) -> bool:
    """Whether --early_stopping_patience is at its end."""
    return bool(config.early_stopping_patience) and state.waited >= config.early_stopping_patience


def stopped_early(checkpoint: str, config: Any) -> bool:
    """The same of a checkpoint of a run; CheckpointError if it is damaged."""
    values = checkpoints.value(checkpoint, checkpoints.HISTORY)
    return values is not None and stops_early(measured(State(*values.tolist()), config), config)


def is_complete(directory: Path, checkpoint: str) -> bool:
    """Whether a run has had the row of a checkpoint's step; also of one that keeps no history.

    Args:
        directory: the run directory.
        checkpoint: of the run.

    Raises:
        CheckpointError: it is damaged.
    """
    values = checkpoints.value(checkpoint, checkpoints.HISTORY)
    step = checkpoints.step_of(checkpoint)
    if values is None or State(*values.tolist()).row == step:
        return True
    return any(int(row[0]) == step for row in read(directory / FILE))


class History:
    """The history of one run, to be made before the graph is complete.

    Args:
        directory: the run directory.
        epoch_size: pictures per epoch.
        config: read here: the flags of validation, batch_size.

    Attributes:
        factor: by which plateaus have lowered the learning rate, float32 scalar.
        state: what was reached.
        rows: of history.csv.
    """

    def __init__(self, directory: Path, epoch_size: int, config: Any) -> None:
        self._path, self._epoch_size, self._config = directory / FILE, epoch_size, config
        self._variable = tf.get_variable(
            checkpoints.HISTORY, initializer=np.array(State(), np.float64), trainable=False
        )
        self.factor = tf.cast(self._variable[State._fields.index("factor")], tf.float32)
        self.state = measured(State(), config)
        self.rows: list[list[str]] = []

    def restart(self, session: tf.Session) -> None:
        """Goes on from what the session's variable says; rows beyond that are lost."""
        self.state = measured(State(*session.run(self._variable).tolist()), self._config)
        self.rows = [row for row in read(self._path) if int(row[0]) <= self.state.row]

    def store(self, session: tf.Session) -> None:
        """Brings the session's variable to the state, for the next checkpoint and the next step."""
        # An initializer assigns its second input.
        assign = self._variable.initializer
        session.run(assign, {assign.inputs[1]: np.array(self.state, np.float64)})

    def add(self, loss: float, accuracy: float) -> None:
        """Counts a step."""
        state = self.state
        self.state = state._replace(
            steps=state.steps + 1,
            loss=state.loss + float(loss),
            accuracy=state.accuracy + float(accuracy),
        )

    def has_row(self, step: int) -> bool:
        """Whether a step, the last one that was taken, has its row already."""
        return step == self.state.row

    def is_due(self, step: int) -> bool:
        """Whether a step ends with a row, and has none yet."""
        if self.has_row(step):
            return False
        if self._config.validate_every_n_steps:
            return step % self._config.validate_every_n_steps == 0
        pictures = self._epoch_size * (self._config.validate_every_n_epochs or 1)
        ends, before = ((s * self._config.batch_size) // pictures for s in (step, step - 1))
        return step > 0 and ends > before

    def end_row(
        self, step: int, learning_rate: float, scores: Mapping[str, float | None] | None
    ) -> bool:
        """Adds the row of a step; returns whether its validation is the best so far.

        A row that is not due, that of the last step, is none of the run if that goes on.

        Args:
            step: of the row.
            learning_rate: there.
            scores: metrics of the validation by name, None where one is not defined; no scores if
                there was no validation.
        """
        state, due = self.state, self.is_due(step)
        epoch = step * self._config.batch_size / self._epoch_size
        sums = (state.loss, state.accuracy)
        # None were counted by a run that had no history, if its next one begins with a row.
        means = [sum_ / state.steps if state.steps else None for sum_ in sums]
        numbers = [epoch, learning_rate, *means]
        numbers += [(scores or {}).get(name) for name in METRICS]
        # Digits enough to give the same number when they are read.
        self.rows.append([str(step), *("" if n is None else repr(float(n)) for n in numbers)])
        value = (scores or {}).get(self._config.best_metric)
        best = value is not None and (
            not state.best_step or _gain(value, state.best, self._config) > 0
        )
        if best:
            state = state._replace(best=value, best_step=float(step))
        if due:
            state = state._replace(row=float(step), steps=0.0, loss=0.0, accuracy=0.0)
            state = validated(state, step, value, self._config) if scores else state
        self.state = state
        return best

    def write(self) -> None:
        """Writes history.csv, if it has rows."""
        if self.rows:
            csv_table.write(self._path, COLUMNS, self.rows)


def read(path: Path) -> list[list[str]]:
    """The rows of a history.csv without its header; none, and a warning, if it is not one."""
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        if tuple(header) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
            raise ValueError("other columns")
        for row in rows:
            int(row[0])
    except (ValueError, csv.Error) as error:
        logging.warning("%s is not a history (%s): it begins anew", path, error)
        return []
    return rows
