"""The flags of data whose classes have few and many pictures."""

from absl import flags as absl_flags

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
