"""Preprocessing of Inception, MobileNet and NASNet: crops of any size and aspect, and colours.

Szegedy et al. 2014, "Going deeper with convolutions", section 6, and Howard 2013, "Some
improvements on deep convolutional neural network based image classification"; the constants are
those of research/slim.
"""

import functools
from collections.abc import Callable

import numpy as np

from core.compat import tf
from preprocessing import ops

CENTRAL_FRACTION = 0.875  # of each side: 224 of 256
MAX_BRIGHTNESS_DELTA = 32 / 255
SATURATION_RANGE = (0.5, 1.5)
MAX_HUE_DELTA = 0.2  # of the colour circle
CONTRAST_RANGE = (0.5, 1.5)

# The two ways of fast_mode=False: the orders of the colour changes, and how to resize.
COLOR_ORDERS = (
    ("brightness", "saturation", "hue", "contrast"),
    ("saturation", "brightness", "contrast", "hue"),
    ("contrast", "hue", "brightness", "saturation"),
    ("hue", "saturation", "contrast", "brightness"),
)
RESIZE_METHODS = (
    tf.raw_ops.ResizeBilinear,
    tf.raw_ops.ResizeNearestNeighbor,
    tf.raw_ops.ResizeBicubic,
    tf.raw_ops.ResizeArea,
)


def distort_color(
    image: tf.Tensor, seed: tf.Tensor, order: tuple[str, ...] = ("brightness", "saturation")
) -> tf.Tensor:
    """Changes the colours of a float image with values 0..1, and cuts off what leaves that range.

    Args:
        image: float32 [height, width, 1 or 3]; with 1 channel, saturation and hue are left out.
        seed: integers [2].
        order: the changes, first to last.

    Returns:
        float32 of the same shape, values 0..1.
    """
    changes = {
        "brightness": lambda image, seed: ops.random_brightness(image, MAX_BRIGHTNESS_DELTA, seed),
        "contrast": lambda image, seed: ops.random_contrast(image, *CONTRAST_RANGE, seed),
    }
    if ops.num_channels(image) == 3:
        changes |= {
            "saturation": lambda image, seed: ops.random_saturation(image, *SATURATION_RANGE, seed),
            "hue": lambda image, seed: ops.random_hue(image, MAX_HUE_DELTA, seed),
        }
    for name, change_seed in zip(order, ops.split_seed(seed, len(order)), strict=True):
        if name in changes:
            image = changes[name](image, change_seed)
    return tf.clip_by_value(image, 0.0, 1.0)


def to_symmetric_range(image: tf.Tensor) -> tf.Tensor:
    """Values 0..1 as -1..1."""
    return image * 2.0 - 1.0


def preprocess_for_train(
    image: tf.Tensor,
    height: int,
    width: int,
    seed: tf.Tensor | None = None,
    use_grayscale: bool = False,
    bbox: tf.Tensor | None = None,
    fast_mode: bool = True,
    crop_image: bool = True,
    augment: ops.Augment | None = None,
    normalize: Callable[[tf.Tensor], tf.Tensor] = to_symmetric_range,
) -> tf.Tensor:
    """Cuts a random part out, resizes, mirrors and changes the colours.

    Args:
        image: uint8 or float [h, w, 1 or 3], values 0..255.
        height: pixels.
        width: pixels.
        seed: integers [2]; None draws them from the graph's generator.
        use_grayscale: whether 3 channels become 1.
        bbox: float [1, boxes, 4], objects to be seen in the crop, each (ymin, xmin, ymax, xmax) as
            fractions of the image; None for the whole image.
        fast_mode: resize bilinearly and change only brightness and saturation; otherwise one of
            RESIZE_METHODS and one of COLOR_ORDERS, at random.
        crop_image: whether to cut out a part.
        augment: distorts the picture further, float32 [height, width, channels], values 0..255.
        normalize: makes what the net is given of float32 [height, width, channels], values 0..1.

    Returns:
        float32 [height, width, channels].
    """
    crop_seed, resize_seed, flip_seed, order_seed, color_seed = ops.split_seed(seed, 5)
    if crop_image:
        image = ops.random_bounding_box_crop(image, crop_seed, bbox)
    if fast_mode:
        image = ops.resize(image, height, width)
    else:
        image = ops.random_choice(
            [functools.partial(ops.resize, image, height, width, m) for m in RESIZE_METHODS],
            resize_seed,
        )
    image = ops.random_flip_left_right(ops.to_unit_range(image), flip_seed)
    if fast_mode:
        image = distort_color(image, color_seed)
    else:
        image = ops.random_choice(
            [functools.partial(distort_color, image, color_seed, o) for o in COLOR_ORDERS],
            order_seed,
        )
    if use_grayscale:
        image = ops.to_grayscale(image)
    if augment:
        image = ops.to_unit_range(augment(image * 255.0))
    return normalize(image)


