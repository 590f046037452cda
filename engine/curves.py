"""The curves of a run: what its history.csv says, as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from engine import history
from engine.report import plots

FILE = "curves.png"
MARKED = 30  # points of a curve that are marked; more would hide it


def draw(rows: Sequence[Sequence[str]], best_step: int | None) -> Figure:
    """Loss, accuracy and learning rate over the epochs; of training and, if there is, validation.

    Args:
        rows: of history.csv, at least one.
        best_step: of the best validation, which is marked; None marks none.
    """
    columns = {
        name: np.array([float(cell) if cell else np.nan for cell in cells])
        for name, cells in zip(history.COLUMNS, zip(*rows, strict=True), strict=True)
    }
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    loss, accuracy, rate = figure.subplots(1, 3)
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        for number, part in enumerate(("training", "validation")):
            _draw(axes, columns["epoch"], columns[f"{part}_{name}"], part, plots.COLOURS[number])
        axes.set_ylabel(name)
        if best_step is not None:
            for epoch in columns["epoch"][columns["step"] == best_step]:
                axes.axvline(epoch, color="#717581", lw=1, ls=":", label="best validation")
        axes.legend(frameon=False)
    loss.set_ylim(bottom=0)
    _draw(rate, columns["epoch"], columns["learning_rate"], "learning rate", plots.COLOURS[3])
    rate.set_ylabel("learning rate")
    rate.set_ylim(bottom=0)
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=columns["epoch"][-1] >= 3))
    return figure


def _draw(axes: Axes, epochs: np.ndarray, values: np.ndarray, name: str, colour: str) -> None:
    there = ~np.isnan(values)
    if there.any():
        marker = "o" if there.sum() <= MARKED else None
        axes.plot(epochs[there], values[there], color=colour, label=name, marker=marker, ms=3)


def write(directory: Path, record: history.History) -> None:
    """Draws a history into the run directory."""
    state = record.state
    best_step = int(state.best_step) or None
    plots.write(draw(record.rows, best_step), directory / FILE)
