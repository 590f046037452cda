"""How rate and memory of training go with input workers, pixels and batch size."""

import importlib.util
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from benchmarks import data, workers
from benchmarks.report import Report
from benchmarks.train_throughput import Case
from benchmarks.workers import Turn
from core import files
from core.errors import FlagError

# What varies, one at a time; the others are the first size of --sizes, --batch_size, and what
# training does by default.
AXES = {
    "input workers": (1, 2),
    "pixels": (32, 64, 128, 224),
    "batch size": (10, 50, 100, 200),
}
_COLUMNS = {
    "varied": "",
    "value": "d",
    "images/s": ".1f",
    "input alone images/s": ".0f",
    "peak RSS MB": ".0f",
}


class Point(NamedTuple):
    """One row of the table."""

    axis: str
    value: int
    rate: float  # images/s
    input_rate: float  # images/s
    peak_rss: float  # MB


def check(config: Any) -> None:
    """FlagError if a picture is asked for that cannot be drawn."""
    if config.picture and not importlib.util.find_spec("matplotlib"):
        raise FlagError(
            "--picture needs matplotlib, which is not installed",
            remedy="pip install -c constraints.txt -e '.[bench]'",
        )


def run(config: Any, report: Report, scratch: Path) -> None:
    """Measures one net along all axes."""
    title = f"Scaling of {config.scaling_net}, rounds: {config.rounds}"
    section = report.section("scaling", title, _COLUMNS)
    section.note(
        f"Unless varied: {config.sizes[0]} pixels, batches of {config.batch_size}, as many input "
        "workers as training has by default."
    )
    case = Case(config.scaling_net, config.sizes[0], config, data.dataset(config, scratch), scratch)
    points = []
    for axis, values in AXES.items():
        for value in values[:2] if config.quick else values:
            logging.info("scaling: %s %d", axis, value)
            points.append(_measured(case, axis, value))
            section.add(*points[-1])
    if config.picture:
        draw(points, config.scaling_net, Path(config.picture))


def _measured(case: Case, axis: str, value: int) -> Point:
    key = {"input workers": "workers", "pixels": "size", "batch size": "batch_size"}[axis]
    spec = case.spec(**{key: value})
    steps = case.config.steps
    with case.ours(**{key: value}) as ours:
        turns = {"step": Turn(ours, "step", steps), "input": Turn(ours, "input", steps)}
        seconds, _ = workers.in_turn(turns, case.config.rounds)
    pictures = steps * spec["batch_size"]
    rates = (pictures / statistics.median(seconds[name]) for name in turns)
    return Point(axis, value, *rates, ours.peak_rss / 1e6)


def draw(points: Sequence[Point], net: str, path: Path) -> None:
    """Draws rate and memory along each axis, as a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(AXES), 6), layout="constrained")
    figure.suptitle(f"Training {net}")
    panels = figure.subplots(2, len(AXES), sharex="col")
    for column, axis in enumerate(AXES):
        ours = [point for point in points if point.axis == axis]
        values = [point.value for point in ours]
        rate, memory = panels[:, column]
        rate.plot(values, [point.rate for point in ours], marker="o")
        memory.plot(values, [point.peak_rss for point in ours], marker="o")
        memory.set_xlabel(axis)
        memory.set_xticks(values)
        for panel in (rate, memory):
            panel.set_ylim(0, 1.1 * panel.get_ylim()[1])
    panels[0, 0].set_ylabel("images/s")
    panels[1, 0].set_ylabel("peak RSS, MB")
    with files.atomic_write(path, binary=True) as file:
        figure.savefig(file, format="png", dpi=150)
