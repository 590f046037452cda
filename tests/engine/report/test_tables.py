"""The files of an evaluation, read back, and its tables as text."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest

from engine import metrics
from engine.evaluation import Result
from engine.report import tables
from engine.scores import Scores

NAMES = ("cat", "=dog, big", "ox")
LABELS = [0, 0, 1, 0]
# Of four pictures: right, wrong, right, wrong; no ox is there, and none is predicted.
LOGITS = [[2, 0, 0], [0, 1, 0], [0, 3, 1], [0, 1, 0.5]]
PATHS = [b"cat/1.png", b"@2.png", b"", b"d/\xff.png"]
DATASET = SimpleNamespace(name="pets", split="test")


@pytest.fixture
def scores():
    scores = Scores(3)
    scores.add(np.array(LOGITS, np.float32), np.array(LABELS), PATHS)
    return scores


@pytest.fixture
def written(scores, tmp_path):
    """The directory of what was written of `scores`."""
    found = metrics.compute(scores, NAMES, resamples=50)
    content = tables.results(
        Result("run/model.ckpt-7", 7, scores, 1.23456, net=None), found, DATASET
    )
    tables.write(tmp_path, content, found, scores)
    return tmp_path


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_results(written):
    found = json.loads((written / "results.json").read_text())
    logits = np.array(LOGITS)
    loss = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[range(4), LABELS])
    assert found["loss"] == pytest.approx(loss)
    assert found["metrics"]["cross_entropy"] == found["loss"]
    del found["loss"]
    assert {name: found[name] for name in list(found)[:9]} == {
        "checkpoint": "run/model.ckpt-7",
        "global_step": 7,
        "dataset": "pets",
        "split": "test",
        "images": 4,
        "accuracy": 0.5,
        "recall_5": 1.0,
        "recall_k": 3,
        "seconds": 1.235,
    }
    assert found["metrics"]["top_1"] == 0.5
    assert found["metrics"]["f1_macro"] == pytest.approx((2 / 4 + 2 / 4) / 2)
    assert found["metrics"]["top_5"] is None
    assert found["undefined"]["top_5"] == "there are 3 classes"
    assert found["left_out"]["precision_macro"] == ["ox"]
    assert (found["intervals"]["level"], found["intervals"]["resamples"]) == (0.95, 50)
    low, high = found["intervals"]["top_1"]
    assert 0 <= low < 0.5 < high <= 1


def test_per_class(written):
    header, cat, dog, ox = rows(written / "per_class.csv")
    assert ",".join(header) == (
        "label,name,images,predicted,precision,recall,f1,roc_auc,average_precision"
    )
    assert cat[:4] == ["0", "cat", "3", "1"]
    assert [float(cell) for cell in cat[4:7]] == pytest.approx([1, 1 / 3, 1 / 2])
    assert dog[:4] == ["1", "'=dog, big", "1", "3"]
    assert ox == ["2", "ox", "0", "0", "", "", "", "", ""]


def test_confusion_matrix(written):
    assert rows(written / "confusion_matrix.csv") == [
        ["label \\ prediction", "cat", "'=dog, big", "ox"],
        ["cat", "1", "2", "0"],
        ["'=dog, big", "0", "1", "0"],
        ["ox", "0", "0", "0"],
    ]


def test_predictions(written, scores):
    header, *found = rows(written / "predictions.csv")
    assert header == [
        *("path", "label", "prediction"),
        *("probability of cat", "probability of =dog, big", "probability of ox"),
    ]
    assert [row[:3] for row in found] == [
        ["cat/1.png", "cat", "cat"],
        ["'@2.png", "cat", "'=dog, big"],
        ["record 2", "'=dog, big", "'=dog, big"],
        [r"d/\xff.png", "cat", "'=dog, big"],
    ]
    # The text gives back the same float32.
    probabilities = np.array([row[3:] for row in found], np.float32)
    np.testing.assert_array_equal(probabilities, scores.probabilities)


def test_a_full_disk_keeps_what_was_there(scores, tmp_path, no_file_beyond):
    (tmp_path / "results.json").write_text("old")
    found = metrics.compute(scores, NAMES)
    content = tables.results(Result("c", 1, scores, 1.0, net=None), found, DATASET)
    with no_file_beyond(100), pytest.raises(OSError, match="large"):
        tables.write(tmp_path, content, found, scores)
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    assert (tmp_path / "results.json").read_text() == "old"


def test_confusion_table():
    scores = Scores(3)
    predictions, labels = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 0, 0, 1, 2, 2])
    scores.add(np.eye(3, dtype=np.float32)[predictions], labels)
    assert tables.confusion_table(scores, ("cat", "horse", "ox")).splitlines() == [
        "",
        "    label    0   1   2  prediction",
        "  cat   0    2   1   0",
        "horse   1    0   0   1",
        "   ox   2    0   0   2",
    ]


def test_metrics_table(scores):
    lines = tables.metrics_table(metrics.compute(scores, NAMES)).splitlines()
    assert "top_1                       0.5000" in lines
    assert "top_3                       undefined: there are 3 classes" in lines
    assert "precision_macro             0.6667, classes left out: 1" in lines
    with_intervals = metrics.compute(scores, NAMES, resamples=200)
    low, high = with_intervals.intervals["mcc"]
    value = with_intervals.values["mcc"]
    expected = f"mcc                         {value:.4f}  ({low:.4f} to {high:.4f})"
    assert expected in tables.metrics_table(with_intervals).splitlines()
