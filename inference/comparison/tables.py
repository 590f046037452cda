"""The tables of a comparison: what is in their columns, what is best, what is worth choosing."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from engine.metrics import Metrics
from inference.comparison.online import Spread

Value = float | int | Spread | None  # None: undefined, or not measured

ACCURACY, LATENCY = "top_1", "latency_ms"  # keys of what the Pareto front weighs

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def significant(value: float) -> str:
    """Three significant digits, all of them before the point if it has more."""
    value = float(f"{value:.3g}") if abs(value) < 1000 else value  # 0.9999 has the digits of 1
    decimals = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{max(0, decimals)}f}"


def prefixed(value: float) -> str:
    """Three significant digits with an SI prefix: "3.27 M"."""
    for factor, prefix in _PREFIXES:
        if abs(value) >= 0.9995 * factor:  # from where three digits read 1000 of the one below
            return f"{significant(value / factor)} {prefix}"
    return f"{value:.0f}"


def size(value: float) -> str:
    """Bytes: "13.1 MB"."""
    number, _, prefix = prefixed(value).partition(" ")
    return f"{number} {prefix}B"


def duration(value: float) -> str:
    """Seconds, in a unit that suits them: "4.52 h"."""
    for factor, unit in ((3600, "h"), (60, "min")):
        if value >= factor:
            return f"{significant(value / factor)} {unit}"
    return f"{significant(value)} s"


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _fraction(value: float) -> str:
    return f"{value:.4f}"


def _whole(value: float) -> str:
    return f"{value:.0f}"


def middle(value: Value) -> float | None:
    """The one number that stands for a value: of a spread, the median."""
    return value.median if isinstance(value, Spread) else value


@dataclasses.dataclass(frozen=True)
class Column:
    """One thing that models are compared by."""

    key: str  # in CSV and JSON, and of the values of a row
    heading: str
    unit: str  # of what `format` gives; "" if that names it, or if there is none
    better: Literal["higher", "lower", "none"]
    format: Callable[[float], str]

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return {"higher": "↑", "lower": "↓", "none": ""}[self.better]

    def shown(self, value: Value) -> str:
        """A value for people."""
        number = middle(value)
        return "-" if number is None else self.format(number)

    def ends(self, value: Value) -> str:
        """The lowest and the highest of a spread for people; empty if there is none."""
        if not isinstance(value, Spread) or value.lowest == value.highest:
            return ""
        return f"{self.format(value.lowest)}\u2013{self.format(value.highest)}"


OFFLINE = (
    Column("top_1", "top-1", "%", "higher", _percent),
    Column("top_3", "top-3", "%", "higher", _percent),
    Column("cross_entropy", "loss", "", "lower", _fraction),
    Column("f1_macro", "F1", "", "higher", _fraction),
    Column("roc_auc", "AUC", "", "higher", _fraction),
    Column("average_precision", "AP", "", "higher", _fraction),
    Column("mcc", "MCC", "", "higher", _fraction),
    Column("balanced_accuracy", "balanced", "%", "higher", _percent),
    Column("parameters", "parameters", "", "lower", prefixed),
    Column("flops", "FLOPs", "", "lower", prefixed),
    Column("multiply_adds", "multiply-adds", "", "lower", prefixed),
    Column("bytes", "size", "", "lower", size),
    Column("training_seconds", "training", "", "lower", duration),
    Column("evaluation_seconds", "evaluation", "", "lower", duration),
)
ONLINE = (
    Column("latency_ms", "latency", "ms", "lower", significant),
    Column("latency_p99_ms", "latency p99", "ms", "lower", significant),
    Column("images_per_second", "images/s", "", "higher", significant),
    Column("best_batch", "at batch", "", "none", _whole),
    Column("cold_start_s", "cold start", "s", "lower", significant),
    Column("peak_mb", "peak memory", "MB", "lower", significant),
    Column("resident_mb", "resident memory", "MB", "lower", significant),
    Column("cpu_percent", "CPU", "%", "none", _whole),
)


@dataclasses.dataclass(frozen=True)
class Table:
    """Models by columns.

    Args:
        title: what was measured, and on what.
        columns: all that could be.
        rows: the name of each model -> key of a column -> value; without one it is None.
    """

    title: str
    columns: tuple[Column, ...]
    rows: Mapping[str, Mapping[str, Value]]

    def measured(self) -> list[Column]:
        """The columns in which at least one model has a value."""
        rows = self.rows.values()
        return [c for c in self.columns if any(row.get(c.key) is not None for row in rows)]

    def best(self, column: Column) -> set[str]:
        """The models with the best value or one that reads the same; none if there is no choice."""
        found = {name: middle(row.get(column.key)) for name, row in self.rows.items()}
        known = {name: value for name, value in found.items() if value is not None}
        if column.better == "none" or len(known) < 2:
            return set()
        best = (max if column.better == "higher" else min)(known.values())
        return {n for n, value in known.items() if column.format(value) == column.format(best)}


def trade_off(offline: Table, online: Table | None) -> dict[str, tuple[float, Spread]]:
    """Accuracy (top-1, 0..1) and latency (ms) of the models of which both are known."""
    found = {}
    for name, row in offline.rows.items():
        accuracy = row.get(ACCURACY)
        latency = online.rows.get(name, {}).get(LATENCY) if online else None
        if accuracy is not None and latency is not None:
            found[name] = (accuracy, latency)
    return found


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The models that no other one dominates, the fastest first.

    One dominates another if it is neither less accurate nor slower, and better in one of the two.

    Args:
        points: name -> accuracy and latency.
    """

    def dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one != other and one[0] >= other[0] and one[1] <= other[1]

    front = [
        name
        for name, point in points.items()
        if not any(dominates(other, point) for other in points.values())
    ]
    return sorted(front, key=lambda name: points[name][1])


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All that was found.

    Args:
        models: what each one is, by the name that it has in the tables.
        machine: facts about it.
        settings: of the comparison; used here: repeats.
        offline: a row per model.
        online: the same, or None if no speed was measured.
        metrics: all of them, of the models that were scored.
    """

    models: Mapping[str, str]
    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    offline: Table
    online: Table | None
    metrics: Mapping[str, Metrics]

    @property
    def tables(self) -> dict[str, Table]:
        """Those that there are, by the names of their files."""
        there = {"offline": self.offline, "online": self.online}
        return {name: table for name, table in there.items() if table}

    @functools.cached_property
    def points(self) -> dict[str, tuple[float, Spread]]:
        """Accuracy and latency of the models of which both are known."""
        return trade_off(self.offline, self.online)

    @functools.cached_property
    def front(self) -> list[str]:
        """The models of the Pareto front, the fastest first; empty where there is no choice."""
        if len(self.points) < 2:
            return []
        medians = {name: (right, took.median) for name, (right, took) in self.points.items()}
        return pareto_front(medians)

    @property
    def front_told(self) -> str:
        """The Pareto front in words; empty if there is none."""
        if not self.front:
            return ""
        told = f"Pareto front of top-1 against latency, the fastest first: {', '.join(self.front)}."
        if len(self.front) < len(self.points):
            told += " Every other model is beaten by one of these: no slower and no less accurate."
        return told

    @property
    def spread_told(self) -> str:
        """What the numbers of the online table are; empty if they are single measurements."""
        if not self.online or self.settings["repeats"] < 2:
            return ""
        return (
            f"Online: the median of {self.settings['repeats']} measurements, each in a fresh "
            "process; below it the lowest and the highest."
        )
