"""Evaluating checkpoints: one exact pass over a split, its results written down."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from core import files, progress
from core.compat import tf
from core.errors import CheckpointError, DataError, FlagError
from datasets.spec import LoadedSplit
from engine import (
    checkpoints,
    flags,
    freezing,
    input_pipeline,
    model,
    run_dir,
    sessions,
)
from engine.scores import Scores
from nets.nets_factory import NETS

_TRIES = 3  # to read a checkpoint of a run that goes on


class Result(NamedTuple):
    """What one pass found."""

    checkpoint: str
    step: int
    scores: Scores
    seconds: float
    net: tf.GraphDef  # with the weights of the checkpoint, as `freezing.Freezer` makes it


def settings(config: Any) -> Any:
    """The configuration with what run.json tells of the checkpoint filled in.

    Raises:
        FlagError: a flag given by hand contradicts run.json, or a flag is missing without it.
        CheckpointError: run.json is damaged, or there is no checkpoint to evaluate now.
    """
    if config.eval_interval_secs:
        _wait_for_first(config)  # run.json may not be there before
    checkpoints.candidates(config.checkpoint_path)  # a mistyped path is to be told first
    place = run_dir.place_of(config.checkpoint_path)
    directory = place if place.is_dir() else place.parent
    config = dataclasses.replace(config, eval_dir=config.eval_dir or str(directory / "eval"))
    run = run_dir.read(place)
    if run is None:
        flags.check_model(config)
        return dataclasses.replace(
            config,
            preprocessing_name=config.preprocessing_name or NETS[config.model_name].preprocessing,
            eval_image_size=config.eval_image_size or model.default_image_size(config.model_name),
        )
    fixed = {
        "model_name": run.model_name,
        "preprocessing_name": run.preprocessing_name,
        "eval_image_size": run.image_size,
        "use_grayscale": run.use_grayscale,
        "labels_offset": run.labels_offset,
        "moving_average_decay": run.moving_average_decay,
        "depth_multiplier": run.depth_multiplier,
        "stem_stride": run.stem_stride,
        "head_units": run.head_units,
    }
    run_dir.check_agrees(config, fixed, place)
    suggested = {"dataset_name": run.dataset_name, "dataset_dir": run.dataset_dir}
    suggested = {name: value for name, value in suggested.items() if name not in config.given}
    return dataclasses.replace(config, **fixed, **suggested)


def check_classes(dataset: LoadedSplit, config: Any) -> None:
    """FlagError if the dataset's classes are not those that the run was trained on."""
    run = run_dir.read(run_dir.place_of(config.checkpoint_path))
    if run and run.class_names != dataset.class_names:
        raise FlagError(
            f"the run knows {len(run.class_names)} classes ({', '.join(run.class_names[:3])}, ...)"
            f", the dataset has {dataset.num_classes} ({', '.join(dataset.class_names[:3])}, ...)",
            where=str(dataset.directory),
            remedy="evaluate on data with the classes of the training data",
        )


def _wait_for_first(config: Any) -> None:
    """Waits until the run directory holds a checkpoint.

    Raises:
        FlagError: there is no such directory.
    """
    directory = Path(config.checkpoint_path)
    if not directory.is_dir():
        raise FlagError(
            "--eval_interval_secs needs a run directory",
            where=config.checkpoint_path,
            remedy="pass the directory of the checkpoint",
        )
    while not checkpoints.steps(directory):
        logging.info("Waiting for a checkpoint in %s", directory)
        time.sleep(config.eval_interval_secs)


def results(evaluator: "Evaluator", config: Any) -> Iterator[Result]:
    """The result of the checkpoint that --checkpoint_path means.

    With --eval_interval_secs, that of each newer one too, until training ends: nobody holds the
    run directory, and its newest checkpoint is done.

    Raises:
        FlagError, CheckpointError, DataError, DivergedError: as `Evaluator.evaluate`.
    """
    if not config.eval_interval_secs:
        yield _newest_result(evaluator, config.checkpoint_path)
        return
    directory = Path(config.checkpoint_path)
    done = None
    while True:
        # Asked before looking: what a training that just ended has written is then seen.
        training_goes_on = files.is_locked(directory)
        steps = checkpoints.steps(directory)
        if steps and steps[-1] != done:
            result = _newest_result(evaluator, config.checkpoint_path)
            done = steps[-1]
            yield result
        elif not training_goes_on:
            return
        else:
            logging.info("Waiting for a new checkpoint in %s", directory)
            time.sleep(config.eval_interval_secs)