def preprocess_for_eval(
    image: tf.Tensor,
    height: int,
    width: int,
    use_grayscale: bool = False,
    central_fraction: float = CENTRAL_FRACTION,
    crop_image: bool = True,
    augment: ops.Augment | None = None,
    normalize: Callable[[tf.Tensor], tf.Tensor] = to_symmetric_range,
) -> tf.Tensor:
    """Takes the middle and resizes it.

    Args:
        image: uint8 or float [h, w, 1 or 3], values 0..255.
        height: pixels.
        width: pixels.
        use_grayscale: whether 3 channels become 1.
        central_fraction: the part of each side that is kept.
        crop_image: whether to take the middle; otherwise the whole image is resized.
        augment: distorts the picture further, float32 [height, width, channels], values 0..255.
        normalize: makes what the net is given of float32 [height, width, channels], values 0..1.

    Returns:
        float32 [height, width, channels].
    """
    if crop_image:
        image = ops.central_crop(image, central_fraction)
    image = ops.resize(image, height, width)
    if use_grayscale:
        image = ops.to_grayscale(image)
    if augment:
        image = augment(image)
    return normalize(ops.to_unit_range(image))


def to_pixels(preprocessed: np.ndarray) -> np.ndarray:
    """Pictures as they were before they were scaled, uint8 of the same shape."""
    return ops.to_bytes((preprocessed + 1) * 127.5)


def preprocess_image(
    image: tf.Tensor,
    output_height: int,
    output_width: int,
    is_training: bool = False,
    use_grayscale: bool = False,
    seed: tf.Tensor | None = None,
    bbox: tf.Tensor | None = None,
    fast_mode: bool = True,
    crop_image: bool = True,
    augment: ops.Augment | None = None,
    normalize: Callable[[tf.Tensor], tf.Tensor] = to_symmetric_range,
) -> tf.Tensor:
    """Preprocesses one image for training or for evaluation.

    Args:
        image: uint8 or float [h, w, 1 or 3], values 0..255.
        output_height: pixels.
        output_width: pixels.
        is_training: whether to distort the image.
        use_grayscale: whether 3 channels become 1.
        seed: integers [2], in training; None draws them from the graph's generator.
        bbox: in training, the objects to be seen in the crop, as in `preprocess_for_train`.
        fast_mode: in training, whether to keep to the cheap distortions.
        crop_image: whether to cut out a part of the image.
        augment: distorts the picture further, float32 [height, width, channels], values 0..255.
        normalize: makes what the net is given of float32 [height, width, channels], values 0..1.

    Returns:
        float32 [output_height, output_width, channels], values -1..1, or what normalize makes.

    Raises:
        FlagError: the image has neither 1 nor 3 channels.
    """
    if is_training:
        return preprocess_for_train(
            image,
            output_height,
            output_width,
            seed,
            use_grayscale,
            bbox,
            fast_mode,
            crop_image,
            augment,
            normalize,
        )
    return preprocess_for_eval(
        image,
        output_height,
        output_width,
        use_grayscale,
        crop_image=crop_image,
        augment=augment,
        normalize=normalize,
    )
