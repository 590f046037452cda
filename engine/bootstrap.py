"""How far metrics may be off because a split has only so many pictures: bootstrap intervals.

Efron 1979, "Bootstrap methods: another look at the jackknife". A resample of N pictures is N times
any of them; it is kept as the number of times that each is in it, and all metrics are computed of
a hundred resamples at a time from these numbers. That takes a hundredth of what calling
scikit-learn for each would; the definitions are those of `engine.metrics`.
"""

import functools

import numpy as np

from core import progress
from engine.scores import BINS, TOP_K, Scores, bins_of

LEVEL = 0.95
SEED = 0  # the same pictures have the same intervals
_AT_A_TIME = 100
# Numbers that the areas under curves take, resamples x pictures x classes: about a minute. Of more
# there are no intervals for them.
_MOST_NUMBERS = 20_000_000_000


def intervals(scores: Scores, resamples: int) -> dict[str, tuple[float, float]]:
    """The ends of the 95 % intervals of metrics, by name.

    They are percentiles over the resamples, moved so that the median of these is the value of the
    split. Resamples are biased: a picture that is in one twice makes average precision larger, and
    macro F1 of few pictures per class smaller, so that the percentiles themselves may not even
    include the value (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 10).

    Where a metric is not defined of a resample, such as one without a class, this one is left out;
    a metric that is not defined of the split, or of no resample, has no interval. If all resamples
    have the same value, as the accuracy without any mistake, the interval is that value alone.

    Args:
        scores: of N pictures.
        resamples: how many, at least 1.
    """
    generator = np.random.default_rng(SEED)
    resampled = _Resampled(scores)
    with_ranking = resamples * scores.count * scores.num_classes <= _MOST_NUMBERS
    found: dict[str, list[np.ndarray]] = {}
    with progress.bar("Intervals", resamples, unit="resamples") as advance:
        for start in range(0, resamples, _AT_A_TIME):
            size = min(_AT_A_TIME, resamples - start)
            drawn = generator.integers(0, scores.count, (size, scores.count))
            times = np.stack([np.bincount(one, minlength=scores.count) for one in drawn])
            times = times.astype(np.int32)
            for name, values in resampled.metrics(times, with_ranking).items():
                found.setdefault(name, []).append(values)
            advance(size)
    of_split = resampled.metrics(np.ones([1, scores.count], np.int32), with_ranking)
    ends = {}
    for name, parts in found.items():
        (value,), values = of_split[name], np.concatenate(parts)
        values = values[np.isfinite(values)]
        if np.isfinite(value) and len(values):
            ends[name] = _interval(name, value, values)
    return ends


def _interval(name: str, value: float, resampled: np.ndarray) -> tuple[float, float]:
    """The interval of a metric: percentiles less the bias, within what the metric can be."""
    percentiles = np.percentile(resampled, (50 - 50 * LEVEL, 50 + 50 * LEVEL))
    bias = np.median(resampled) - value
    least, largest = -1 if name == "mcc" else 0, np.inf if name == "cross_entropy" else 1
    low, high = np.clip(percentiles - bias, least, largest)
    return float(low), float(high)


