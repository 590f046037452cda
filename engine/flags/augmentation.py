"""The flags of augmentation: how pictures are distorted and mixed in training."""

from typing import Any

from absl import flags as absl_flags

from core.errors import FlagError
from core.flags import Group

MOST_LAYERS = 10  # each of them adds fourteen branches to the graph of the input
LARGEST_ZOOM = 0.9  # shrinks a picture to a tenth of its sides


def define(flag_values: absl_flags.FlagValues) -> None:
    """The flags of augmentation."""
    group = Group("Augmentation", flag_values)
    group.boolean(
        "recipe_augmentation",
        True,
        "Distort pictures as the preprocessing does in training; if not, they are prepared as in "
        "evaluation, and distorted only as the other flags say.",
    )
    _define_geometry(group)
    _define_colours(group)
    _define_parts(group)
    _define_policies(group)
    group.string(
        "preview_augmentation",
        None,
        "Only write a PNG file to look at: the first 8 pictures of the split, as evaluation sees "
        "them and as training is fed of them in epochs 0 to 6, in --train_image_size.",
    )


def _define_geometry(group: Group) -> None:
    group.float(
        "rotation_degrees",
        0.0,
        "Turn pictures by up to so many degrees, either way. What comes in from outside is the "
        "picture mirrored at its edges.",
        lower=0.0,
        upper=180.0,
    )
    group.float(
        "zoom_range",
        0.0,
        "Enlarge or shrink pictures, by a factor of 1 - z to 1 + z.",
        lower=0.0,
        upper=LARGEST_ZOOM,
    )
    group.float(
        "shift_fraction",
        0.0,
        "Shift pictures by up to this fraction of their height and of their width.",
        lower=0.0,
        upper=1.0,
    )
    group.boolean("flip_left_right", False, "Mirror half of the pictures left to right.")
    group.boolean("flip_up_down", False, "Mirror half of the pictures top to bottom.")


def _define_colours(group: Group) -> None:
    for name, what, most in (
        ("brightness_range", "Add up to b of white to all values, or subtract as much.", 1.0),
        ("contrast_range", "Scale the distance from the mean, by a factor of 1 - c to 1 + c.", 1.0),
        ("saturation_range", "Scale the saturation, by a factor of 1 - s to 1 + s.", 1.0),
        ("hue_range", "Turn the hue by up to this part of the colour circle, either way.", 0.5),
    ):
        group.float(name, 0.0, what, lower=0.0, upper=most)


def _define_parts(group: Group) -> None:
    group.float(
        "cutout_fraction",
        0.0,
        "Side of a square that is blanked in each picture, as a fraction of the picture's.",
        lower=0.0,
        upper=1.0,
    )
    group.float(
        "erasing_probability",
        0.0,
        "Fill a rectangle, of 0.02 to 0.4 of the picture, with noise in this share of the pictures "
        "(random erasing).",
        lower=0.0,
        upper=1.0,
    )


def _define_policies(group: Group) -> None:
    group.integer(
        "randaugment_layers",
        0,
        "RandAugment's N: so many of its 14 distortions are drawn for each picture; 0: off.",
        lower=0,
        upper=MOST_LAYERS,
    )
    group.float(
        "randaugment_magnitude",
        9.0,
        "RandAugment's M: how strong they are, on the scale of its paper; 10 is the most.",
        lower=0.0,
        upper=10.0,
    )
    group.float(
        "mixup_alpha",
        0.0,
        "Mix pairs of pictures and of their labels, with shares from Beta(alpha, alpha); 0: off.",
        lower=0.0,
    )
    group.float(
        "cutmix_alpha",
        0.0,
        "Paste a rectangle of another picture, the label counting by area, with shares from "
        "Beta(alpha, alpha); 0: off. With --mixup_alpha, each batch takes one of the two.",
        lower=0.0,
    )


def check(config: Any) -> None:
    """FlagError for values of these flags that do not go together."""
    for name in ("mixup_alpha", "cutmix_alpha"):
        if getattr(config, name) and config.batch_size == 1:
            raise FlagError(
                f"--{name} mixes the pictures of a batch, and --batch_size is 1",
                remedy="raise it",
            )
    path = config.preview_augmentation
    if path is not None and not path.lower().endswith(".png"):
        raise FlagError(f"--preview_augmentation={path}: the name of a PNG file ends in .png")
