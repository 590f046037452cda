"""Classes of few and of many pictures: what each weighs in the loss, how often its pictures come.

All counts and weights are of the classes after --labels_offset, in their order.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from core.errors import FlagError
from datasets import verification
from datasets.spec import LoadedSplit
from engine.flags.imbalance import BALANCED

_FEW = 10  # classes whose weights find room on a line of the log


@functools.lru_cache(maxsize=1)
def labels(dataset: LoadedSplit, labels_offset: int) -> np.ndarray:
    """The label of each record of a split, int64 [records]; they are read once.

    Raises:
        DataError: a record is damaged, or has no label that is one.
    """
    return np.array(verification.labels(dataset, labels_offset), np.int64) - labels_offset


def class_counts(dataset: LoadedSplit, labels_offset: int) -> np.ndarray:
    """Pictures per class, int64 [classes], of at least one class more than 0.

    Where dataset.json does not tell them, as in data of research/slim, the records are read.

    Raises:
        DataError: as `labels`.
    """
    classes = dataset.num_classes - labels_offset
    told = np.array(dataset.class_counts[labels_offset:], np.int64)
    if len(told) == classes and told.sum() == dataset.num_samples:
        return told
    return np.bincount(labels(dataset, labels_offset), minlength=classes)


def balanced_epoch(counts: np.ndarray) -> int:
    """Pictures of an epoch in which each class that has any comes as often as the largest.

    Args:
        counts: pictures per class, int64 [classes].
    """
    return int(np.count_nonzero(counts) * counts.max())


def class_weights(dataset: LoadedSplit, config: Any) -> list[float] | None:
    """What the loss of a picture of each class is multiplied by; None without --class_weights.

    Args:
        dataset: the split that is trained on.
        config: read here: class_weights, labels_offset.

    Raises:
        FlagError: the file of --class_weights does not give each class its weight.
        DataError: as `class_counts`.
    """
    if config.class_weights is None:
        return None
    names = dataset.class_names[config.labels_offset :]
    if config.class_weights == BALANCED:
        counts = class_counts(dataset, config.labels_offset)
        weights = balanced(counts)
        empty = [name for name, count in zip(names, counts, strict=True) if not count]
        if empty:
            logging.warning("No pictures, hence no weight: %s", ", ".join(empty))
    else:
        weights = list(read_weights(Path(config.class_weights), names).values())
    _log(names, weights)
    return weights


def balanced(counts: np.ndarray) -> list[float]:
    """Weights with which each class that has pictures has the same part in the loss of an epoch.

    N / (C x count) for N pictures of C classes that have any, as compute_class_weight("balanced")
    of scikit-learn; their mean over the pictures is 1. A class without pictures has 0.

    Args:
        counts: pictures per class, int64 [classes].
    """
    pictures, classes = counts.sum(), np.count_nonzero(counts)
    return [float(pictures / (classes * count)) if count else 0.0 for count in counts]


def recorded_weights(dataset: LoadedSplit, config: Any) -> str | dict[str, float] | None:
    """What run.json says of --class_weights: of a file, what it holds, so that a change shows.

    Args and errors: those of `class_weights`.
    """
    if config.class_weights in (None, BALANCED):
        return config.class_weights
    return read_weights(Path(config.class_weights), dataset.class_names[config.labels_offset :])


def read_weights(path: Path, names: Sequence[str]) -> dict[str, float]:
    """The weights in a file of lines "name:weight", in the order of the names.

    Args:
        path: of the file; blank lines in it are passed over.
        names: of the classes.

    Raises:
        FlagError: it cannot be read, a class is missing, unknown or there twice, a weight is none,
            or all are 0.
    """
    try:
        # Not splitlines: it also splits at characters that may stand in a name, such as U+2028.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise FlagError(
            f"--class_weights cannot be read: {reason}",
            where=str(path),
            remedy=f"pass {BALANCED}, or a file with one line name:weight per class",
        ) from None
    found: dict[str, float] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        # A name may hold colons.
        name, _, weight = line.rpartition(":")
        problem = _problem(name, weight, names, found) if name else f"not name:weight: {line[:80]}"
        if problem:
            raise FlagError(problem, where=f"{path}:{number}")
        found[name] = float(weight)
    missing = [name for name in names if name not in found]
    if missing:
        raise FlagError(
            f"no weight for {', '.join(missing[:5])}{', ...' * (len(missing) > 5)}",
            where=str(path),
            remedy="add a line name:weight for each class",
        )
    if not any(map(np.float32, found.values())):
        raise FlagError("all weights are 0", where=str(path), remedy="raise one of them")
    return {name: found[name] for name in names}


def _problem(name: str, weight: str, names: Sequence[str], before: dict[str, float]) -> str:
    """What is wrong with a line of a file of weights, or ""."""
    try:
        with np.errstate(over="ignore"):
            value = np.float32(float(weight))  # which the loss is computed in
    except ValueError:
        value = np.nan
    if not (np.isfinite(value) and value >= 0):
        return f"the weight of {name[:80]} is not a finite number from 0: {weight.strip()[:80]}"
    if name not in names:
        return f"no class is named {name[:80]!r}: they are {', '.join(names[:20])}"
    return f"a second weight for {name}" if name in before else ""


def _log(names: Sequence[str], weights: Sequence[float]) -> None:
    """Says the weights; of many classes, the smallest and the largest."""
    said = [f"{name} {weight:.4g}" for name, weight in zip(names, weights, strict=True)]
    if len(said) > _FEW:
        order = np.argsort(weights, kind="stable")
        said = [said[order[0]], "...", said[order[-1]]]
    logging.info("Class weights: %s", ", ".join(said))
