"""Figures of an evaluation, drawn from plain arrays.

Every function returns a figure of its own, without pyplot and its global state; `png` renders it.
Names of classes and captions are drawn as they are: `$` starts no formula and `_` no index.
"""

import io
import math
import os
import textwrap
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from core import files

DPI = 150
# Ten colours that colour-blind readers can tell apart: Petroff, "Accessible Color Sequences for
# Data Visualization", arXiv:2107.02270, the sequence of ten, here with its two greys last.
COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#a96b59"),
    *("#e76300", "#b9ac70", "#92dadd", "#94a4a2", "#717581"),
)
# What fits on a page: counts in the cells of a confusion matrix, names on its axes, curves that
# the eye can follow.
COUNTED_CLASSES = 20
NAMED_CLASSES = 40
NAMED_CURVES = 10
EXTREME_CURVES = 3  # of more curves, as many of the best and of the worst are named
NAME_LENGTH = 24  # characters, of a class
CAPTION_WIDTH = 26  # characters, of a line under a picture
CAPTION_LINES = 2  # that one line of a caption may be broken into
GALLERY_COLUMNS = 5
PICTURE_INCHES = 1.9
_GRID = 1000  # steps of the axis on which curves are averaged


class Curve(NamedTuple):
    """One class against the others."""

    name: str
    x: np.ndarray
    y: np.ndarray
    area: float


def confusion_matrix(confusion: np.ndarray, class_names: Sequence[str]) -> Figure:
    """A row per label and a column per prediction, coloured by their share of the row.

    Args:
        confusion: int64 [C, C], counts by [label, prediction].
        class_names: C names; beyond NAMED_CLASSES the axes bear numbers.
    """
    classes = len(confusion)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    digits = len(str(confusion.max()))
    cell = max(0.42, 0.1 * digits) if classes <= COUNTED_CLASSES else 0.2  # inches
    side = min(max(cell * classes, 2.5), 9)
    margin = 0.075 * max(map(len, map(_short, class_names))) if classes <= NAMED_CLASSES else 0.3
    figure = Figure(figsize=(side + margin + 1.5, side + margin + 0.7), layout="constrained")
    axes = figure.subplots()
    # Where no counts are written, rare confusions are to be seen, too: 1 % gets a tenth of blue.
    scale = PowerNorm(1 if classes <= COUNTED_CLASSES else 0.5, 0, 1)
    image = axes.imshow(shares, cmap="Blues", norm=scale)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=25)
    bar.set_label("share of the pictures with the label")
    bar.outline.set_visible(False)
    axes.set_xlabel("prediction")
    axes.set_ylabel("label")
    if classes <= NAMED_CLASSES:
        names = list(map(_short, class_names))
        size = 9 if classes <= COUNTED_CLASSES else 7
        axes.set_yticks(range(classes), names, fontsize=size)
        turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        flat = 0.09 * max(map(len, names)) < side / classes
        axes.set_xticks(range(classes), names, fontsize=size, **({} if flat else turned))
    else:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
    if classes <= COUNTED_CLASSES:
        _write_counts(axes, confusion, shares)
    return figure


def _write_counts(axes: Axes, confusion: np.ndarray, shares: np.ndarray) -> None:
    for (label, prediction), count in np.ndenumerate(confusion):
        dark = shares[label, prediction] > 0.72  # there black and white contrast alike, 4.5 to 1
        colour = "white" if dark else "black" if count else "#707070"
        axes.text(prediction, label, str(count), ha="center", va="center", color=colour, size=8)


