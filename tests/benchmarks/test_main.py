import dataclasses
import subprocess
import sys

import pytest

from benchmarks import __main__ as main
from benchmarks import data, train_throughput, workers
from benchmarks.report import Report
from core import flags


def benchmarks(output, *arguments):
    """Runs the command."""
    command = [sys.executable, "-m", "benchmarks", f"--output={output}", *arguments]
    return subprocess.run(command, cwd=workers.ROOT, capture_output=True, text=True, timeout=280)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--no_such_flag", "Unknown command line flag 'no_such_flag'"),
        ("--rounds=0", "--rounds=0"),
        ("--only=train,fly", "--only=fly is not known - known: train, profile, eval,"),
        ("--only=,", "--only names nothing"),
        ("--nets=lenett", "Name of network unknown lenett - did you mean lenet?"),
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
