"""Evaluates a checkpoint: every picture of a split exactly once.

    python eval_image_classifier.py --checkpoint_path=RUN

The net and the preparation of the pictures are read from the run's run.json; the results go to
RUN/eval/results.json, to TensorBoard and to the terminal.
"""

from typing import Any

import datasets
from core import script
from core.errors import MissedError
from engine import flags

LARGEST_TABLE = 20  # classes; a confusion table of more does not fit a terminal


def main(config: Any) -> None:
    """One evaluation, or one for each new checkpoint, top to bottom."""
    flags.check_evaluation(config)

    from core.compat import tf
    from engine import evaluation
    from engine.report import report, tables

    config = evaluation.settings(config)
    dataset = datasets.load(config.dataset_dir, config.dataset_name, config.dataset_split_name)
    evaluation.check_classes(dataset, config)
    with tf.Graph().as_default():
        evaluator = evaluation.Evaluator(dataset, config)
        report.check(evaluator, config)
        for result in evaluation.results(evaluator, config):
            report.write(result, evaluator, dataset, config)
    if dataset.num_classes <= LARGEST_TABLE:
        names = dataset.class_names[config.labels_offset :]
        print(tables.confusion_table(result.scores, names))
    if config.min_accuracy is not None and result.scores.accuracy < config.min_accuracy:
        raise MissedError(
            f"accuracy {result.scores.accuracy:.4f} is below --min_accuracy={config.min_accuracy}"
        )


if __name__ == "__main__":
    script.run(main, flags.define_evaluation, __doc__)
