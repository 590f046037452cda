"""The benchmarks as whole commands, in small."""

import json
import math
import re
import subprocess
import sys

import pytest

from benchmarks import data
from benchmarks.workers import ROOT

# What is small enough for a test; the first net is one that peers have, too.
TINY = (
    *("--only=startup,train,profile,eval", "--quick", "--nets=mobilenet_v1", "--sizes=32"),
    *("--rounds=2", "--batch_size=4", "--eval_batch_size=4", "--steps=1"),
)


def script(*command):
    """Runs Python with that command line, from the root of the project."""
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=280
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What a small run prints and writes."""
    path = tmp_path_factory.mktemp("measured") / "bench.json"
    result = script("-m", "benchmarks", f"--output={path}", *TINY)
    assert result.returncode == 0, result.stderr
    return result, json.loads(path.read_text())


@pytest.fixture
def rows(measured):
    """rows(name) are the rows of one of its tables."""
    return lambda name: measured[1]["benchmarks"][name]["rows"]


def test_the_report_comes_last_and_says_where_it_is(measured):
    result, content = measured
    titles = ["Start-up, ", "Training: ", "Our training step: ", "Inside a ", "Evaluation: "]
    places = [result.stdout.index(title) for title in titles]
    assert places == sorted(places)
    assert result.stdout.splitlines()[-1].startswith("written to ")
    assert content["settings"]["nets"] == ["mobilenet_v1"]
    assert content["machine"]["cores"] >= 1


def test_start_up_is_measured(rows):
    *helps, training = rows("startup")
    assert [row["command"] for row in helps] == [
        "train_image_classifier.py --help",
        "eval_image_classifier.py --help",
        "download_and_convert_data.py --help",
    ]
    assert all(row["to its end s"] > 0 for row in helps)
    assert 0 < training["to first step s"] < training["to its end s"]


def test_training_is_measured_beside_peers(rows):
    ours, keras, torch = rows("train")
    assert ours["ours/theirs"] == 1
    for row in (ours, keras):
        assert len(row["seconds"]) == 2
        rates = sorted(4 / seconds for seconds in row["seconds"])  # one step of 4 pictures
        assert rates[0] <= row["images/s"] <= rates[1]
        assert row["peak RSS MB"] > 100
    # Where PyTorch is not installed, it has an empty row.
    assert (torch["images/s"] is None) == ("seconds" not in torch)


def test_shares_are_measured(rows):
    (shares,) = rows("train_shares")
    assert shares["input alone images/s"] > 0
    assert 0 < shares["waiting %"] < 100
    achieved = shares["GFLOP/step"] / shares["ms/step"] * 1000 / shares["peak GFLOP/s"]
    assert math.isclose(shares["% of peak"], 100 * achieved)


def test_a_step_is_traced(rows):
    found = {row["operation"].removeprefix("_MklNative"): row for row in rows("profile")}
    # Stem, 13 layers and head; the head's convolution and the gradient of its weights are fused
    # with the bias, and the stem's input has no gradient.
    for name in ("Conv2D", "Conv2DBackpropFilter", "Conv2DBackpropInput"):
        assert found[name]["operations/step"] == 14
        assert found[name]["ms/step"] > 0
    assert sum(row["%"] for row in rows("profile")) == pytest.approx(100)
    assert rows("profile")[-1]["operation"] == "all others"


def test_evaluation_is_measured_beside_training(rows):
    (row,) = rows("eval")
    assert row["eval images/s"] > 0
    assert row["min"] <= row["eval/train"] <= row["max"]
    assert row["eval RSS MB"] > 100


def test_a_curve_of_a_run(tmp_path):
    data.convert(tmp_path / "data", {"train": 40, "test": 30})
    trained = script(
        *("train_image_classifier.py", f"--dataset_dir={tmp_path / 'data'}"),
        *(f"--dataset_name={data.NAME}", f"--train_dir={tmp_path / 'run'}", "--model_name=lenet"),
        *("--max_number_of_steps=4", "--batch_size=4", "--keep_checkpoint_max=0"),
        *("--save_interval_steps=2", "--save_summaries_steps=2"),
    )
    assert trained.returncode == 0, trained.stderr
    output = tmp_path / "curve.json"
    runs = f"--runs={tmp_path / 'run'}"
    drawn = script("-m", "benchmarks.accuracy_curve", runs, f"--output={output}")
    assert drawn.returncode == 0, drawn.stderr
    rows = json.loads(output.read_text())["benchmarks"]["curve"]["rows"]
    assert [(row["run"], row["step"]) for row in rows] == [("run", 2), ("run", 4)]
    assert 0 < rows[0]["minutes"] < rows[1]["minutes"] < 1
    evaluated = script("eval_image_classifier.py", f"--checkpoint_path={tmp_path / 'run'}")
    accuracy = json.loads((tmp_path / "run" / "eval" / "results.json").read_text())["accuracy"]
    assert evaluated.returncode == 0
    assert rows[1]["accuracy %"] == pytest.approx(100 * accuracy)


def test_the_load_on_the_server(colour_run, colour_folder):
    result = script(
        *("-m", "benchmarks.serve_load", "--seconds=1", "--rounds=1", "--overload=200"),
        *(f"--checkpoint_path={colour_run}", f"--images={colour_folder}", "--concurrency=4"),
    )
    assert result.returncode == 0, result.stderr
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in result.stdout.splitlines()
        if line.startswith("│")
    ]
    loads = {row[0]: row for row in rows if len(row) == 10}
    assert set(loads) == {"quiet 1", "attacked 1", "overload", "quiet again"}
    for row in loads.values():
        assert int(row[5]) > 0
        assert row[8:] == ["0", "0"]
    assert int(loads["overload"][6]) > 0
    agreement = re.search(
        r"64 uploads at once were all answered, at most (\S+) from", result.stdout
    )
    assert float(agreement[1]) < 1e-6
