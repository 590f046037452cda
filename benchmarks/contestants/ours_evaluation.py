"""Our evaluation: the graph of engine.evaluation, and the counting of what comes out of it."""

from collections.abc import Mapping
from typing import Any

import datasets
from benchmarks.contestants import serving
from core import flags as core_flags
from core.compat import tf
from engine import evaluation, flags, metrics, training
from nets.nets_factory import NETS


def make(spec: Mapping[str, Any]) -> serving.Contestant:
    """Builds the graph in the default graph; the task "step" evaluates batches.

    Args:
        spec: net, size (pixels), batch_size, dataset_dir, dataset_name.
    """
    arguments = [
        *(f"--model_name={spec['net']}", f"--eval_image_size={spec['size']}"),
        f"--preprocessing_name={NETS[spec['net']].preprocessing}",
        *(f"--dataset_dir={spec['dataset_dir']}", f"--dataset_name={spec['dataset_name']}"),
        f"--batch_size={spec['batch_size']}",
    ]
    config = core_flags.parse(flags.define_evaluation, arguments)
    dataset = datasets.load(config.dataset_dir, config.dataset_name, config.dataset_split_name)
    evaluator = evaluation.Evaluator(dataset, config)
    session = tf.Session(config=training.session_config(config))
    session.run(tf.global_variables_initializer())
    # Not `evaluate`: it opens a session and reads a checkpoint each time.
    start, outputs = evaluator._batch.start, [evaluator._logits, evaluator._batch.labels]
    next_batch = session.make_callable(outputs)
    counted = metrics.Metrics(dataset.num_classes)

    def evaluate_batch() -> None:
        try:
            logits, labels = next_batch()
        except tf.errors.OutOfRangeError:  # the split is smaller than the steps that are asked for
            session.run(start)
            logits, labels = next_batch()
        counted.add(logits, labels)

    def evaluate(count: int) -> float:
        session.run(start)
        return serving.timed(evaluate_batch, count)

    return serving.Contestant({"step": evaluate}, {})


if __name__ == "__main__":
    with tf.Graph().as_default():
        serving.serve(make)
