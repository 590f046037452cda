"""The whole report of an evaluation of a real run: which files there are, and what goes again."""

import csv
import importlib.util
import json

import PIL.Image
import pytest

from core.errors import MachineError

PICTURES = {
    *("confusion_matrix.png", "roc.png", "precision_recall.png", "reliability.png"),
    "mistakes.png",
}
TABLES = {"results.json", "per_class.csv", "confusion_matrix.csv", "predictions.csv"}


def files_of(directory):
    """Names of its files, but for event files and the lock."""
    hidden = ("events.out.tfevents.", ".lock")
    return {p.name for p in directory.iterdir() if p.is_file() and not p.name.startswith(hidden)}


def test_the_report(finished_run, evaluate, events_of, capsys, tmp_path):
    run = finished_run("lenet")  # after 7 steps it takes all five pictures for shade0
    (tmp_path / ".tmp-999999999-ab-results.json").touch()  # of one that was killed
    evaluate(run, f"--eval_dir={tmp_path}", "--explain=2", "--bootstrap_resamples=20")
    assert files_of(tmp_path) == PICTURES | TABLES
    assert files_of(tmp_path / "explain") == {"001.png", "002.png"}
    for path in tmp_path.rglob("*.png"):
        with PIL.Image.open(path) as picture:
            picture.load()
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [f"shade{i}" for i in (0, 1, 2, 0, 1)]
    found = json.loads((tmp_path / "results.json").read_text())
    right = [row["label"] == row["prediction"] for row in rows]
    assert found["metrics"]["top_1"] == sum(right) / 5
    assert f"report in {tmp_path}" in capsys.readouterr().out.splitlines()
    tags = {value.tag for event in events_of(tmp_path) for value in event.summary.value}
    assert {"accuracy", "loss", "eval/top_1", "pr_curves/shade1"} <= tags
    assert {name.removesuffix(".png") for name in PICTURES} <= tags

    # The next report has no explanation, and keeps none of another checkpoint.
    evaluate(run, f"--eval_dir={tmp_path}", "--bootstrap_resamples=0")
    assert files_of(tmp_path) == PICTURES | TABLES
    assert files_of(tmp_path / "explain") == set()
    assert json.loads((tmp_path / "results.json").read_text())["intervals"]["resamples"] == 0


def test_without_matplotlib(finished_run, evaluate, monkeypatch, caplog, tmp_path):
    find = importlib.util.find_spec

    def find_all_but_one(name):
        return None if name == "matplotlib" else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_all_but_one)
    (tmp_path / "roc.png").write_bytes(b"of an older report")
    evaluate(finished_run("lenet"), f"--eval_dir={tmp_path}", "--bootstrap_resamples=0")
    assert files_of(tmp_path) == TABLES
    assert "no pictures: matplotlib is not installed" in caplog.text
    assert "'.[plots]'" in caplog.text
    with pytest.raises(MachineError, match="matplotlib is not installed"):
        evaluate(finished_run("lenet"), f"--eval_dir={tmp_path / 'new'}", "--explain=1")
    assert not (tmp_path / "new").exists()
