"""The flags of the net: which one, its layers, where its weights come from."""

from typing import Any

from absl import flags as absl_flags

from core.errors import FlagError
from core.flags import Group
from nets.nets_factory import NETS, listing

LARGEST_HEAD = 65_536  # units of a hidden layer: 256 times what is usual


def define_model(flag_values: absl_flags.FlagValues) -> None:
    """The flags that say which net it is and how its pictures are prepared."""
    group = Group("Model", flag_values)
    group.string("model_name", "inception_v3", f"One of {', '.join(NETS)}.")
    group.shown("list_models", "Show the nets, how large they are and what they cost.", listing)
    group.string(
        "preprocessing_name",
        None,
        "inception, vgg, imagenet, cifarnet, lenet, pad_crop, or the name of a net; default: what "
        "the net goes with.",
    )
    group.boolean("use_grayscale", False, "Turn colour pictures into grey ones.")
    group.float(
        "depth_multiplier",
        None,
        "Factor on the number of filters of each layer; default: the net's own, 1.",
        lower=0.01,
        upper=16.0,
    )
    group.integer(
        "stem_stride",
        None,
        "By how much the first layers shrink the picture, up to the net's own (2, 4 or 8), which "
        "is the default; small pictures want less.",
        lower=1,
    )
    group.integer(
        "head_units",
        0,
        "Classify by a fully connected layer of so many units and one of logits, in place of the "
        "net's own head; 0: the net's own.",
        lower=0,
        upper=LARGEST_HEAD,
    )
    group.integer(
        "labels_offset",
        0,
        "Subtracted from each label and from the number of classes, for nets without the "
        "background class 0.",
        lower=0,
    )


def define_layers(flag_values: absl_flags.FlagValues) -> None:
    """The layers of a net in training."""
    group = Group("Batch norm, dropout and initial values", flag_values)
    group.float(
        "batch_norm_decay",
        None,
        "Decay of the moving averages of batch norm; default: the net's own, 0.99 to 0.9997. A run "
        "of fewer than about 3/(1-decay) steps wants less, for example 0.99.",
        lower=0.0,
        upper=1.0,
    )
    group.float(
        "dropout_keep_prob",
        None,
        "Share of the features that dropout keeps; default: the net's own (most 0.8, mobilenet_v1 "
        "0.999, vgg_16 0.5). Short runs want 1.",
        lower=0.01,
        upper=1.0,
    )
    group.float(
        "head_dropout",
        0.0,
        "Share of the units of --head_units that dropout drops.",
        lower=0.0,
        upper=0.99,
    )
    group.boolean(
        "zero_init_residual",
        None,
        "resnet_v1: begin with units that are their shortcuts, with which short runs learn faster.",
    )


def check_layers(config: Any) -> None:
    """FlagError for flags of layers that the net is built without."""
    if config.head_dropout and not config.head_units:
        raise FlagError(
            f"--head_dropout={config.head_dropout} goes with --head_units",
            remedy="pass it, or --dropout_keep_prob for the net's own head",
        )
    if config.head_units and config.dropout_keep_prob is not None:
        raise FlagError(
            f"--dropout_keep_prob={config.dropout_keep_prob} is of the net's own head, which "
            f"--head_units={config.head_units} replaces",
            remedy="pass --head_dropout",
        )
