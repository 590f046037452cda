"""The flags of fine-tuning."""

from absl import flags as absl_flags

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
    group.boolean(
        "ignore_missing_vars", False, "Leave out variables that the checkpoint does not have."
    )


def scopes(value: str | None) -> list[str]:
    """The entries of a comma-separated list of scopes, without blanks and closing slashes."""
    return [scope.strip().rstrip("/") for scope in (value or "").split(",") if scope.strip()]
