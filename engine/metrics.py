"""How good a classifier is: the metrics of what it gave for the pictures of a split.

A metric that is not defined is None and says why; it is never 0 or 1 instead. Scikit-learn computes
them, and the arrays here are what it takes.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from engine import bootstrap
from engine.scores import BINS, TOP_K, Scores, bins_of


class PerClass(NamedTuple):
    """The metrics of one class against all others; None where they are not defined."""

    label: int
    name: str
    images: int  # with this label
    predicted: int  # with this prediction
    precision: float | None  # None if it is never predicted
    recall: float | None  # None if no picture has this label
    f1: float | None  # None if both
    roc_auc: float | None  # None if all pictures, or none, have this label
    average_precision: float | None  # None if all pictures, or none, have this label


@dataclasses.dataclass(frozen=True)
class Metrics:
    """All that is computed of scores.

    Attributes:
        values: metrics by name; None where they are not defined.
        undefined: why, by the name of the metric.
        left_out: names of the classes that an average leaves out, since theirs is not defined, by
            the name of the metric.
        intervals: lower and upper end of the 95 % interval, by the name of the metric.
        resamples: that the intervals are of; 0 if there are none.
        per_class: in the order of the labels.
    """

    values: dict[str, float | None]
    undefined: dict[str, str]
    left_out: dict[str, list[str]]
    intervals: dict[str, tuple[float, float]]
    resamples: int
    per_class: list[PerClass]


def compute(
    scores: Scores, class_names: Sequence[str], resamples: int = 0, areas: bool = True
) -> Metrics:
    """All metrics of at least one picture.

    Top-k accuracies; cross-entropy in nats; precision, recall and F1, averaged over the classes
    (macro) and over the pictures (weighted); balanced accuracy; Matthews' correlation coefficient;
    area under the ROC curve and average precision of one class against the rest, averaged over the
    classes, or of two classes those of the second; expected calibration error.

    Args:
        scores: of N pictures.
        class_names: C names.
        resamples: of the bootstrap that gives the intervals; 0: none.
        areas: whether to compute those under curves, which take the longest.
    """
    per_class = _per_class(scores, class_names, areas)
    found = _Found()
    _add_shares(found, scores)
    _add_averages(found, per_class)
    _add_agreement(found, scores, class_names)
    if areas:
        _add_ranking(found, per_class)
    found.values["expected_calibration_error"] = calibration(scores).error
    intervals = bootstrap.intervals(scores, resamples) if resamples else {}
    return Metrics(
        found.values,
        found.undefined,
        found.left_out,
        {name: ends for name, ends in intervals.items() if found.values[name] is not None},
        resamples,
        per_class,
    )


class _Found:
    """Metrics as they are found."""

    def __init__(self) -> None:
        self.values: dict[str, float | None] = {}
        self.undefined: dict[str, str] = {}
        self.left_out: dict[str, list[str]] = {}

    def add(self, name: str, value: Callable[[], float], undefined: str = "") -> None:
        """Adds a metric, or why it is not defined."""
        self.values[name] = None if undefined else float(value())
        if undefined:
            self.undefined[name] = undefined


def _add_shares(found: _Found, scores: Scores) -> None:
    ranks, losses = scores.ranks, scores.losses
    for k in TOP_K:
        few = f"there are {scores.num_classes} classes" if 1 < k >= scores.num_classes else ""
        found.add(f"top_{k}", lambda k=k: (ranks < k).sum() / len(ranks), few)
    zeros = int(np.isinf(losses).sum())
    infinite = f"infinite: {zeros} labels have a probability of 0" if zeros else ""
    found.add("cross_entropy", losses.mean, infinite)


def _per_class(scores: Scores, class_names: Sequence[str], areas: bool) -> list[PerClass]:
    from sklearn import metrics

    labels, predictions = scores.labels, scores.predictions
    every = np.arange(scores.num_classes)
    precision, recall, f1, images = metrics.precision_recall_fscore_support(
        labels, predictions, labels=every, average=None, zero_division=np.nan
    )
    predicted = np.bincount(predictions, minlength=scores.num_classes)
    probabilities = scores.probabilities

    def ranking(metric: Callable[..., float], label: int) -> float | None:
        has_both = 0 < images[label] < scores.count
        if not (areas and has_both):
            return None
        return float(metric(labels == label, probabilities[:, label]))

    return [
        PerClass(
            label,
            class_names[label],
            int(images[label]),
            int(predicted[label]),
            *(_defined(values[label]) for values in (precision, recall, f1)),
            ranking(metrics.roc_auc_score, label),
            ranking(metrics.average_precision_score, label),
        )
        for label in every.tolist()
    ]


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _add_averages(found: _Found, per_class: Sequence[PerClass]) -> None:
    for name in ("precision", "recall", "f1"):
        defined = [one for one in per_class if getattr(one, name) is not None]
        values = [getattr(one, name) for one in defined]
        images = [one.images for one in defined]
        none_seen = "" if any(images) else "no class with pictures is ever predicted"
        found.add(f"{name}_macro", lambda values=values: np.mean(values))
        found.add(
            f"{name}_weighted", lambda v=values, w=images: np.average(v, weights=w), none_seen
        )
        left_out = [one.name for one in per_class if getattr(one, name) is None]
        if left_out:
            found.left_out |= {f"{name}_macro": left_out, f"{name}_weighted": left_out}


def _add_agreement(found: _Found, scores: Scores, class_names: Sequence[str]) -> None:
    from sklearn import metrics

    labels, predictions = scores.labels, scores.predictions
    one_class = _only(labels, class_names, "all pictures are of the class")
    one_prediction = _only(predictions, class_names, "all predictions are of the class")
    found.add("balanced_accuracy", lambda: _mean_recall(labels, predictions), one_class)
    found.add(
        "mcc",
        lambda: metrics.matthews_corrcoef(labels, predictions),
        one_class or one_prediction,
    )


def _mean_recall(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Balanced accuracy: of the classes that have pictures (others can be predicted, too)."""
    from sklearn import metrics

    return metrics.recall_score(labels, predictions, labels=np.unique(labels), average="macro")


