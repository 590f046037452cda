"""The files of a study and its table."""

import csv

import numpy as np
import PIL.Image
import pytest
from optuna.trial import TrialState

import tune_image_classifier
from core import flags as core_flags
from engine.report import plots
from engine.tuning import report, space
from engine.tuning import study as studies

FIXED = {"momentum": "0.5", "use_nesterov": "True"}


@pytest.fixture
def study(tmp_path):
    """A study with a trial of each state; trial 1 is the best one."""
    config = core_flags.parse(tune_image_classifier.define, ["--pruner=none"])
    lines = ("learning_rate uniform 0.1 0.1", "optimizer choice adam sgd")
    searched = space.parse([(line, "here") for line in lines])
    with studies.opened(tmp_path / "study", searched, FIXED, config) as study:
        for value in (0.5, 0.75):
            trial = study.draw()
            study.note(trial, step=10, steps=20, epochs="2", seconds=1.5)
            study.end(trial, TrialState.COMPLETE, value)
        trial = study.draw()
        study.report(trial, [0.25])
        study.note(trial, step=10, steps=10, epochs="1", seconds=0.5, reason="pruned at ...")
        study.end(trial, TrialState.PRUNED)
        trial = study.draw()
        study.note(trial, seconds=2.0, reason="=diverged", exit_code=7)
        study.end(trial, TrialState.FAIL)
        study.draw()
        yield study


def test_trials_as_csv_and_the_best_flags(study):
    optimizers = [trial.params["optimizer"] for trial in study.trials]
    report.write(study, FIXED)
    with (study.directory / "trials.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == [
        *("trial", "state", "accuracy", "step", "steps", "epochs", "seconds"),
        *("learning_rate", "optimizer", "reason"),
    ]
    assert [row[:7] for row in rows] == [
        ["0", "complete", "0.5", "10", "20", "2", "1.5"],
        ["1", "complete", "0.75", "10", "20", "2", "1.5"],
        ["2", "pruned", "0.25", "10", "10", "1", "0.5"],
        ["3", "failed", "", "", "", "", "2.0"],
        ["4", "unfinished", "", "", "", "", ""],
    ]
    assert [row[7] for row in rows] == ["0.1"] * 5
    assert [row[8] for row in rows] == optimizers
    assert [row[9] for row in rows] == ["", "", "pruned at ...", "'=diverged", ""]
    assert (study.directory / "best.flags").read_text(encoding="utf-8").splitlines() == [
        "# Trial 1: accuracy 0.7500 at step 10",
        *("--momentum=0.5", "--use_nesterov=True", "--learning_rate=0.1"),
        f"--optimizer={optimizers[1]}",
    ]


def test_no_best_flags_without_a_complete_trial(study):
    (study.directory / "best.flags").unlink(missing_ok=True)
    config = core_flags.parse(tune_image_classifier.define, [])
    with studies.opened(study.directory / "other", study.space, {}, config) as other:
        other.draw()
        report.write(other, {})
        assert report.draw(other) == []
        assert report.text(other) == "1 unfinished\n"
        assert not (other.directory / "best.flags").exists()
        assert len((other.directory / "trials.csv").read_text(encoding="utf-8").splitlines()) == 2


def test_the_pictures(study):
    assert [path.name for path in report.draw(study)] == ["history.png", "importance.png"]
    for name in ("history.png", "importance.png"):
        pixels = np.asarray(PIL.Image.open(study.directory / name).convert("RGB"))
        assert pixels.shape[1] > 5 * plots.DPI
        assert pixels.std() > 10
    figure = report.history(study)
    complete, pruned = (artist.get_offsets().tolist() for artist in figure.axes[0].collections)
    assert complete == [[0, 0.5], [1, 0.75]]
    assert pruned == [[2, 0.25]]
    (line,) = figure.axes[0].lines
    assert line.get_ydata().tolist() == [0.5, 0.75]
    bars = report.importance({"optimizer": 0.75, "learning_rate": 0.25}, "accuracy").axes[0].patches
    assert [bar.get_width() for bar in bars] == [0.75, 0.25]


def test_the_table(study):
    lines = report.text(study).splitlines()
    assert lines[0].strip() == "Best of 5 trials"
    assert [cell.strip() for cell in lines[2].split("┃")[1:-1]] == [
        *("trial", "validation accuracy", "at step", "learning_rate", "optimizer"),
    ]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines[4:6]]
    assert [row[:4] for row in rows] == [["1", "0.7500", "10", "0.1"], ["0", "0.5000", "10", "0.1"]]
    assert lines[-1] == "1 unfinished, 2 complete, 1 pruned, 1 failed"


def test_the_lines_of_the_log(study):
    assert [report.line(study, trial) for trial in study.finished] == [
        "Trial 0: accuracy 0.5000 at step 10; the best is 0.7500 of trial 1",
        "Trial 1: accuracy 0.7500 at step 10, the best so far",
        "Trial 2: accuracy 0.2500 at step 10, pruned at ...",
        "Trial 3: failed: =diverged",
    ]
