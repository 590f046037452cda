"""The report of an evaluation: figures, tables and pictures, as files and for TensorBoard."""

from typing import Any

from core import files
from datasets.spec import LoadedSplit
from engine import metrics, summaries
from engine.evaluation import Result
from engine.report import tables


def write(result: Result, dataset: LoadedSplit, config: Any) -> None:
    """Writes all of the report into --eval_dir, and prints the figures.

    Args:
        result: of at least one picture.
        dataset: the split that it is of.
        config: read here: eval_dir, labels_offset, bootstrap_resamples.
    """
    scores = result.scores
    class_names = dataset.class_names[config.labels_offset :]
    found = metrics.compute(scores, class_names, config.bootstrap_resamples)
    content = tables.results(result, found, dataset)
    directory = files.make_directory(config.eval_dir)
    # `accuracy` and `loss` are the tags of training, so that both lie on one chart.
    tags = {
        "eval/Accuracy": content["accuracy"],
        "eval/Recall_5": content["recall_5"],
        "accuracy": content["accuracy"],
        "loss": content["loss"],
    }
    events = summaries.EventFile(directory)
    events.add(step=result.step, summary=summaries.scalars(tags))
    events.close()
    tables.write(directory, content, found, scores)
    print(f"step {result.step}: {scores.count} images in {result.seconds:.1f} s")
    print(f"eval/Accuracy[{content['accuracy']:.4f}]")
    print(f"eval/Recall_5[{content['recall_5']:.4f}]")
    print(f"loss[{content['loss']:.4f}]")
    print(tables.metrics_table(found), flush=True)