def _only(values: np.ndarray, class_names: Sequence[str], what: str) -> str:
    """What is to be said if all are of one class; else empty."""
    return f"{what} {class_names[values[0]]}" if (values == values[0]).all() else ""


def _add_ranking(found: _Found, per_class: Sequence[PerClass]) -> None:
    of = per_class[1:] if len(per_class) == 2 else per_class
    only = next((one.name for one in per_class if one.recall is not None), "")
    for name in ("roc_auc", "average_precision"):
        values = [value for one in of if (value := getattr(one, name)) is not None]
        why = "" if values else f"all pictures are of the class {only}"
        found.add(name, lambda values=values: np.mean(values), why)
        left_out = [one.name for one in of if getattr(one, name) is None]
        if values and left_out:
            found.left_out[name] = left_out


class Calibration(NamedTuple):
    """Whether pictures are as often classified right as the classifier is confident of them.

    Confidence is the probability of the prediction. The B bins of it have equal width.
    """

    confidence: np.ndarray  # mean, float64 [B]; NaN in a bin without pictures
    accuracy: np.ndarray  # share of right ones, float64 [B]; NaN in a bin without pictures
    count: np.ndarray  # pictures, int64 [B]

    @property
    def error(self) -> float:
        """Expected calibration error: equation 3 of Guo et al. 2017."""
        gaps = self.count * np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps) / self.count.sum())


def calibration(scores: Scores) -> Calibration:
    """The calibration of at least one picture, in BINS bins."""
    confidence = scores.probabilities.max(axis=1).astype(np.float64)
    bins = bins_of(confidence)
    count = np.bincount(bins, minlength=BINS)
    sums = functools.partial(np.bincount, bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        return Calibration(
            sums(weights=confidence) / count,
            sums(weights=scores.predictions == scores.labels) / count,
            count,
        )
