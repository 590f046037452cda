"""The flags of fine-tuning."""

from typing import Any

from absl import flags as absl_flags

from core.errors import FlagError
from core.flags import Group


def define(flag_values: absl_flags.FlagValues) -> None:
    """The flags of fine-tuning."""
    group = Group("Fine-tuning", flag_values)
    group.string(
        "checkpoint_path",
        None,
        "Run directory or checkpoint to start from; a checkpoint in train_dir goes before it.",
    )
    group.string(
        "checkpoint_exclude_scopes", None, "Scopes that are not restored, separated by commas."
    )
    group.string(
        "trainable_scopes", None, "Scopes that are trained, separated by commas; default: all."
    )
    group.integer(
        "unfreeze_last_n_layers",
        None,
        "Train the head and so many layers below it; a layer is a convolution or a fully connected "
        "layer, with its batch norm. Default: all.",
        lower=0,
    )
    group.integer(
        "head_only_steps",
        0,
        "Train the head alone for so many steps, at --learning_rate; then what --trainable_scopes "
        "or --unfreeze_last_n_layers say, by the learning rate's schedule, which begins there.",
        lower=0,
    )
    group.float(
        "finetune_learning_rate",
        None,
        "Learning rate with which the schedule begins after --head_only_steps; default: "
        "--learning_rate.",
        lower=0.0,
    )
    group.boolean(
        "ignore_missing_vars", False, "Leave out variables that the checkpoint does not have."
    )
    group.float(
        "layer_decay",
        1.0,
        "Each layer below the head learns at so many times the rate of the one above it; 1: all at "
        "the same.",
        lower=0.01,
        upper=1.0,
    )
    group.boolean(
        "freeze_batch_norm",
        False,
        "Normalise by the moving statistics of the checkpoint, which stay as they are, as do gamma "
        "and beta.",
    )


def check(config: Any) -> None:
    """FlagError for flags of fine-tuning that do not go together."""
    if config.checkpoint_exclude_scopes and not config.checkpoint_path:
        raise FlagError("--checkpoint_exclude_scopes goes with --checkpoint_path")
    if config.trainable_scopes and config.unfreeze_last_n_layers is not None:
        raise FlagError(
            "--trainable_scopes and --unfreeze_last_n_layers both say what is trained",
            remedy="pass one of them",
        )
    if config.finetune_learning_rate is not None and not config.head_only_steps:
        raise FlagError(
            f"--finetune_learning_rate={config.finetune_learning_rate} begins after "
            "--head_only_steps, of which there are none",
            remedy="pass them, or --learning_rate alone",
        )
    if config.head_only_steps % config.accumulate_steps:
        raise FlagError(
            f"--head_only_steps={config.head_only_steps} is not a multiple of "
            f"--accumulate_steps={config.accumulate_steps}",
            remedy="the head's last gradients would be lost: make it one",
        )
    if config.freeze_batch_norm and not config.checkpoint_path:
        raise FlagError(
            "--freeze_batch_norm keeps the statistics of a checkpoint, and there is none",
            remedy="pass --checkpoint_path",
        )
    if config.freeze_batch_norm and config.batch_norm_decay is not None:
        raise FlagError(
            f"--batch_norm_decay={config.batch_norm_decay} is of moving averages that "
            "--freeze_batch_norm keeps as they are",
            remedy="leave one of them out",
        )


def scopes(value: str | None) -> list[str]:
    """The entries of a comma-separated list of scopes, without blanks and closing slashes."""
    return [scope.strip().rstrip("/") for scope in (value or "").split(",") if scope.strip()]
