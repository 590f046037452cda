"""Metrics against plain references, scikit-learn, numbers by hand, and the easily wrong cases."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from core.errors import DivergedError
from engine import bootstrap
from engine.metrics import PerClass, calibration, compute
from engine.scores import Scores, bins_of

NAMES = tuple("abcdefghijklmnop")


def scored(logits, labels, **arguments):
    scores = Scores(np.shape(logits)[1])
    scores.add(np.asarray(logits, np.float32), np.asarray(labels), **arguments)
    return scores


def random_scores(count, classes, *, seed=0, skill=1.0):
    noise = np.random.RandomState(seed)
    labels = noise.randint(0, classes, count)
    logits = noise.normal(scale=2.0, size=(count, classes))
    logits[np.arange(count), labels] += skill
    return scored(logits, labels)


def certain(predictions, labels, classes):
    """Scores of a classifier that is certain of each of its predictions."""
    return scored(50.0 * np.eye(classes)[predictions], labels)


# Scores.


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
def test_scores_are_equal_to_a_reference(classes, batch_size):
    noise = np.random.RandomState(classes)
    # Rounded, so that there are ties.
    logits = noise.normal(scale=2.0, size=(40, classes)).round(0).astype(np.float32)
    labels = noise.randint(0, classes, 40)
    scores = Scores(classes)
    for start in range(0, 40, batch_size):
        scores.add(logits[start : start + batch_size], labels[start : start + batch_size])
    accuracy, recall, loss = reference(logits, labels, 3)
    assert scores.count == 40
    assert scores.accuracy == accuracy
    assert (scores.ranks < 3).mean() == recall
    assert scores.losses.mean() == pytest.approx(loss, rel=1e-12)
    expected = np.zeros((classes, classes), int)
    for row, label in zip(logits, labels, strict=True):
        expected[label, row.argmax()] += 1
    np.testing.assert_array_equal(scores.confusion, expected)
    np.testing.assert_array_equal(scores.logits, logits)
    assert scores.probabilities.dtype == np.float32
    exponentials = np.exp(logits.astype(np.float64))
    softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores.probabilities, softmax, rtol=1e-6)


def test_equal_logits_count_for_the_first_classes():
    scores = scored(np.full((8, 7), 3.0), [0, 1, 2, 3, 4, 5, 6, 0])
    assert scores.accuracy == 2 / 8  # label 0
    assert scores.ranks.tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
    assert scores.losses == pytest.approx([np.log(7)] * 8)


def test_huge_logits_do_not_overflow():
    scores = scored([[3e38, -3e38], [1e4, 0.0]], [0, 1])
    assert scores.losses.tolist() == [0, 10000]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite(bad):
    scores = Scores(2)
    with pytest.raises(DivergedError, match="outputs NaN or Inf"):
        scores.add(np.array([[0.0, 1.0], [bad, 0.0]], np.float32), np.array([0, 1]))
    assert scores.count == 0


def test_probabilities_alone():
    scores = Scores(3)
    given = np.array([[0.25, 0.5, 0.25], [0.0, 0.875, 0.125]], np.float32)
    scores.add_probabilities(given, np.array([1, 2]))
    np.testing.assert_allclose(scores.probabilities, given, rtol=1e-6)
    assert scores.losses == pytest.approx([np.log(2), np.log(8)], rel=1e-6)
    scores.add_probabilities(given[1:], np.array([0]))
    found = compute(scores, NAMES[:3])
    assert found.values["cross_entropy"] is None
    assert found.undefined["cross_entropy"] == "infinite: 1 labels have a probability of 0"
    with pytest.raises(DivergedError):
        scores.add_probabilities(np.array([[np.nan, 0, 1]], np.float32), np.array([0]))


def test_names():
    scores = Scores(2)
    scores.add(np.zeros([2, 2], np.float32), np.array([0, 1]))
    scores.add(np.zeros([3, 2], np.float32), np.array([0, 1, 1]), [b"a/b.png", b"", b"\xff.png"])
    assert scores.names == ["record 0", "record 1", "a/b.png", "record 3", r"\xff.png"]


# A case by hand: the confusion matrix [[3, 1, 0], [1, 2, 1], [0, 0, 2]].

PREDICTED = [0, 0, 0, 1, 0, 1, 1, 2, 2, 2]
LABELLED = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]


def test_by_hand():
    found = compute(certain(PREDICTED, LABELLED, 3), ("x", "y", "z"))
    x, y, z = found.per_class
    assert x[:6] == (0, "x", 4, 4, 3 / 4, 3 / 4)
    assert y[:6] == (1, "y", 4, 3, 2 / 3, 2 / 4)
    assert z[:6] == (2, "z", 2, 3, 2 / 3, 1.0)
    assert [one.f1 for one in found.per_class] == pytest.approx([6 / 8, 4 / 7, 4 / 5])
    values = found.values
    assert values["top_1"] == 7 / 10
    assert values["precision_macro"] == pytest.approx((3 / 4 + 2 / 3 + 2 / 3) / 3)
    assert values["precision_weighted"] == pytest.approx((4 * 3 / 4 + 4 * 2 / 3 + 2 * 2 / 3) / 10)
    assert values["recall_macro"] == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    assert values["balanced_accuracy"] == values["recall_macro"]
    assert values["recall_weighted"] == pytest.approx(7 / 10)
    assert values["f1_macro"] == pytest.approx((6 / 8 + 4 / 7 + 4 / 5) / 3)
    assert values["f1_weighted"] == pytest.approx((4 * 6 / 8 + 4 * 4 / 7 + 2 * 4 / 5) / 10)
    # Gorodkin's coefficient of counts: 10 * 7 right ones - (4*4 + 4*3 + 2*3), over the root of
    # (100 - 16 - 9 - 9) predicted and (100 - 16 - 16 - 4) labelled.
    assert values["mcc"] == pytest.approx((70 - 34) / (66 * 64) ** 0.5)
    # Of class x against the rest, 3 of 4 pictures come before, 1 of 6 others does, ties count 1/2:
    # (3 * 5 + (3 * 1 + 1 * 5) / 2) / 24.
    assert x.roc_auc == pytest.approx(19 / 24)
    # Of z: both come first, with one other: precision 2/3 at a recall of 1.
    assert z.average_precision == pytest.approx(2 / 3)
    # All are certain, 7 of 10 right.
    assert values["expected_calibration_error"] == pytest.approx(0.3)


def test_calibration_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.92, 0.08], [0.55, 0.45], [0.5, 0.5]], np.float32)
    scores = Scores(2)
    scores.add_probabilities(probabilities, np.array([0, 1, 1, 0]))
    found = calibration(scores)
    # Bins of 1/15: 0.9 and 0.92 are in (13/15, 14/15], 0.55 in (8/15, 9/15], 0.5 in (7/15, 8/15].
    assert found.count.tolist() == [0] * 7 + [1, 1, 0, 0, 0, 0, 2, 0]
    assert found.confidence[[7, 8, 13]] == pytest.approx([0.5, 0.55, 0.91])
    assert found.accuracy[[7, 8, 13]].tolist() == [1, 0, 0.5]
    assert np.isnan(found.accuracy[0])
    assert found.error == pytest.approx((0.5 + 0.55 + 2 * 0.41) / 4)


def test_a_confidence_on_the_edge_is_in_the_lower_bin():
    confidences = np.array([1 / 15, 0.2, np.nextafter(0.2, 1), 1.0])
    assert bins_of(confidences).tolist() == [0, 2, 3, 14]


# Random predictions, against scikit-learn.


@pytest.mark.parametrize("classes", [2, 3, 7, 16])
def test_equal_to_scikit_learn(classes):
    scores = random_scores(300, classes, seed=classes)
    found = compute(scores, NAMES[:classes]).values
    labels, predictions = scores.labels, scores.predictions
    probabilities = scores.probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    expected = {
        "top_1": sklearn_metrics.accuracy_score(labels, predictions),
        "cross_entropy": sklearn_metrics.log_loss(labels, probabilities),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(labels, predictions),
        "mcc": sklearn_metrics.matthews_corrcoef(labels, predictions),
    }
    for name in ("precision", "recall", "f1"):
        metric = getattr(sklearn_metrics, f"{name}_score")
        for average in ("macro", "weighted"):
            expected[f"{name}_{average}"] = metric(labels, predictions, average=average)
    if classes == 2:
        expected["roc_auc"] = sklearn_metrics.roc_auc_score(labels, probabilities[:, 1])
        expected["average_precision"] = sklearn_metrics.average_precision_score(
            labels, probabilities[:, 1]
        )
    else:
        expected["roc_auc"] = sklearn_metrics.roc_auc_score(
            labels, probabilities, multi_class="ovr", average="macro"
        )
        one_hot = np.eye(classes)[labels]
        expected["average_precision"] = sklearn_metrics.average_precision_score(
            one_hot, probabilities, average="macro"
        )
    for k in (3, 5):
        if k < classes:
            expected[f"top_{k}"] = sklearn_metrics.top_k_accuracy_score(labels, probabilities, k=k)
    defined = {name: value for name, value in found.items() if value is not None}
    assert defined.pop("expected_calibration_error") == pytest.approx(error_by_bins(scores))
    assert defined == pytest.approx(expected, rel=1e-6)


def error_by_bins(scores):
    """The expected calibration error, bin by bin."""
    total = 0.0
    rows = list(zip(scores.probabilities, scores.labels, strict=True))
    for number in range(15):
        inside = [
            (max(row), row.argmax() == label)
            for row, label in rows
            if number / 15 < max(row) <= (number + 1) / 15
        ]
        if inside:
            confidence, right = np.mean(inside, axis=0)
            total += len(inside) / len(rows) * abs(confidence - right)
    return total


# What is not defined.


def test_one_class_present():
    found = compute(certain([0, 0, 1], [0, 0, 0], 3), ("cat", "dog", "ox"), resamples=20)
    nothing = "all pictures are of the class cat"
    for name in ("balanced_accuracy", "mcc", "roc_auc", "average_precision"):
        assert found.values[name] is None
        assert found.undefined[name] == nothing
        assert name not in found.intervals
    cat, dog, ox = found.per_class
    assert cat == PerClass(0, "cat", 3, 2, 1.0, 2 / 3, pytest.approx(0.8), None, None)
    assert dog == PerClass(1, "dog", 0, 1, 0.0, None, 0.0, None, None)
    assert ox == PerClass(2, "ox", 0, 0, None, None, None, None, None)
    assert found.values["recall_macro"] == pytest.approx(2 / 3)
    assert found.left_out["recall_macro"] == ["dog", "ox"]
    assert found.left_out["precision_macro"] == ["ox"]


def test_one_class_predicted():
    found = compute(certain([1, 1, 1, 1], [0, 1, 1, 0], 2), ("no", "yes"))
    assert found.values["mcc"] is None
    assert found.undefined["mcc"] == "all predictions are of the class yes"
    assert found.values["balanced_accuracy"] == 0.5
    no, yes = found.per_class
    assert (no.precision, no.recall, no.f1) == (None, 0.0, 0.0)
    assert (yes.precision, yes.recall) == (0.5, 1.0)
    assert found.values["precision_macro"] == 0.5
    assert found.left_out == {"precision_macro": ["no"], "precision_weighted": ["no"]}
    assert found.values["roc_auc"] == 0.5  # all are tied


def test_no_class_with_pictures_is_predicted():
    found = compute(certain([2, 2], [0, 1], 3), NAMES[:3])
    assert found.values["precision_macro"] == 0.0  # of the class c
    assert found.values["precision_weighted"] is None
    assert found.undefined["precision_weighted"] == "no class with pictures is ever predicted"


def test_a_class_without_pictures_is_left_out_of_the_areas():
    scores = random_scores(60, 3)
    with_all = compute(scores, NAMES[:3])
    wider = scored(np.column_stack([scores.logits, np.full(60, -80.0)]), scores.labels)
    found = compute(wider, NAMES[:4])
    assert found.left_out["roc_auc"] == ["d"]
    assert found.values["roc_auc"] == pytest.approx(with_all.values["roc_auc"])


@pytest.mark.parametrize(("classes", "undefined"), [(2, {3, 5}), (3, {3, 5}), (4, {5}), (6, set())])
def test_top_k_of_few_classes(classes, undefined):
    """With no more than k classes everything is among the first k."""
    found = compute(random_scores(30, classes), NAMES[:classes])
    assert {k for k in (3, 5) if found.values[f"top_{k}"] is None} == undefined
    for k in undefined:
        assert found.undefined[f"top_{k}"] == f"there are {classes} classes"


# Intervals.


@pytest.mark.parametrize("classes", [2, 4])
def test_resampled_metrics_are_those_of_the_resample(classes):
    """Each resample's metrics against those of its pictures, written out, by scikit-learn."""
    scores = random_scores(40, classes, seed=3)
    scores.logits[::5] = scores.logits[0]  # ties
    drawn = np.random.RandomState(0).randint(0, 40, (6, 40))
    drawn[5] = np.flatnonzero(scores.labels == 1)[0]  # one class alone
    times = np.stack([np.bincount(one, minlength=40) for one in drawn]).astype(np.int32)
    resampled = bootstrap._Resampled(scores)
    found = resampled.metrics(times, with_ranking=True)
    for number, pictures in enumerate(drawn):
        expected = compute(scored(scores.logits[pictures], scores.labels[pictures]), NAMES).values
        for name, value in expected.items():
            if value is not None:
                assert found[name][number] == pytest.approx(value, abs=1e-6), name
            elif not name.startswith("top_"):
                assert np.isnan(found[name][number]), name


