"""How fast we evaluate, beside how fast we train."""

import statistics
from pathlib import Path
from typing import Any

from absl import logging

from benchmarks import data, workers
from benchmarks.report import Report
from benchmarks.train_throughput import Case
from benchmarks.workers import Turn

_COLUMNS = {
    "net": "",
    "pixels": "d",
    "eval images/s": ".1f",
    "train images/s": ".1f",
    "eval/train": ".2f",
    "min": ".2f",
    "max": ".2f",
    "eval RSS MB": ".0f",
    "train RSS MB": ".0f",
}


def run(config: Any, report: Report, scratch: Path) -> None:
    """Measures all nets at all sizes."""
    sizes = f"batches of {config.eval_batch_size} evaluated, of {config.batch_size} trained on"
    title = f"Evaluation: {sizes}, rounds: {config.rounds}"
    section = report.section("eval", title, _COLUMNS)
    section.note("Reading, decoding and counting included; opening a checkpoint is not.")
    dataset = data.dataset(config, scratch)
    for net in config.nets:
        for size in config.sizes:
            logging.info("evaluating %s at %d pixels", net, size)
            case = Case(net, size, config, dataset, scratch)
            module, spec = "ours_evaluation", case.spec(batch_size=config.eval_batch_size)
            with (
                workers.started(f"benchmarks.contestants.{module}", spec) as evaluation,
                case.ours() as training,
            ):
                turns = {
                    "evaluation": Turn(evaluation, "step", config.steps),
                    "training": Turn(training, "step", config.steps),
                }
                seconds, _ = workers.in_turn(turns, config.rounds)
            batches = {"evaluation": config.eval_batch_size, "training": config.batch_size}
            rates = {
                name: [config.steps * batches[name] / took for took in seconds[name]]
                for name in turns
            }
            section.add(
                net,
                size,
                statistics.median(rates["evaluation"]),
                statistics.median(rates["training"]),
                *workers.ratio(rates["evaluation"], rates["training"]),
                evaluation.peak_rss / 1e6,
                training.peak_rss / 1e6,
                seconds=seconds,
            )
