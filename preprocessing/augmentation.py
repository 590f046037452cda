"""Distortions that the user asks for, beside those of the recipes: pure functions of one image.

An image is a float32 tensor [height, width, channels] with 1 or 3 channels and values 0..255, of
the size that the net is given, and so is what becomes of it. Every random function takes a seed, an
integer tensor [2]; `augmenter` puts together what the flags ask for.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

from core.compat import tf
from preprocessing import ops, rand_augment

# Zhong et al. 2017, "Random erasing data augmentation", arXiv:1708.04896, in all its experiments:
# s_l and s_h, of the area of the image; r_1 and r_2, height by width.
ERASED_AREA = (0.02, 0.4)
ERASED_ASPECT = (0.3, 1 / 0.3)


def augmenter(config: Any) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None:
    """The distortions that the flags ask for, first to last; nothing else is computed.

    Each has a seed of its own, so that it draws the same whichever others are on.

    Args:
        config: read here: rotation_degrees, zoom_range, shift_fraction, flip_left_right,
            flip_up_down, randaugment_layers, randaugment_magnitude, brightness_range,
            contrast_range, saturation_range, hue_range, erasing_probability.

    Returns:
        A function (image, seed) -> image, or None if nothing is asked for.
    """
    flips = {"left_right": config.flip_left_right, "up_down": config.flip_up_down}
    ranges = {
        "rotation_degrees": config.rotation_degrees,
        "zoom_range": config.zoom_range,
        "shift_fraction": config.shift_fraction,
    }
    layers, magnitude = config.randaugment_layers, config.randaugment_magnitude
    # (what asks for it, function, its keywords)
    steps = (
        (any(flips.values()), ops.random_flip, flips),
        (any(ranges.values()), random_affine, ranges),
        (layers, rand_augment.rand_augment, {"layers": layers, "magnitude": magnitude}),
        (config.brightness_range, random_brightness, {"extent": config.brightness_range}),
        (config.contrast_range, random_contrast, {"extent": config.contrast_range}),
        (config.saturation_range, random_saturation, {"extent": config.saturation_range}),
        (config.hue_range, random_hue, {"extent": config.hue_range}),
        (config.erasing_probability, random_erasing, {"probability": config.erasing_probability}),
    )
    if not any(asked for asked, _, _ in steps):
        return None

    def augment(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        seeds = ops.split_seed(seed, len(steps))
        for (asked, step, keywords), step_seed in zip(steps, seeds, strict=True):
            if asked:
                image = step(image, seed=step_seed, **keywords)
        return image

    return augment


# Geometry.


def random_affine(
    image: tf.Tensor,
    seed: tf.Tensor,
    rotation_degrees: float = 0.0,
    zoom_range: float = 0.0,
    shift_fraction: float = 0.0,
) -> tf.Tensor:
    """Turns, enlarges or shrinks, and shifts the image, in one resampling.

    Args:
        image: float32 [height, width, channels].
        seed: integers [2].
        rotation_degrees: the turn is from -rotation_degrees..rotation_degrees.
        zoom_range: the factor is from 1 - zoom_range..1 + zoom_range.
        shift_fraction: the shifts are from -shift_fraction..shift_fraction, of the height and of
            the width.
    """
    turn, zoom, down, right = tf.unstack(tf.random.stateless_uniform([4], seed, -1.0, 1.0))
    angle, factor = math.radians(rotation_degrees) * turn, 1.0 + zoom_range * zoom
    cosine, sine = tf.cos(angle) / factor, tf.sin(angle) / factor
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    shift = (shift_fraction * down * height, shift_fraction * right * width)
    return ops.affine(image, ((cosine, sine), (-sine, cosine)), shift)


# Colours. What leaves 0..255 is cut off.


def random_brightness(image: tf.Tensor, seed: tf.Tensor, extent: float) -> tf.Tensor:
    """Adds one number from -255 extent..255 extent to all values."""
    return _within(ops.random_brightness(image, 255.0 * extent, seed))


def random_contrast(image: tf.Tensor, seed: tf.Tensor, extent: float) -> tf.Tensor:
    """Scales the distance from the mean of each channel by a factor of 1 - extent..1 + extent."""
    return _within(ops.random_contrast(image, 1 - extent, 1 + extent, seed))


def random_saturation(image: tf.Tensor, seed: tf.Tensor, extent: float) -> tf.Tensor:
    """Scales the saturation by a factor of 1 - extent..1 + extent; grey stays as it is."""
    if ops.num_channels(image) == 1:
        return image
    return _within(ops.random_saturation(image, 1 - extent, 1 + extent, seed))


def random_hue(image: tf.Tensor, seed: tf.Tensor, extent: float) -> tf.Tensor:
    """Turns the hue by -extent..extent of the colour circle; grey stays as it is."""
    return image if ops.num_channels(image) == 1 else _within(ops.random_hue(image, extent, seed))


def _within(image: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(image, 0.0, 255.0)


# Parts.


def random_erasing(image: tf.Tensor, seed: tf.Tensor, probability: float) -> tf.Tensor:
    """Fills a rectangle with noise, so often: Zhong et al. 2017, arXiv:1708.04896, algorithm 1.

    The rectangle lies within the image. Where the paper draws again until one does, the aspect is
    drawn from what fits, and evenly on a logarithmic scale, so that upright and lying rectangles
    come as often. Every value of it is drawn from 0..255, the choice of the paper: the mean is what
    cutout blanks with already.

    Args:
        image: float32 [height, width, channels].
        seed: integers [2].
        probability: of an image having such a rectangle.
    """
    box_seed, noise_seed = ops.split_seed(seed, 2)
    coin, area, aspect, *place = tf.unstack(tf.random.stateless_uniform([5], box_seed))

    def erased() -> tf.Tensor:
        sides = tf.shape(image)[:2]
        begin, end = _erased_box(tf.cast(sides, tf.float32), area, aspect, tf.stack(place))
        noise = tf.random.stateless_uniform(tf.shape(image), noise_seed, 0.0, 255.0)
        return tf.where_v2(ops.rectangle(sides, begin, end)[:, :, tf.newaxis], noise, image)

    return tf.cond(coin < probability, erased, functools.partial(tf.identity, image))


def _erased_box(
    sides: tf.Tensor, area: tf.Tensor, aspect: tf.Tensor, place: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """First row and column of a rectangle, and those behind its last, of four numbers from 0..1."""
    low, high = ERASED_AREA
    area = (low + (high - low) * area) * tf.reduce_prod(sides)
    # Height by width such that neither side is longer than the image's.
    narrowest = tf.maximum(ERASED_ASPECT[0], area / sides[1] ** 2)
    widest = tf.minimum(ERASED_ASPECT[1], sides[0] ** 2 / area)
    aspect = narrowest * (widest / narrowest) ** aspect
    size = tf.stack([tf.sqrt(area * aspect), tf.sqrt(area / aspect)])
    size = tf.clip_by_value(tf.round(size), 1.0, sides)
    begin = tf.floor(place * (sides - size + 1.0))
    return tf.cast(begin, tf.int32), tf.cast(begin + size, tf.int32)
