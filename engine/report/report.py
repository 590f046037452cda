"""The report of an evaluation: figures, tables and pictures, as files and for TensorBoard."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from core import extras, files
from core.compat import tf
from core.errors import MachineError
from datasets.spec import LoadedSplit
from engine import metrics, summaries
from engine.evaluation import Evaluator, Result
from engine.report import explanation, mistakes, tables, tensorboard
from engine.report.mistakes import Mistake
from engine.scores import Scores

GALLERY = 20  # most confident mistakes that are shown: four rows of five
EXPLANATIONS = "explain"  # directory of them, in --eval_dir
PICTURES = ("confusion_matrix", "roc", "precision_recall", "reliability", "mistakes")


def check(evaluator: Evaluator, config: Any) -> None:
    """Tells before the pass whether --explain can be done.

    Raises:
        FlagError: not by this net.
        MachineError: matplotlib is missing.
    """
    if config.explain:
        extras.need("plots", "matplotlib")
        freezer = evaluator.freezer
        explanation.feature_map(freezer.end_points, freezer.images, freezer.logits)


def write(result: Result, evaluator: Evaluator, dataset: LoadedSplit, config: Any) -> None:
    """Writes all of the report into --eval_dir, and prints the figures.

    Args:
        result: of at least one picture.
        evaluator: that gave it.
        dataset: the split that it is of.
        config: read here: eval_dir, labels_offset, bootstrap_resamples, explain, and what
            `explanation.explain` reads.

    Raises:
        DataError: a record that is to be shown is damaged by now.
        MachineError: the disk is full.
    """
    scores = result.scores
    class_names = dataset.class_names[config.labels_offset :]
    found = metrics.compute(scores, class_names, config.bootstrap_resamples)
    content = tables.results(result, found, dataset)
    directory = files.make_directory(config.eval_dir)
    files.sweep_killed(directory)
    pictures = _pictures(directory, scores, dataset, class_names, config)
    if config.explain or (directory / EXPLANATIONS).exists():  # those of an older report
        chosen = mistakes.most_confident(scores, config.explain)
        explained = explanation.explain(
            chosen, scores, dataset, evaluator.freezer, result.net, config
        )
        explanation.write(directory / EXPLANATIONS, explained, class_names)
    events = summaries.EventFile(directory)
    events.add(step=result.step, summary=_numbers(content))
    shown = tensorboard.summary(found.values, scores, class_names, pictures)
    events.add(step=result.step, summary=shown)
    events.close()
    tables.write(directory, content, found, scores)
    print(f"step {result.step}: {scores.count} images in {result.seconds:.1f} s")
    print(f"eval/Accuracy[{content['accuracy']:.4f}]")
    print(f"eval/Recall_5[{content['recall_5']:.4f}]")
    print(f"loss[{content['loss']:.4f}]")
    print(tables.metrics_table(found))
    print(f"\nreport in {directory}", flush=True)


def _numbers(content: Mapping[str, Any]) -> tf.Summary:
    """The tags of research/slim, and those of training, so that both lie on one chart."""
    return summaries.scalars(
        {
            "eval/Accuracy": content["accuracy"],
            "eval/Recall_5": content["recall_5"],
            "accuracy": content["accuracy"],
            "loss": content["loss"],
        }
    )


def _pictures(
    directory: Path,
    scores: Scores,
    dataset: LoadedSplit,
    class_names: Sequence[str],
    config: Any,
) -> dict[str, bytes]:
    """Draws the pictures and writes them; the PNG files by name.

    There are none, and a warning, where matplotlib is missing; then those of an older report go.
    """
    try:
        extras.need("plots", "matplotlib")
    except MachineError as error:
        logging.warning("no pictures: %s", error)
        for name in PICTURES:
            (directory / f"{name}.png").unlink(missing_ok=True)
        return {}
    from engine.report import plots

    probabilities, labels = scores.probabilities, scores.labels
    calibration = metrics.calibration(scores)
    worst = mistakes.most_confident(scores, GALLERY)
    shown = mistakes.decoded(dataset, [mistake.index for mistake in worst], config)
    captions = [_caption(mistake, class_names) for mistake in worst]
    figures = (
        plots.confusion_matrix(scores.confusion, class_names),
        plots.roc_curves(probabilities, labels, class_names),
        plots.precision_recall_curves(probabilities, labels, class_names),
        plots.reliability(calibration, calibration.error),
        plots.mistakes(shown, captions),
    )
    return {
        name: plots.write(figure, directory / f"{name}.png")
        for name, figure in zip(PICTURES, figures, strict=True)
    }


def _caption(mistake: Mistake, class_names: Sequence[str]) -> str:
    label, prediction = class_names[mistake.label], class_names[mistake.prediction]
    return f"{mistake.name}\n{label}\nas {prediction}, {100 * mistake.probability:.1f} %"
