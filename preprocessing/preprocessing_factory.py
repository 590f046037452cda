"""Which recipe goes with which name: the recipes themselves, and the nets trained with them."""

import functools
from collections.abc import Callable
from typing import Any

from core.registry import Registry, load

# Recipe: the nets that go with it, those of research/slim as there.
NETS_OF_RECIPE = {
    "cifarnet": (),
    "imagenet": ("densenet121", "efficientnet_b0", "efficientnet_b1"),
    "inception": (
        *("inception_v1", "inception_v2", "inception_v3", "inception_v4", "inception_resnet_v2"),
        *("mobilenet_v1", "mobilenet_v1_075", "mobilenet_v1_050", "mobilenet_v1_025"),
        *("mobilenet_v2", "mobilenet_v2_035", "mobilenet_v2_050"),
        *("mobilenet_v2_075", "mobilenet_v2_140"),
        *("mobilenet_v3_small", "mobilenet_v3_small_minimalistic"),
        *("mobilenet_v3_large", "mobilenet_v3_large_minimalistic"),
        *("mobilenet_edgetpu", "mobilenet_edgetpu_075"),
        *("nasnet_mobile", "nasnet_large", "pnasnet_mobile", "pnasnet_large"),
    ),
    "lenet": (),
    "pad_crop": (),
    "vgg": (
        *("vgg_a", "vgg_16", "vgg_19"),
        *("resnet_v1_18", "resnet_v1_34"),
        *("resnet_v1_50", "resnet_v1_101", "resnet_v1_152", "resnet_v1_200"),
        *("resnet_v2_50", "resnet_v2_101", "resnet_v2_152", "resnet_v2_200"),
    ),
}

PREPROCESSING: Registry[str] = Registry(
    "Preprocessing name [%s] was not recognized",
    {
        name: f"preprocessing.{recipe}_preprocessing:preprocess_image"
        for recipe, nets in NETS_OF_RECIPE.items()
        for name in (recipe, *nets)
    },
)


def get_preprocessing(
    name: str, is_training: bool = False, use_grayscale: bool = False
) -> Callable[..., Any]:
    """The preprocessing of that name.

    Args:
        name: a recipe or a net, a key of PREPROCESSING.
        is_training: whether to distort images.
        use_grayscale: whether 3 channels become 1.

    Returns:
        A function (image, output_height, output_width, **kwargs) -> float32
        [output_height, output_width, channels], of one image [h, w, 1 or 3] with values 0..255;
        kwargs are those of the recipe's `preprocess_image`, for one the `seed` in training and
        `augment`, a further distortion.

    Raises:
        FlagError: the name is unknown.
    """
    preprocess_image = load(PREPROCESSING[name])
    return functools.partial(preprocess_image, is_training=is_training, use_grayscale=use_grayscale)


def get_to_pixels(name: str) -> Callable[[Any], Any]:
    """The way back from what the preprocessing of that name gives to a picture that can be shown.

    Args:
        name: a recipe or a net, a key of PREPROCESSING.

    Returns:
        A function of a float32 array [..., channels] that gives uint8 of the same shape.

    Raises:
        FlagError: the name is unknown.
    """
    recipe, _, _ = PREPROCESSING[name].partition(":")
    return load(f"{recipe}:to_pixels")
