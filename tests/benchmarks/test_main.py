import dataclasses
import json
import math
import subprocess
import sys

import pytest

from benchmarks import __main__ as main
from benchmarks import data, train_throughput, workers
from benchmarks.report import Report
from core import flags

# What is small enough for a test; the first net is one that peers have, too.
TINY = (
    *("--only=startup,train,profile,eval", "--quick", "--nets=mobilenet_v1", "--sizes=32"),
    *("--rounds=2", "--batch_size=4", "--eval_batch_size=4", "--steps=1"),
)


def benchmarks(output, *arguments):
    """Runs the command."""
    command = [sys.executable, "-m", "benchmarks", f"--output={output}", *arguments]
    return subprocess.run(command, cwd=workers.ROOT, capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What a small run prints and writes."""
    path = tmp_path_factory.mktemp("measured") / "bench.json"
    result = benchmarks(path, *TINY)
    assert result.returncode == 0, result.stderr
    return result, json.loads(path.read_text())


@pytest.fixture
def rows(measured):
    """rows(name) are the rows of one of its tables."""
    return lambda name: measured[1]["benchmarks"][name]["rows"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--no_such_flag", "Unknown command line flag 'no_such_flag'"),
        ("--rounds=0", "--rounds=0"),
        ("--only=train,fly", "--only=fly is not known - known: train, profile, eval,"),
        ("--only=,", "--only names nothing"),
        ("--nets=mobilenet", "Name of network unknown mobilenet - did you mean mobilenet_v1"),
        ("--scaling_net=mobilenet", "Name of network unknown mobilenet"),
        ("--sizes=32,many", "'many' is not a number of pixels"),
        ("--sizes=0", "'0' is not a number of pixels"),
        ("--output=/no/such/directory/bench.json", "is not a file in a directory that is there"),
        ("--torch_python=/no/such/python", "--torch_python=/no/such/python is not a program"),
        ("--image_dir=/no/such/folder", "--image_dir=/no/such/folder is not there"),
    ],
)
def test_bad_flags_are_told_in_one_line(tmp_path, argument, message):
    result = benchmarks(tmp_path / "bench.json", argument)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert result.stdout == ""
    assert not (tmp_path / "bench.json").exists()


def test_a_directory_without_a_dataset_is_told(tmp_path):
    result = benchmarks(tmp_path / "bench.json", "--only=eval", f"--dataset_dir={tmp_path}")
    assert result.returncode == 2
    assert f"error: --dataset_dir={tmp_path} holds no dataset.json" in result.stderr


def test_quick_changes_the_defaults_and_nothing_else():
    config = main.settled(flags.parse(main.define_flags, ["--quick", "--steps=7"]))
    assert (config.steps, config.rounds, config.sizes) == (7, 1, [32])
    assert main.settled(flags.parse(main.define_flags, [])).sizes == [32, 224]


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


@pytest.fixture
def case(tmp_path):
    """A net that all peers have, on a dataset that nobody reads."""
    config = main.settled(flags.parse(main.define_flags, ["--steps=2", "--batch_size=50"]))
    dataset = data.Converted("data", "shades", 10)
    return train_throughput.Case("mobilenet_v1", 32, config, dataset, tmp_path)


def test_rates_and_ratios_from_known_seconds(case):
    report = Report({}, {})
    rates = report.section("train", "", train_throughput._RATES)
    ours, keras = (dataclasses.make_dataclass("Peak", ["peak_rss"])(rss) for rss in (5e8, 2e9))
    seconds = {"ours": [1.0, 0.5, 2.0], "Keras fit": [3.0, 1.0, 8.0], "PyTorch eager": []}
    train_throughput._add_rates(rates, case, {"ours": ours, "Keras fit": keras}, seconds)
    assert rates.rows == [
        ("mobilenet_v1", 32, "ours", 100.0, 1.0, 1.0, 1.0, 500.0),
        ("mobilenet_v1", 32, "Keras fit", 100 / 3, 3.0, 2.0, 4.0, 2000.0),
        ("mobilenet_v1", 32, "PyTorch eager", None, None, None, None, None),
    ]


def test_shares_from_known_seconds(case):
    report = Report({}, {})
    shares = report.section("train_shares", "", train_throughput._SHARES)
    seconds = {
        "ours": [4.0, 2.0, 4.0],
        "constant": [3.0, 1.8, 3.0],
        "input": [0.5, 0.25, 0.1],
        "matmul": [0.5, 0.25, 1.0],
    }
    # 2 s a step of 10 GFLOP; a product of 25 GFLOP in 0.25 s at best; 3/4 of a step without input.
    flop = {"ours": 10**10, "matmul": 25 * 10**9}
    train_throughput._add_shares(shares, case, seconds, flop, waiting=0.02)
    assert shares.rows == [("mobilenet_v1", 32, 2000.0, 10.0, 100.0, 5.0, 2.0, 25.0, 400.0)]
