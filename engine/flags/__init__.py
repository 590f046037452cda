"""Every flag of training and evaluation, each defined once, in the group it belongs to.

Names and defaults are those of research/slim's train_image_classifier.py and
eval_image_classifier.py; what differs, and why, stands in the flag's own help.
"""

from collections.abc import Sequence
from typing import Any

from absl import flags as absl_flags

from core.errors import FlagError
from core.flags import Group
from engine.flags import augmentation, evaluation, imbalance, transfer, validation
from engine.flags.data import (
    LARGEST_IMAGE,
    define_dataset,
    define_image_limits,
    define_training_data,
    image_sizes,
)
from engine.flags.model import check_layers, define_layers, define_model
from engine.flags.optimizer import (
    OPTIMIZERS,
    SCHEDULES,
    check_learning_rate,
    define_learning_rate,
    define_moving_average,
    define_optimizer,
)
from engine.flags.run import define_distribution, define_machine, define_precision, define_run
from engine.flags.transfer import scopes
from nets.nets_factory import NETS
from preprocessing.preprocessing_factory import PREPROCESSING

__all__ = [
    "LARGEST_IMAGE",
    "OPTIMIZERS",
    "check_evaluation",
    "check_model",
    "check_training",
    "define_evaluation",
    "define_image_limits",
    "define_machine",
    "define_model",
    "define_training",
    "image_sizes",
    "scopes",
]


def define_training(flag_values: absl_flags.FlagValues) -> None:
    """The flags of train_image_classifier.py."""
    define_run(flag_values)
    define_distribution(flag_values)
    define_optimizer(flag_values)
    define_learning_rate(flag_values)
    define_dataset(flag_values, split="train", batch_size=32)
    define_training_data(flag_values)
    imbalance.define(flag_values)
    augmentation.define(flag_values)
    define_model(flag_values)
    define_layers(flag_values)
    transfer.define(flag_values)
    validation.define(flag_values)
    define_precision(flag_values)
    define_machine(flag_values)


def define_evaluation(flag_values: absl_flags.FlagValues) -> None:
    """The flags of eval_image_classifier.py."""
    evaluation.define(flag_values)
    define_dataset(flag_values, split="test", batch_size=100)
    define_model(flag_values)
    define_moving_average(Group("Moving averages", flag_values))
    define_machine(flag_values)


def check_training(config: Any) -> None:
    """FlagError for values of the training flags that do not go together."""
    check_model(config)
    _check_known("learning_rate_decay_type", config.learning_rate_decay_type, SCHEDULES)
    _check_known("Optimizer", config.optimizer, OPTIMIZERS)
    check_learning_rate(config)
    if config.quantize_delay >= 0:
        raise FlagError("--quantize_delay is not built", remedy="leave it at -1")
    single = {"num_clones": 1, "worker_replicas": 1, "num_ps_tasks": 0, "task": 0}
    single |= {"sync_replicas": False, "replicas_to_aggregate": 1}
    for name, value in single.items():
        if getattr(config, name) != value:
            raise FlagError(
                f"--{name}={getattr(config, name)}: training runs in one process on one device",
                remedy=f"leave it at {value}",
            )
    image_sizes(config)
    augmentation.check(config)
    validation.check(config)
    imbalance.check(config)
    check_layers(config)
    transfer.check(config)


def check_evaluation(config: Any) -> None:
    """FlagError for values of the evaluation flags that do not go together."""
    if config.quantize:
        raise FlagError("--quantize is not built", remedy="leave it out")


def check_model(config: Any) -> None:
    """FlagError unless the flags name a dataset directory, a net and a preprocessing."""
    if not config.dataset_dir:
        raise FlagError("You must supply the dataset directory with --dataset_dir")
    NETS[config.model_name]
    if config.preprocessing_name:
        PREPROCESSING[config.preprocessing_name]


def _check_known(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise FlagError(
            f"{what} [{value}] was not recognized", remedy=f"choose from {', '.join(known)}"
        )
