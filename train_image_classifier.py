r"""Trains an image classifier.

    python train_image_classifier.py --train_dir=RUN --dataset_dir=DIR --dataset_name=cifar10 \
        --model_name=mobilenet_v1 --train_image_size=32 --max_number_of_steps=10000

The run directory holds checkpoints, TensorBoard's event files, flags.txt and run.json; the same
command resumes a run that was stopped.
"""

from typing import Any

import datasets
from core import script
from engine import flags


def main(config: Any) -> None:
    """One training run, top to bottom."""
    flags.check_training(config)
    dataset = datasets.load(config.dataset_dir, config.dataset_name, config.dataset_split_name)
    validation = (
        datasets.load(config.dataset_dir, config.dataset_name, config.validation_split_name)
        if config.validation_split_name
        else None
    )

    from core.compat import tf
    from engine import (
        history,
        imbalance,
        input_pipeline,
        model,
        optimization,
        preview,
        run_dir,
        summaries,
        trained_layers,
        training,
    )
    from engine.tracking import Tracker

    config = run_dir.settled(dataset, config)
    run = run_dir.describe(dataset, config)
    if config.preview_augmentation:
        preview.write(config.preview_augmentation, dataset, config)
        return
    if run_dir.finished(config):
        return
    class_weights = imbalance.class_weights(dataset, config)
    with run_dir.opened(run, dataset, config, validation) as directory, tf.Graph().as_default():
        tf.set_random_seed(config.seed)
        tf.train.create_global_step()
        epoch_size = input_pipeline.epoch_size(dataset, config)
        record = history.History(directory, epoch_size, config)
        batch = input_pipeline.training_batch(dataset, config)
        classifier = model.build(batch, run.num_classes, config, class_weights)
        learning_rate = optimization.make_learning_rate(epoch_size, config, record.factor)
        trained = trained_layers.trained(config)
        train_ops = optimization.train_ops(classifier, learning_rate, trained, config)
        summary_op = summaries.training_summaries(classifier, learning_rate)
        tracker = Tracker(record, learning_rate, validation, directory, config)
        training.run(classifier, train_ops, summary_op, tracker, dataset, directory, config)


if __name__ == "__main__":
    script.run(main, flags.define_training, __doc__)
