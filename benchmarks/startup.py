"""How long the scripts take to answer, and training to take its first step."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from benchmarks import data, workers
from benchmarks.report import Report
from core.errors import MachineError

SCRIPTS = (
    "train_image_classifier.py",
    "eval_image_classifier.py",
    "download_and_convert_data.py",
)
BATCH_SIZE = 50
FIRST_STEP = b"global step 1:"  # how the log line of it begins
_SPLITS = {"train": 2 * BATCH_SIZE, "test": BATCH_SIZE}
_COLUMNS = {"command": "", "to first step s": ".2f", "to its end s": ".2f"}


class Seconds(NamedTuple):
    """When a run of one step came so far, from the start of its process on."""

    first_step: float
    end: float


def run(config: Any, report: Report, scratch: Path) -> None:
    """Measures `--help` of the scripts and a run of one step of each net."""
    title = f"Start-up, starts: {config.starts}"
    section = report.section("startup", title, _COLUMNS)
    for script in SCRIPTS:
        logging.info("starting %s", script)
        command = [script, "--help"]
        took = [workers.measured(command).seconds for _ in range(config.starts)]
        section.add(" ".join(command), None, statistics.median(took), seconds=took)
    dataset = scratch / "tiny"
    data.convert(dataset, _SPLITS)
    for net in config.nets:
        logging.info("first step of %s", net)
        runs = [
            first_step(net, dataset, scratch / f"first_step_{net}_{number}")
            for number in range(config.starts)
        ]
        medians = (statistics.median(column) for column in zip(*runs, strict=True))
        section.add(f"training {net}, {data.SIZE} pixels", *medians, seconds=runs)


def first_step(net: str, dataset: Path, train_dir: Path) -> Seconds:
    """Trains for one step.

    Raises:
        MachineError: the script did not.
    """
    command = [
        *(sys.executable, SCRIPTS[0], f"--model_name={net}", f"--train_image_size={data.SIZE}"),
        *(f"--dataset_name={data.NAME}", f"--dataset_dir={dataset}", f"--train_dir={train_dir}"),
        *(f"--batch_size={BATCH_SIZE}", "--max_number_of_steps=1", "--log_every_n_steps=1"),
    ]
    reached = None
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        with workers.running(command, **options) as process:
            for line in process.stderr:
                if FIRST_STEP in line:
                    reached = time.perf_counter() - started
                log.write(line)
            code = process.wait()
        end = time.perf_counter() - started
        if code or reached is None:
            raise MachineError(f"{SCRIPTS[0]} ended with {code}: {workers.last_line(log)}")
    return Seconds(reached, end)
