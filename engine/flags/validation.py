"""The flags of validation while training: when, and what follows from it."""

from typing import Any

from absl import flags as absl_flags

from core.errors import FlagError
from core.flags import Group

METRICS = ("loss", "accuracy", "balanced_accuracy", "f1_macro", "mcc")


def define(flag_values: absl_flags.FlagValues) -> None:
    """Validation, the best checkpoint, early stopping, reduction on a plateau."""
    group = Group("Validation", flag_values)
    group.string(
        "validation_split_name", None, "Split to validate on while training; default: none."
    )
    group.integer(
        "validate_every_n_steps", None, "Steps between two validations, instead of epochs.", lower=1
    )
    group.float(
        "validate_every_n_epochs",
        None,
        "Epochs between two validations; default: 1.",
        lower=0.001,
    )
    group.choice(
        "best_metric",
        "accuracy",
        METRICS,
        "What decides on the checkpoint in best/, early stopping and a plateau.",
    )
    group.integer(
        "early_stopping_patience",
        None,
        "Stop after so many validations in a row without an improvement; default: never.",
        lower=1,
    )
    group.float(
        "early_stopping_min_delta",
        0.0,
        "What is an improvement, to early stopping and a plateau: by more than this.",
        lower=0.0,
    )
    group.integer(
        "plateau_patience",
        5,
        "--learning_rate_decay_type=plateau: lower the rate after so many validations in a row "
        "without an improvement.",
        lower=1,
    )
    group.float(
        "plateau_factor",
        0.1,
        "Factor by which a plateau lowers the rate, down to --end_learning_rate.",
        lower=0.0,
        upper=1.0,
    )


def check(config: Any) -> None:
    """FlagError for flags of validation that do not go together."""
    if config.validate_every_n_steps and config.validate_every_n_epochs:
        raise FlagError(
            "--validate_every_n_steps and --validate_every_n_epochs say the same in two ways",
            remedy="pass one of them",
        )
    if config.validation_split_name:
        return
    needed_by = {
        name: getattr(config, name)
        for name in ("validate_every_n_steps", "validate_every_n_epochs", "early_stopping_patience")
    }
    if config.learning_rate_decay_type == "plateau":
        needed_by["learning_rate_decay_type"] = "plateau"
    for name, value in needed_by.items():
        if value is not None:
            raise FlagError(
                f"--{name}={value} goes with validation",
                remedy="pass --validation_split_name, for example validation",
            )
