"""Our evaluation: the graph of engine.evaluation, and keeping what comes out of it."""

import contextlib
import tempfile
from collections.abc import Mapping
from typing import Any

import datasets
from benchmarks.contestants import serving
from core import flags as core_flags
from core.compat import tf
from engine import evaluation, flags
from engine.scores import Scores
from nets.nets_factory import NETS

_OPEN = contextlib.ExitStack()  # for as long as the process lives


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
    with tempfile.TemporaryDirectory() as scratch:
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            checkpoint = tf.train.Saver().save(session, f"{scratch}/model.ckpt")
        batches = _OPEN.enter_context(evaluator.batches(checkpoint))
    scores = Scores(dataset.num_classes)

    def evaluate_batch() -> None:
        try:
            found = batches.next()
        except tf.errors.OutOfRangeError:  # the split is smaller than the steps that are asked for
            batches.restart()
            found = batches.next()
        scores.add(*found)

    def evaluate(count: int) -> float:
        batches.restart()
        return serving.timed(evaluate_batch, count)

    return serving.Contestant({"step": evaluate}, {})


if __name__ == "__main__":
    with tf.Graph().as_default(), _OPEN:
        serving.serve(make)