def roc_curves(probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Receiver operating characteristics, each class against all others.

    Of two classes there is one curve: class 1 is the positive one.

    Args:
        probabilities: float [N, C].
        labels: int [N].
        class_names: C names.
    """
    from sklearn import metrics

    def points(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        false_rate, true_rate, _ = metrics.roc_curve(positive, score)
        return false_rate, true_rate, metrics.auc(false_rate, true_rate)

    curves, undefined = _one_against_rest(points, probabilities, labels, class_names)
    figure, axes = _unit_square("false positive rate", "true positive rate")
    if curves:
        axes.plot([0, 1], [0, 1], color="black", lw=0.8, ls=":", label="chance")
    _draw_curves(axes, curves, undefined, "AUC", _mean_line)
    return figure


def precision_recall_curves(
    probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> Figure:
    """Precision against recall, each class against all others. Args as those of `roc_curves`.

    The area is the average precision, as scikit-learn defines it: the sum of the steps.
    """
    from sklearn import metrics

    def points(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        precision, recall, _ = metrics.precision_recall_curve(
            positive, score, drop_intermediate=True
        )
        return recall, precision, -float(np.diff(recall) @ precision[:-1])

    curves, undefined = _one_against_rest(points, probabilities, labels, class_names)
    figure, axes = _unit_square("recall", "precision")
    # Recall falls from 1 to 0, and each precision holds down to the next recall.
    _draw_curves(axes, curves, undefined, "AP", _mean_steps, drawstyle="steps-post")
    return figure


def _one_against_rest(
    points: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, float]],
    probabilities: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
) -> tuple[list[Curve], list[str]]:
    """The curves, and the names of the classes that have none: all pictures, or no one, is theirs.

    Args:
        points: from whether a picture is of the class and its score, x, y and the area under them.
        probabilities: float [N, C].
        labels: int [N].
        class_names: C names.
    """
    curves, undefined = [], []
    for label in (1,) if len(class_names) == 2 else range(len(class_names)):
        positive = labels == label
        if positive.any() and not positive.all():
            curves.append(Curve(class_names[label], *points(positive, probabilities[:, label])))
        else:
            undefined.append(class_names[label])
    return curves, undefined


def _mean_line(curves: list[Curve]) -> tuple[np.ndarray, np.ndarray]:
    grid = np.linspace(0, 1, _GRID + 1)
    return grid, np.mean([np.interp(grid, curve.x, curve.y) for curve in curves], axis=0)


def _mean_steps(curves: list[Curve]) -> tuple[np.ndarray, np.ndarray]:
    """At each recall, the mean of the precisions of the next higher recall that a class has."""
    grid = np.linspace(0, 1, _GRID + 1)
    rising = [(curve.x[::-1], curve.y[::-1]) for curve in curves]
    mean = np.mean([y[np.searchsorted(x, grid)] for x, y in rising], axis=0)
    return grid[::-1], mean[::-1]


def _unit_square(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y, xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), box_aspect=1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eeeeee")
    return figure, axes


def _draw_curves(
    axes: Axes,
    curves: list[Curve],
    undefined: list[str],
    area: str,
    mean: Callable[[list[Curve]], tuple[np.ndarray, np.ndarray]],
    **style: Any,
) -> None:
    """Draws the curves and names them beside the axes: all of a few, of many best and worst."""
    if not curves:
        text = "no curve: no class has pictures both\nof its own and of other classes"
        axes.text(0.5, 0.5, text, ha="center", va="center")
    few = len(curves) + len(undefined) <= NAMED_CURVES
    for curve in () if few else curves:
        axes.plot(curve.x, curve.y, color="#c4c4c4", lw=0.5, **style)
    for curve, colour in zip(curves if few else _extremes(curves), COLOURS, strict=False):
        label = f"{curve.area:.4f}  {_short(curve.name)}"
        axes.plot(curve.x, curve.y, color=colour, lw=1.5, label=label, **style)
    if len(curves) > 1:
        area_mean = np.mean([curve.area for curve in curves])
        label = f"{area_mean:.4f}  macro-average"
        line = {"lw": 1.5, "ls": "--"} if few else {"lw": 2.5}
        axes.plot(*mean(curves), color="black", label=label, **line, **style)
    if undefined and not few:
        undefined = [f"{len(undefined)} of {len(curves) + len(undefined)} classes"]
    for name in undefined:
        axes.plot([], [], ls="", label=f"undefined  {_short(name)}")
    labels = [line.get_label() for line in axes.lines]
    width = 0.085 * max([len(label) for label in labels if label[0] != "_"])  # inches
    axes.figure.set_size_inches(5.8 + width, 4.5)
    axes.figure.legend(loc="outside right upper", title=area, alignment="left", frameon=False)


def _extremes(curves: list[Curve]) -> list[Curve]:
    ranked = sorted(curves, key=lambda curve: curve.area, reverse=True)
    if len(ranked) <= 2 * EXTREME_CURVES:
        return ranked
    return ranked[:EXTREME_CURVES] + ranked[-EXTREME_CURVES:]


def reliability(calibration: Any, expected_error: float) -> Figure:
    """Accuracy against confidence, with the counts of the bins below.

    As in Guo et al., "On Calibration of Modern Neural Networks", 2017, figure 1.

    Args:
        calibration: of B bins of equal width over 0..1, `confidence` and `accuracy`, float [B],
            NaN where a bin is empty, and `count`, int [B].
        expected_error: the mean of |accuracy - confidence| over all pictures.
    """
    edges = np.linspace(0, 1, len(calibration.count) + 1)
    width = edges[1]
    figure = Figure(figsize=(4.6, 5.8), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    filled = np.asarray(calibration.count) > 0
    left, accuracy = edges[:-1][filled], np.asarray(calibration.accuracy)[filled]
    gap = np.asarray(calibration.confidence)[filled] - accuracy
    bars = {"width": width, "align": "edge", "edgecolor": "black", "lw": 0.6}
    upper.bar(left, accuracy, color=COLOURS[0], label="accuracy", **bars)
    striped = {"color": "none", "edgecolor": COLOURS[2], "hatch": "////", "lw": 0.8}
    upper.bar(left, gap, bottom=accuracy, label="gap to confidence", **(bars | striped))
    upper.plot([0, 1], [0, 1], color="black", lw=1, ls="--", label="perfect calibration")
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    upper.set_title(f"expected calibration error {expected_error:.4f}")
    figure.legend(loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    lower.bar(edges[:-1], calibration.count, color=COLOURS[8], **bars)
    lower.set(xlabel="confidence", ylabel="pictures")
    lower.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    return figure


def mistakes(pictures: Sequence[np.ndarray], captions: Sequence[str]) -> Figure:
    """A gallery, row by row, with a caption under each picture.

    Args:
        pictures: uint8 [height, width, 1 or 3] each, of any sizes.
        captions: as many; line breaks are kept, long lines broken and cut short.
    """
    if not pictures:
        figure = Figure(figsize=(4, 1), layout="constrained")
        figure.text(0.5, 0.5, "no mistakes", ha="center", va="center")
        return figure
    lines = [_wrapped(caption) for caption in captions]
    columns = min(len(pictures), GALLERY_COLUMNS)
    rows = math.ceil(len(pictures) / columns)
    height = PICTURE_INCHES + 0.15 * max(line.count("\n") + 1 for line in lines) + 0.2
    size = (columns * (PICTURE_INCHES + 0.1), rows * height)
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.08))
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, picture, text in zip(panels, pictures, lines, strict=False):
        _show(axes, picture)
        axes.set_xlabel(text, fontsize=8)
    for axes in panels[len(pictures) :]:
        axes.set_axis_off()
    return figure


def _show(axes: Axes, picture: np.ndarray) -> None:
    """Fits a picture into a square; of a small one every pixel is to be seen."""
    small = max(picture.shape[:2]) <= PICTURE_INCHES * DPI
    smoothing = "nearest" if small else "auto"
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation=smoothing)
    axes.set(xticks=[], yticks=[], adjustable="datalim", box_aspect=1)
    axes.spines[:].set_visible(False)


def elided(text: str, length: int) -> str:
    """At most so many characters, at least 2, all of them printable; the middle is left out."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    if len(text) <= length:
        return text
    return f"{text[: length // 2]}…{text[len(text) - (length - 1) // 2 :]}"


def literal(text: str) -> str:
    """A text that matplotlib draws as it is: two `$` would begin and end a formula."""
    return text.replace("$", r"\$")


def _short(name: str) -> str:
    return literal(elided(name, NAME_LENGTH))


def _wrapped(caption: str) -> str:
    """A caption as lines that fit under a picture."""
    lines = []
    for line in caption.split("\n"):
        short = elided(line, CAPTION_WIDTH * CAPTION_LINES)
        lines += textwrap.wrap(short, CAPTION_WIDTH) or [""]
    return literal("\n".join(lines))


def png(figure: Figure) -> bytes:
    """The figure as a PNG file, DPI pixels to the inch, on white."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The font lacks some scripts; each character it lacks is drawn as a box.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        # As large as what is drawn: beside axes of a fixed shape the layout may leave too little.
        box = {"bbox_inches": "tight", "pad_inches": 0.1}
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white", **box)
    return buffer.getvalue()


def write(figure: Figure, path: str | os.PathLike) -> bytes:
    """Writes a figure as a PNG file; returns its content."""
    content = png(figure)
    with files.atomic_write(path, binary=True) as file:
        file.write(content)
    return content