def test_the_interval_of_an_accuracy_is_that_of_its_binomial():
    """Of 400 pictures, 320 right: the percentiles of Binomial(400, 0.8) / 400, by scipy."""
    from scipy import stats

    predictions = [0] * 320 + [1] * 80
    found = compute(certain(predictions, [0] * 400, 2), NAMES[:2], resamples=4000)
    low, high = stats.binom(400, 0.8).ppf([0.025, 0.975]) / 400
    assert found.intervals["top_1"] == pytest.approx((low, high), abs=0.005)
    assert found.resamples == 4000


def test_intervals_hold_the_value_and_are_the_same_again():
    scores = random_scores(200, 3)
    found = compute(scores, NAMES[:3], resamples=150)
    defined = {name for name, value in found.values.items() if value is not None}
    assert found.intervals.keys() == defined
    for name in defined:
        low, high = found.intervals[name]
        assert low < found.values[name] < high
    assert compute(scores, NAMES[:3], resamples=150).intervals == found.intervals


def test_intervals_are_around_the_value_though_resamples_are_biased():
    """Of three pictures of a class, one is often in a resample twice, or none."""
    scores = random_scores(300, 100, skill=6.0)
    labels, predictions = scores.labels, scores.predictions
    found = compute(scores, list(map(str, range(100))), resamples=100)
    value, (low, high) = found.values["f1_macro"], found.intervals["f1_macro"]
    noise = np.random.RandomState(0)
    resampled = [
        sklearn_metrics.f1_score(labels[drawn], predictions[drawn], average="macro")
        for drawn in noise.randint(0, 300, (100, 300))
    ]
    ends = np.percentile(resampled, [2.5, 97.5])
    assert value > np.mean(resampled) + np.std(resampled)
    assert (low + high) / 2 == pytest.approx(value, abs=np.std(resampled) / 2)
    assert high - low == pytest.approx(ends[1] - ends[0], rel=0.3)


def test_intervals_stay_within_what_a_metric_can_be():
    scores = random_scores(30, 6, skill=3.0)
    found = compute(scores, NAMES[:6], resamples=100)
    assert max(found.intervals["f1_macro"][1], found.intervals["roc_auc"][1]) <= 1
    assert min(low for low, _ in found.intervals.values()) >= 0


def test_no_intervals():
    found = compute(random_scores(20, 3), NAMES[:3])
    assert (found.intervals, found.resamples) == ({}, 0)
