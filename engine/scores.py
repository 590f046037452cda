"""What a classifier gave for the pictures of a split: what metrics are computed of."""

import itertools
from collections.abc import Sequence

import numpy as np

from core.errors import DivergedError

TOP_K = (1, 3, 5)
# Bins of equal width of the calibration error (Guo et al. 2017, "On Calibration of Modern Neural
# Networks", section 4.1).
BINS = 15


class Scores:
    r"""What a classifier gave for the N pictures of a split, in the order of its records.

    Args:
        num_classes: C.

    Attributes:
        names: paths of the pictures, bytes that are not UTF-8 as \xNN; "record 17" where a record
            has none.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.names: list[str] = []
        self._batches: list[tuple[np.ndarray, np.ndarray]] = [
            (np.zeros([0, num_classes], np.float32), np.zeros([0], np.int64))
        ]

    def add(self, logits: np.ndarray, labels: np.ndarray, names: Sequence[bytes] = ()) -> None:
        """Adds a batch.

        Args:
            logits: float32 [n, C].
            labels: int64 [n], each in 0..C-1.
            names: paths of the pictures, empty where a record has none.

        Raises:
            DivergedError: a logit is not finite.
        """
        _check_finite(logits)
        self._add(logits, labels, names)

    def add_probabilities(
        self, probabilities: np.ndarray, labels: np.ndarray, names: Sequence[bytes] = ()
    ) -> None:
        """Adds a batch of a classifier that tells its probabilities alone: float32 [n, C].

        Args and errors are those of `add`.
        """
        _check_finite(probabilities)
        with np.errstate(divide="ignore"):
            self._add(np.log(probabilities), labels, names)

    def _add(self, logits: np.ndarray, labels: np.ndarray, names: Sequence[bytes]) -> None:
        for _, name in itertools.zip_longest(labels, names, fillvalue=b""):
            readable = name.decode("utf-8", "backslashreplace")
            self.names.append(readable or f"record {len(self.names)}")
        self._batches.append((logits, labels))

    def _all(self) -> tuple[np.ndarray, np.ndarray]:
        if len(self._batches) > 1:
            logits, labels = zip(*self._batches, strict=True)
            self._batches = [(np.concatenate(logits), np.concatenate(labels))]
        return self._batches[0]

    @property
    def count(self) -> int:
        """N, how many pictures were added."""
        return len(self.names)

    @property
    def logits(self) -> np.ndarray:
        """float32 [N, C]; -inf where a classifier that tells probabilities alone gave 0."""
        return self._all()[0]

    @property
    def labels(self) -> np.ndarray:
        """int64 [N]."""
        return self._all()[1]

    @property
    def predictions(self) -> np.ndarray:
        """int64 [N], the class of the largest logit; of equal ones the lowest."""
        return self.logits.argmax(axis=1)

    @property
    def probabilities(self) -> np.ndarray:
        """float32 [N, C], the softmax of the logits."""
        return np.exp(self._log_probabilities()).astype(np.float32)

    def _log_probabilities(self) -> np.ndarray:
        logits = self.logits.astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    @property
    def losses(self) -> np.ndarray:
        """Cross-entropy of each picture, nats: float64 [N]."""
        return -np.take_along_axis(self._log_probabilities(), self.labels[:, np.newaxis], 1)[:, 0]

    @property
    def ranks(self) -> np.ndarray:
        """How many classes come before the label, int64 [N]; among equal ones the lower are first.

        So a rank of 0 is a right prediction.
        """
        labels = self.labels[:, np.newaxis]
        own = np.take_along_axis(self.logits, labels, axis=1)
        lower = np.arange(self.num_classes) < labels
        return ((self.logits > own) | ((self.logits == own) & lower)).sum(axis=1)

    @property
    def confusion(self) -> np.ndarray:
        """How many pictures of each label have each prediction: int64 [label, prediction]."""
        pairs = self.labels * self.num_classes + self.predictions
        counts = np.bincount(pairs, minlength=self.num_classes**2)
        return counts.reshape(self.num_classes, self.num_classes)

    @property
    def accuracy(self) -> float:
        """Share of the pictures whose largest logit is their label's."""
        return float((self.predictions == self.labels).sum() / self.count)


def _check_finite(values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise DivergedError("the model outputs NaN or Inf", remedy="take an older checkpoint")


def bins_of(confidence: np.ndarray) -> np.ndarray:
    """The bin of each confidence: number b has those in (b / BINS, (b + 1) / BINS]."""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
