"""The pictures of a comparison: bars per column, and accuracy against latency."""

import math

from matplotlib import patheffects, ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from engine.report.plots import elided, literal, png
from inference.comparison.online import Spread
from inference.comparison.tables import Column, Comparison, Table, middle

# Blue and grey, which colour-blind eyes and a grey printer tell apart, too.
_BEST, _OTHER, _INK, _QUIET = "#0b5cad", "#aab4bf", "#1b1f24", "#57606a"

_ACROSS = 5  # panels side by side, at most
_LONGEST = 26  # characters of a name that is drawn


def pictures(found: Comparison) -> dict[str, bytes]:
    """PNG files by name: bars for each table, and the Pareto front if there is one."""
    figures = {name: bars(table) for name, table in found.tables.items()}
    if found.front:
        figures["pareto"] = pareto(found.points, found.front)
    return {f"{name}.png": png(figure) for name, figure in figures.items()}


def _short(name: str) -> str:
    return literal(elided(name, _LONGEST))


def bars(table: Table) -> Figure:
    """A panel per column, a bar per model; the batch size, which explains another, has none."""
    columns = [column for column in table.measured() if column.key != "best_batch"]
    down = math.ceil(len(columns) / _ACROSS)
    across = math.ceil(len(columns) / down)
    height = 0.6 + down * (0.55 + 0.27 * len(table.rows))
    figure = Figure(figsize=(2.0 + 2.4 * across, height), layout="constrained")
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for axes, column in zip(grid.flat, columns, strict=False):
        _panel(axes, table, column)
    for axes in list(grid.flat)[len(columns) :]:
        axes.set_axis_off()
    names = [_short(name) for name in table.rows]
    grid[0, 0].set_yticks(range(len(names)), names)
    grid[0, 0].set_ylim(len(names) - 0.4, -0.6)  # the first model on top
    title = f"{table.title}\n↑ higher is better, ↓ lower is better; blue: the best"
    figure.suptitle(literal(title), x=0.01, ha="left", fontsize=10, color=_INK)
    return figure


def _panel(axes: Axes, table: Table, column: Column) -> None:
    """The bars of one column."""
    best = table.best(column)
    shown = [(name, row.get(column.key)) for name, row in table.rows.items()]
    ends = [_ends(value) for _, value in shown]
    lowest = min(0.0, *(low for low, _ in ends))
    highest = max(0.0, *(high for _, high in ends))
    reach = highest - lowest or 1.0
    for place, ((name, value), (low, high)) in enumerate(zip(shown, ends, strict=True)):
        length = middle(value) or 0.0
        axes.barh(place, length, height=0.7, color=_BEST if name in best else _OTHER)
        if high > low:
            axes.errorbar(length, place, xerr=[[length - low], [high - length]], fmt="none",
                          ecolor=_INK, elinewidth=1, capsize=2)  # fmt: skip
        weight = "bold" if name in best else "normal"
        axes.text(max(high, 0.0) + 0.03 * reach, place, column.shown(value), va="center",
                  fontsize=8, fontweight=weight, color=_INK)  # fmt: skip
    axes.set_xlim(lowest, highest + 0.45 * reach)  # room for the numbers
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    axes.axvline(0, color=_INK, linewidth=0.8)
    unit = f", {column.unit}" if column.unit else ""
    axes.set_title(f"{column.heading}{unit} {column.arrow}", fontsize=9, loc="left")


def _ends(value: float | Spread | None) -> tuple[float, float]:
    if isinstance(value, Spread):
        return value.lowest, value.highest
    return (value or 0.0,) * 2


def pareto(points: dict[str, tuple[float, Spread]], front: list[str]) -> Figure:
    """Accuracy against latency: every model a point, the front a staircase.

    Args:
        points: name -> accuracy, 0..1, and latency, ms.
        front: the names of those on it, the fastest first.
    """
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    FigureCanvasAgg(figure)  # which can tell how large a text will be
    axes = figure.subplots()
    medians = [took.median for _, took in points.values()]
    for name, (right, took) in points.items():
        colour = _BEST if name in front else _OTHER
        ends = [[took.median - took.lowest], [took.highest - took.median]]
        axes.errorbar(took.median, 100 * right, xerr=ends, fmt="o", markersize=7, color=colour,
                      elinewidth=1, capsize=2, zorder=3)  # fmt: skip
    if max(medians) > 10 * min(medians):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.margins(x=0.12, y=0.15)  # room for the names
    axes.set_xlabel("latency of one image, ms (median)")
    axes.set_ylabel("top-1 accuracy, %")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    _staircase(axes, [(points[name][1].median, 100 * points[name][0]) for name in front])
    axes.set_title("Pareto front (blue): no other model is both faster and more accurate",
                   fontsize=10, loc="left")  # fmt: skip
    figure.draw_without_rendering()  # settles where the axes are
    _name(axes, {n: (took.median, 100 * right) for n, (right, took) in points.items()}, front)
    return figure


def _staircase(axes: Axes, corners: list[tuple[float, float]]) -> None:
    """The best accuracy within each latency, from the axis below to the right edge."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    x = [corners[0][0], *(x for x, _ in corners), right]
    y = [bottom, *(y for _, y in corners), corners[-1][1]]
    axes.plot(x, y, drawstyle="steps-post", color=_BEST, linewidth=1.2, zorder=2)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _name(axes: Axes, places: dict[str, tuple[float, float]], front: list[str]) -> None:
    """Writes names beside points, each where it covers no other name and no point.

    Where there is no such place, only those of the front are written.
    """
    renderer = axes.figure.canvas.get_renderer()
    dots = axes.transData.transform([*places.values()])  # pixels
    size = 6 * axes.figure.dpi / 72
    taken = [Bbox([[x - size, y - size], [x + size, y + size]]) for x, y in dots]
    inside = axes.get_window_extent()
    sides = [(-8, 4), (8, 4), (-8, -4), (8, -4), (0, 8), (0, -8)]  # above the staircase first
    sides += [(dx, scale * dy) for scale in (4, 7) for dx, dy in sides[:4]]
    halo = patheffects.withStroke(linewidth=2.5, foreground="white")
    for name in [*front, *(name for name in places if name not in front)]:
        label = axes.annotate(_short(name), places[name], (0, 0), fontsize=8, zorder=4,
                              textcoords="offset points", path_effects=[halo],
                              color=_INK if name in front else _QUIET)  # fmt: skip
        costs = []
        way = 1 if name in front else -1  # below it
        for dx, dy in sides:
            _move(label, way * dx, way * dy)
            box = label.get_window_extent(renderer)
            covered = sum(box.overlaps(other) for other in taken)
            outside = not (inside.x0 <= box.x0 and box.x1 <= inside.x1)
            outside |= not (inside.y0 <= box.y0 and box.y1 <= inside.y1)
            costs.append(covered + 2 * outside)
        if min(costs) and name not in front:
            label.remove()
            continue
        dx, dy = sides[costs.index(min(costs))]
        _move(label, way * dx, way * dy)
        taken.append(label.get_window_extent(renderer))


def _move(label: Annotation, dx: float, dy: float) -> None:
    """Puts a name at that distance from its point, in typographic points."""
    label.set_position((dx, dy))
    label.set_horizontalalignment("left" if dx > 0 else "right" if dx < 0 else "center")
    label.set_verticalalignment("bottom" if dy > 0 else "top")
