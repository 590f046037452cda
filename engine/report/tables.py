"""The figures of an evaluation as files: results.json and CSV tables."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from core import csv_table, files
from datasets.spec import LoadedSplit
from engine import bootstrap
from engine.evaluation import Result
from engine.metrics import Metrics, PerClass
from engine.scores import Scores

RESULTS_FILE = "results.json"
PER_CLASS_FILE = "per_class.csv"
CONFUSION_FILE = "confusion_matrix.csv"
PREDICTIONS_FILE = "predictions.csv"


def results(result: Result, metrics: Metrics, dataset: LoadedSplit) -> dict[str, Any]:
    """The content of results.json; a metric that is not defined is null.

    `accuracy`, `recall_5`, `recall_k` and `loss` are what research/slim's script tells, where
    `recall_5` counts among all classes if there are fewer than five.
    """
    scores = result.scores
    top_k = min(5, scores.num_classes)
    return {
        "checkpoint": result.checkpoint,
        "global_step": result.step,
        "dataset": dataset.name,
        "split": dataset.split,
        "images": scores.count,
        "accuracy": scores.accuracy,
        "recall_5": float((scores.ranks < top_k).mean()),
        "recall_k": top_k,
        "loss": float(scores.losses.mean()),
        "seconds": round(result.seconds, 3),
        **of_metrics(metrics),
    }


def of_metrics(metrics: Metrics) -> dict[str, Any]:
    """Metrics as values of JSON."""
    return {
        "metrics": metrics.values,
        "undefined": metrics.undefined,
        "left_out": metrics.left_out,
        "intervals": {
            "level": bootstrap.LEVEL,
            "resamples": metrics.resamples,
            **{name: list(ends) for name, ends in metrics.intervals.items()},
        },
    }


def write(directory: Path, content: dict[str, Any], metrics: Metrics, scores: Scores) -> None:
    """Writes the files into a directory, results.json last: with it they are all there."""
    names = [one.name for one in metrics.per_class]
    csv_table.write(directory / PER_CLASS_FILE, PerClass._fields, metrics.per_class)
    csv_table.write(
        directory / CONFUSION_FILE,
        ["label \\ prediction", *names],
        ([name, *row] for name, row in zip(names, scores.confusion.tolist(), strict=True)),
    )
    csv_table.write(
        directory / PREDICTIONS_FILE,
        ["path", "label", "prediction", *(f"probability of {name}" for name in names)],
        _predictions(scores, names),
    )
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    files.write_text(directory / RESULTS_FILE, text)


def _predictions(scores: Scores, names: Sequence[str]) -> Iterator[list[Any]]:
    """A row per picture; probabilities as the shortest text that means the same float32."""
    columns = (scores.names, scores.labels, scores.predictions, scores.probabilities)
    for path, label, prediction, probabilities in zip(*columns, strict=True):
        yield [path, names[label], names[prediction], *map(str, probabilities)]


def confusion_table(scores: Scores, class_names: Sequence[str]) -> str:
    """The confusion matrix as text: a row per label, a column per prediction."""
    width = max(map(len, class_names))
    counts = scores.confusion
    digits = max(len(str(counts.max())), len(str(len(class_names) - 1)), 3)
    header = " ".join(f"{number:>{digits}}" for number in range(len(class_names)))
    lines = ["", f"{'label':>{width + 4}}  {header}  prediction"]
    for number, (name, row) in enumerate(zip(class_names, counts, strict=True)):
        cells = " ".join(f"{count:>{digits}}" for count in row)
        lines.append(f"{name:>{width}} {number:>3}  {cells}")
    return "\n".join(lines)


def metrics_table(metrics: Metrics) -> str:
    """The metrics as text: name, value, interval, or why there is no value."""
    width = max(map(len, metrics.values))
    lines = [""]
    for name, value in metrics.values.items():
        if value is None:
            lines.append(f"{name:<{width}}  undefined: {metrics.undefined[name]}")
            continue
        line = f"{name:<{width}}  {value:.4f}"
        if name in metrics.intervals:
            low, high = metrics.intervals[name]
            line += f"  ({low:.4f} to {high:.4f})"
        if name in metrics.left_out:
            line += f", classes left out: {len(metrics.left_out[name])}"
        lines.append(line)
    return "\n".join(lines)
