"""The flags of data whose classes have few and many pictures."""

from typing import Any

from absl import flags as absl_flags

from core.errors import FlagError
from core.flags import Group

BALANCED = "balanced"  # a value of --class_weights; all others are files


def define(flag_values: absl_flags.FlagValues) -> None:
    """The flags of imbalance."""
    group = Group("Imbalance", flag_values)
    group.string(
        "class_weights",
        None,
        "What the loss of a picture is multiplied by, according to its class. balanced: pictures / "
        "(classes x pictures of the class), which is 1 in the mean. FILE: one line name:weight for "
        "each class. Default: 1.",
    )
    group.float(
        "focal_gamma",
        0.0,
        "Focal loss: multiply the loss of a class that has probability p by (1-p)^gamma, so that "
        "what is hard counts more; 2 is usual, 0: cross-entropy.",
        lower=0.0,
        upper=10.0,  # Lin et al. 2017, table 1b, goes up to 5
    )
    group.boolean(
        "oversample",
        False,
        "Every class comes as often as the largest: an epoch has the pictures of smaller ones "
        "several times, each time distorted otherwise. Not with --class_weights=balanced, which "
        "would balance twice; a FILE goes with it.",
    )


def check(config: Any) -> None:
    """FlagError for values of these flags that do not go together."""
    if config.oversample and config.class_weights == BALANCED:
        raise FlagError(
            f"--oversample and --class_weights={BALANCED} would balance the classes twice",
            remedy="leave one of them out",
        )
