"""Metrics against a plain reference, and the cases that are easily wrong."""

import numpy as np
import pytest

from core.errors import DivergedError
from engine.metrics import Metrics


def reference(logits, labels, k):
    """Accuracy, recall and mean cross-entropy, picture by picture."""
    hits = recalled = loss = 0
    for row, label in zip(logits.astype(np.float64), labels, strict=True):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c))
        hits += order[0] == label
        recalled += label in order[:k]
        loss += np.log(sum(np.exp(row - row[label])))
    return hits / len(labels), recalled / len(labels), loss / len(labels)


@pytest.mark.parametrize("classes", [2, 4, 5, 12])
@pytest.mark.parametrize("batch_size", [1, 7, 40])
def test_equal_to_a_reference(classes, batch_size):
    noise = np.random.RandomState(classes)
    # Rounded, so that there are ties.
    logits = noise.normal(scale=2.0, size=(40, classes)).round(0).astype(np.float32)
    labels = noise.randint(0, classes, 40)
    found = Metrics(classes)
    for start in range(0, 40, batch_size):
        found.add(logits[start : start + batch_size], labels[start : start + batch_size])
    accuracy, recall, loss = reference(logits, labels, min(5, classes))
    assert found.count == 40
    assert found.accuracy == accuracy
    assert found.recall == recall
    assert found.loss == pytest.approx(loss, rel=1e-12)
    assert found.top_k == min(5, classes)
    expected = np.zeros((classes, classes), int)
    for row, label in zip(logits, labels, strict=True):
        expected[label, row.argmax()] += 1
    np.testing.assert_array_equal(found.confusion, expected)


def test_equal_logits_count_for_the_first_classes():
    labels = np.array([0, 1, 2, 3, 4, 5, 6, 0])
    found = Metrics(7)
    found.add(np.full((8, 7), 3.0, np.float32), labels)
    assert found.accuracy == 2 / 8  # label 0
    assert found.recall == 6 / 8  # labels 0 to 4
    assert found.loss == pytest.approx(np.log(7))


def test_few_classes_are_all_recalled():
    found = Metrics(3)
    found.add(np.eye(3, dtype=np.float32), np.array([1, 2, 0]))
    assert (found.accuracy, found.recall, found.top_k) == (0.0, 1.0, 3)


def test_huge_logits_do_not_overflow():
    found = Metrics(2)
    found.add(np.array([[3e38, -3e38], [1e4, 0.0]], np.float32), np.array([0, 1]))
    assert found.loss == 5000.0  # 0 and 10000


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite(bad):
    found = Metrics(2)
    with pytest.raises(DivergedError, match="outputs NaN or Inf"):
        found.add(np.array([[0.0, 1.0], [bad, 0.0]], np.float32), np.array([0, 1]))
    assert found.count == 0