class _Resampled:
    """Metrics of R resamples of scores: float64 [R] by name, NaN where one is not defined.

    The methods are given how often each picture is in each resample: int32 [R, N].
    """

    def __init__(self, scores: Scores) -> None:
        self._num_classes = scores.num_classes
        self._labels, self._predictions = scores.labels, scores.predictions
        self._correct = self._labels == self._predictions
        self._ranks, self._losses = scores.ranks, scores.losses
        self._probabilities = scores.probabilities
        confidence = self._probabilities.max(axis=1).astype(np.float64)
        self._bins, self._gaps = bins_of(confidence), self._correct - confidence

    @functools.cached_property
    def _curves(self) -> list["_Curve"]:
        """As in `metrics.compute`: of two classes, only the second has one."""
        classes = range(1, 2) if self._num_classes == 2 else range(self._num_classes)
        return [_Curve(self._labels == label, self._probabilities[:, label]) for label in classes]

    def metrics(self, times: np.ndarray, with_ranking: bool) -> dict[str, np.ndarray]:
        """All of them, or all but the areas under curves, which take by far the longest."""
        ranking = self.ranking(times) if with_ranking else {}
        return self.shares(times) | self.agreement(times) | ranking

    def shares(self, times: np.ndarray) -> dict[str, np.ndarray]:
        """Means over the pictures, and the calibration error."""
        count = times.shape[1]
        found = {f"top_{k}": times @ (self._ranks < k) / count for k in TOP_K}
        with np.errstate(invalid="ignore"):  # 0 times infinity
            found["cross_entropy"] = times @ self._losses / count
        gaps = _sums(times * self._gaps, self._bins, BINS)
        found["expected_calibration_error"] = np.abs(gaps).sum(axis=1) / count
        return found

    def agreement(self, times: np.ndarray) -> dict[str, np.ndarray]:
        """What is computed of labels and predictions."""
        hits = _sums(times * self._correct, self._labels, self._num_classes)  # [R, C]
        images = _sums(times, self._labels, self._num_classes)
        predicted = _sums(times, self._predictions, self._num_classes)
        with np.errstate(invalid="ignore", divide="ignore"):
            per_class = {
                "precision": hits / predicted,
                "recall": hits / images,
                "f1": 2 * hits / (predicted + images),
            }
            found = {f"{name}_macro": _mean(values) for name, values in per_class.items()}
            for name, values in per_class.items():
                found[f"{name}_weighted"] = _mean(values, images)
            found["balanced_accuracy"] = np.where(
                (images > 0).sum(axis=1) > 1, found["recall_macro"], np.nan
            )
            # Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation
            # coefficient", equation 8, in counts.
            squared = float(times.shape[1]) ** 2
            covariance = times.shape[1] * hits.sum(axis=1) - (images * predicted).sum(axis=1)
            spread = (squared - (images**2).sum(axis=1)) * (squared - (predicted**2).sum(axis=1))
            found["mcc"] = covariance / np.sqrt(spread)
        return found

    def ranking(self, times: np.ndarray) -> dict[str, np.ndarray]:
        """Areas under curves, averaged over the classes."""
        areas = np.stack([curve.areas(times) for curve in self._curves])  # [classes, 2, R]
        with np.errstate(invalid="ignore"):
            return {
                "roc_auc": _mean(areas[:, 0].T),
                "average_precision": _mean(areas[:, 1].T),
            }


class _Curve:
    """The pictures in the order of the probability of one class, the largest first.

    Pictures of one probability are on the same side of every threshold: a group. Areas change at
    the U groups alone that have pictures of the class.

    Args:
        positive: whether a picture is of the class, bool [N].
        probabilities: of the class, float32 [N].
    """

    def __init__(self, positive: np.ndarray, probabilities: np.ndarray) -> None:
        self._order = np.argsort(-probabilities, kind="stable")
        ordered = probabilities[self._order]
        ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
        self._positive = np.flatnonzero(positive[self._order])
        groups, self._first = np.unique(np.searchsorted(ends, self._positive), return_index=True)
        # In cumulative sums with a 0 before them, up to where a group begins and ends.
        self._begin = np.where(groups > 0, ends[groups - 1] + 1, 0)
        self._end = ends[groups] + 1

    def areas(self, times: np.ndarray) -> np.ndarray:
        """Area under the ROC curve and average precision: float64 [2, R]."""
        times = times[:, self._order]
        count = np.zeros([len(times), times.shape[1] + 1], np.int32)
        times.cumsum(axis=1, out=count[:, 1:])
        above, before = count[:, self._end], count[:, self._begin]  # [R, U]
        if not len(self._first):
            return np.full([2, len(times)], np.nan)
        new_hits = np.add.reduceat(times[:, self._positive], self._first, axis=1)
        hits = new_hits.cumsum(axis=1)
        new_misses = above - before - new_hits
        positives = hits[:, -1].astype(np.float64)
        negatives = count[:, -1] - positives
        misses_below = negatives[:, np.newaxis] - (above - hits)
        with np.errstate(invalid="ignore", divide="ignore"):
            # Of a pair, the positive one comes first, or both have the same probability: 1/2.
            pairs = new_hits * (misses_below + new_misses / 2)
            roc_auc = pairs.sum(axis=1) / (positives * negatives)
            precision = np.where(above > 0, hits / above, 0)
            average_precision = (new_hits * precision).sum(axis=1) / positives
        average_precision[negatives == 0] = np.nan
        return np.stack([roc_auc, average_precision])


def _sums(values: np.ndarray, bins: np.ndarray, count: int) -> np.ndarray:
    """The values [R, N] summed up by the bins [N] of their columns: float64 [R, count]."""
    return np.stack([np.bincount(bins, weights=row, minlength=count) for row in values])


def _mean(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Means of the rows of [R, C] without their NaN: [R], NaN of a row that has nothing else."""
    weights = np.ones_like(values) if weights is None else weights
    weights = np.where(np.isnan(values), 0, weights)
    return (np.nan_to_num(values) * weights).sum(axis=1) / weights.sum(axis=1)