def _newest_result(evaluator: "Evaluator", path: str) -> Result:
    """The result of the checkpoint that a path means now.

    Training may delete a checkpoint while it is read; then the newest is another one.
    """
    for _ in range(_TRIES - 1):
        checkpoint = checkpoints.resolve(path)
        try:
            return evaluator.evaluate(checkpoint)
        except CheckpointError:
            if checkpoint in checkpoints.candidates(path):
                raise
            logging.info("%s was deleted meanwhile", checkpoint)
    return evaluator.evaluate(checkpoints.resolve(path))


class Batches(NamedTuple):
    """The outputs of a net on the pictures of a split."""

    net: tf.GraphDef  # with the weights of the checkpoint
    restart: Callable[[], None]  # before the first batch, and to go over the split once more
    next: Callable[[], tuple[np.ndarray, ...]]  # logits [N, classes], labels [N] and paths [N]


class Evaluator:
    """Evaluates as many checkpoints of a net as come, on one split.

    Use it inside the graph that the net is to be built in. The pictures go through a second graph,
    made anew of each checkpoint, which has its weights as constants and no batch norm.

    Args:
        dataset: the split.
        config: from `settings`; read here: the flags of the evaluation.

    Attributes:
        freezer: of the net, in the graph around.
    """

    def __init__(self, dataset: LoadedSplit, config: Any) -> None:
        self._dataset, self._config = dataset, config
        self._num_classes = dataset.num_classes - config.labels_offset
        tf.train.create_global_step()
        channels = 1 if config.use_grayscale else dataset.channels
        self.freezer = freezing.Freezer(config.eval_image_size, channels, self._num_classes, config)

    def evaluate(self, checkpoint: str) -> Result:
        """One pass over the split, or over --max_num_batches of it.

        Raises:
            FlagError: the checkpoint is of another net or of other classes.
            CheckpointError: it cannot be read.
            DataError: a record is damaged, or not all records came.
            DivergedError: the model's outputs are not finite.
        """
        logging.info("Evaluating %s", checkpoint)
        started = time.monotonic()
        scores = Scores(self._num_classes)
        samples, limit = self._dataset.num_samples, self._config.max_num_batches
        expected = min(samples, limit * self._config.batch_size) if limit else samples
        with self.batches(checkpoint) as batches, progress.bar("Evaluating", expected) as done:
            batches.restart()
            for count in one_pass(batches.next, scores, expected, self._dataset):
                done(count)
        step, seconds = checkpoints.step_of(checkpoint) or 0, time.monotonic() - started
        return Result(checkpoint, step, scores, seconds, batches.net)

    @contextlib.contextmanager
    def batches(self, checkpoint: str) -> Iterator[Batches]:
        """Logits, labels and paths, batch by batch, until tf.errors.OutOfRangeError.

        Raises:
            FlagError: the checkpoint is of another net or of other classes.
            CheckpointError: it cannot be read.
            DataError: a record is damaged.
        """
        net = self.freezer.frozen(checkpoint, self._config)
        with (
            tf.Graph().as_default(),
            sessions.session(self._config) as session,
            input_pipeline.damage_named(self._dataset, self._config.labels_offset),
        ):
            batch = input_pipeline.evaluation_batch(self._dataset, self._config)
            images, logits = self.freezer.images.name, self.freezer.logits.name
            (logits,) = tf.import_graph_def(net, {images: batch.images}, [logits], name="")
            yield Batches(
                net,
                session.make_callable(batch.start),
                session.make_callable([logits, batch.labels, batch.names]),
            )


def one_pass(
    next_batch: Callable[[], tuple[np.ndarray, ...]],
    scores: Scores,
    expected: int,
    dataset: LoadedSplit,
) -> Iterator[int]:
    """Adds as many pictures to the scores as are expected, each once; gives the size of each batch.

    Args:
        next_batch: logits, labels and paths of the next pictures of a split.
        scores: to add to.
        expected: how many pictures.
        dataset: the split, to be named.

    Raises:
        DataError: fewer records came.
        DivergedError: the model's outputs are not finite.
    """
    while scores.count < expected:
        try:
            logits, labels, names = next_batch()
        except tf.errors.OutOfRangeError:
            raise DataError(
                f"{scores.count} records read, {expected} expected",
                where=str(dataset.directory),
                remedy="convert the dataset again",
            ) from None
        scores.add(logits, labels, names)
        yield len(labels)
