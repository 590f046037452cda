"""How right a classifier is, counted batch by batch."""

import numpy as np

from core.errors import DivergedError


class Metrics:
    """Accuracy, top-5 recall, cross-entropy and confusion over the pictures that were added.

    Args:
        num_classes: C.
    """

    def __init__(self, num_classes: int) -> None:
        self.top_k = min(5, num_classes)
        self.confusion = np.zeros((num_classes, num_classes), np.int64)  # [label, prediction]
        self._hits = 0
        self._cross_entropy = 0.0

    def add(self, logits: np.ndarray, labels: np.ndarray) -> None:
        """Counts a batch.

        Args:
            logits: float32 [N, C].
            labels: int64 [N], each in 0..C-1.

        Raises:
            DivergedError: a logit is not finite.
        """
        if not np.isfinite(logits).all():
            raise DivergedError("the model outputs NaN or Inf", remedy="take an older checkpoint")
        logits = logits.astype(np.float64)
        own = np.take_along_axis(logits, labels[:, np.newaxis], axis=1)  # [N, 1]
        np.add.at(self.confusion, (labels, logits.argmax(axis=1)), 1)
        # The rank of the label's logit; among equal ones the lower class comes first, as in argmax.
        classes = np.arange(logits.shape[1])
        before = (logits > own) | ((logits == own) & (classes < labels[:, np.newaxis]))
        self._hits += int((before.sum(axis=1) < self.top_k).sum())
        largest = logits.max(axis=1, keepdims=True)
        log_sum = largest + np.log(np.exp(logits - largest).sum(axis=1, keepdims=True))
        self._cross_entropy += float((log_sum - own).sum())

    @property
    def count(self) -> int:
        """How many pictures were added."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of the pictures whose largest logit is their label's."""
        return float(self.confusion.trace() / self.count)

    @property
    def recall(self) -> float:
        """Share of the pictures whose label is among the `top_k` largest logits."""
        return self._hits / self.count

    @property
    def loss(self) -> float:
        """Mean cross-entropy, nats."""
        return self._cross_entropy / self.count
