"""Validation while training: the net as it stands, on a split, in the process that trains it.

The net is built once more, in inference mode and in a graph of its own, which is given the weights
of the training's session. So it is computed in float32 whatever training is computed in, and every
picture of the split counts once, as in eval_image_classifier.py.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging

from core import flags as core_flags
from core.compat import tf
from core.errors import FlagError
from datasets.spec import LoadedSplit
from engine import evaluation, flags, imbalance, input_pipeline, metrics, model, sessions
from engine.scores import Scores

# The metrics of a validation by their names in --best_metric, with those of `metrics.compute`.
METRICS = {
    "loss": "cross_entropy",
    "accuracy": "top_1",
    "balanced_accuracy": "balanced_accuracy",
    "f1_macro": "f1_macro",
    "mcc": "mcc",
}
_OF_SEVERAL_CLASSES = ("balanced_accuracy", "mcc")


class Validator:
    """Validates the weights of a training's session, to be made in the graph of the training.

    Args:
        dataset: the split to validate on.
        config: of the training; read here: what it has of the flags of an evaluation.

    Attributes:
        weights: variables of the training that are validated.

    Raises:
        FlagError: --best_metric is not defined on the split.
    """

    def __init__(self, dataset: LoadedSplit, config: Any) -> None:
        _check_metric(dataset, config)
        if config.validation_split_name == config.dataset_split_name:
            logging.warning("validation on the %s split, which is trained on", dataset.split)
        self._dataset, self._config = dataset, _of_evaluation(config)
        self._names = dataset.class_names[config.labels_offset :]
        trained = {variable.op.name: variable for variable in tf.global_variables()}
        with tf.Graph().as_default() as self._graph:
            self._batch = input_pipeline.evaluation_batch(dataset, self._config)
            self._logits, _ = model.build_net(
                self._batch.images, len(self._names), self._config, is_training=False
            )
            restored = model.variables_to_restore(config.moving_average_decay)
        self.weights = [trained[name] for name in restored]
        # An initializer assigns its second input.
        self._assign = [variable.initializer for variable in restored.values()]

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Holds the session that `scores` needs."""
        with self._graph.as_default(), sessions.session(self._config) as self._session:
            self._next = self._session.make_callable(
                [self._logits, self._batch.labels, self._batch.names]
            )
            yield

    def scores(self, session: tf.Session, stopped: list[int]) -> Scores | None:
        """One pass over the split with the weights, or their moving averages, of a session.

        Args:
            session: of the training.
            stopped: ends the pass as soon as it is not empty; then the result is None.

        Raises:
            DataError: a record is damaged.
            DivergedError: the model's outputs are not finite.
        """
        values = session.run(self.weights)
        with input_pipeline.damage_named(self._dataset, self._config.labels_offset):
            inputs = [assign.inputs[1] for assign in self._assign]
            self._session.run(self._assign, dict(zip(inputs, values, strict=True)))
            self._session.run(self._batch.start)
            found = Scores(len(self._names))
            expected = self._dataset.num_samples
            for _ in evaluation.one_pass(self._next, found, expected, self._dataset):
                if stopped:
                    return None
        return found

    def metrics(self, scores: Scores) -> dict[str, float | None]:
        """The METRICS of scores; None where one is not defined."""
        found = metrics.compute(scores, self._names, areas=False).values
        return {name: found[computed] for name, computed in METRICS.items()}


def _check_metric(dataset: LoadedSplit, config: Any) -> None:
    one_class = np.count_nonzero(imbalance.class_counts(dataset, config.labels_offset)) == 1
    if one_class and config.best_metric in _OF_SEVERAL_CLASSES:
        raise FlagError(
            f"--best_metric={config.best_metric} is not defined on the {dataset.split} split, all "
            "pictures of which are of one class",
            remedy="pass another one",
        )


def _of_evaluation(config: Any) -> Any:
    """The configuration of an evaluation, with the flags of a training that it knows."""
    defaults = core_flags.parse(flags.define_evaluation, [])
    known = {field.name for field in dataclasses.fields(defaults)} - {"given", "checkpoint_path"}
    shared = {name: getattr(config, name) for name in known if hasattr(config, name)}
    return dataclasses.replace(defaults, **shared, eval_image_size=config.train_image_size)
