"""RandAugment: a few of fourteen distortions, drawn anew for each image, all of one strength.

Cubuk et al. 2019, "RandAugment: Practical automated data augmentation with a reduced search
space", arXiv:1909.13719. Magnitudes are on its linear scale of 0..10, where 10 is the end of the
ranges that Cubuk et al. 2018, "AutoAugment", arXiv:1805.09501, lists. Here 0 leaves the image as it
is, except by autocontrast and equalize, which have no strength, and what can go either way, such as
left or right, goes each way half the time. The distortions of colours are those of PIL.ImageOps and
PIL.ImageEnhance; what comes in from outside is the image mirrored at its edges.

An image is a float32 tensor [height, width, channels] with 1 or 3 channels and values 0..255, and
so is what becomes of it.
"""

import functools
import math
from collections.abc import Callable

from core.compat import tf
from preprocessing import ops

FULL_MAGNITUDE = 10.0
# AutoAugment's list of transformations, whose images of 331 pixels are shifted by up to 150.
MAX_SHEAR = 0.3  # pixels for each pixel of distance from the middle
MAX_TRANSLATION = 150 / 331  # of the side
MAX_ROTATION = math.radians(30)
MAX_ENHANCEMENT = 0.9  # factors of 0.1..1.9
MAX_DROPPED_BITS = 4.0  # of 8
# Of PIL.ImageFilter.SMOOTH, less sharp than which PIL.ImageEnhance.Sharpness makes an image.
_SMOOTH = ((1 / 13, 1 / 13, 1 / 13), (1 / 13, 5 / 13, 1 / 13), (1 / 13, 1 / 13, 1 / 13))


def rand_augment(image: tf.Tensor, seed: tf.Tensor, layers: int, magnitude: float) -> tf.Tensor:
    """Distorts an image `layers` times, each time in one of DISTORTIONS; only that one is computed.

    Args:
        image: float32 [height, width, 1 or 3].
        seed: integers [2].
        layers: N of the paper.
        magnitude: M of the paper, 0..10.
    """
    known = [d for name, d in DISTORTIONS.items() if name != "color" or ops.num_channels(image) > 1]
    for layer_seed in ops.split_seed(seed, layers):
        choice_seed, sign_seed = ops.split_seed(layer_seed, 2)
        sign = tf.where_v2(tf.random.stateless_uniform([], sign_seed) < 0.5, -1.0, 1.0)
        strength = sign * (magnitude / FULL_MAGNITUDE)
        image = ops.random_choice(
            [functools.partial(distortion, image, strength) for distortion in known], choice_seed
        )
    return image


def rotate(image: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
    """Turns an image counterclockwise by an angle in radians."""
    cosine, sine = tf.cos(angle), tf.sin(angle)
    return ops.affine(image, ((cosine, sine), (-sine, cosine)))


def shear(image: tf.Tensor, down: float | tf.Tensor, right: float | tf.Tensor) -> tf.Tensor:
    """Moves columns down and rows to the right, by so much for each pixel from the middle."""
    return ops.affine(image, ((1.0, -down), (-right, 1.0)))


def translate(image: tf.Tensor, down: float | tf.Tensor, right: float | tf.Tensor) -> tf.Tensor:
    """Moves an image, by fractions of its height and of its width."""
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    return ops.affine(image, shift=(down * height, right * width))


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Stretches each channel to 0..255; one of a single value stays as it is."""
    lowest = tf.reduce_min(image, axis=(0, 1), keepdims=True)
    extent = tf.reduce_max(image, axis=(0, 1), keepdims=True) - lowest
    stretched = (image - lowest) * tf.math.divide_no_nan(255.0, extent)
    return tf.where_v2(extent > 0, stretched, image)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Flattens the histogram of each channel, in the whole numbers of PIL.ImageOps.equalize.

    A channel in which a single value takes all but 254 pixels, or more, stays as it is.
    """
    channels = ops.num_channels(image)
    # The 256 values of the first channel, then those of the next.
    values = tf.cast(tf.round(image), tf.int32) + 256 * tf.range(channels)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(values), values, 256 * channels)
    of_the_highest = tf.gather(counts, tf.reduce_max(values, axis=(0, 1)))
    step = (tf.reduce_prod(tf.shape(image)[:2]) - of_the_highest)[:, tf.newaxis] // 255
    below = tf.cumsum(tf.reshape(counts, [channels, 256]), axis=1, exclusive=True)
    flat = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    table = tf.where_v2(step > 0, flat, tf.range(256))
    return tf.cast(tf.gather(tf.reshape(table, [-1]), values), tf.float32)


def solarize(image: tf.Tensor, threshold: float | tf.Tensor) -> tf.Tensor:
    """Inverts the values from the threshold on."""
    return tf.where_v2(image < threshold, image, 255.0 - image)


def posterize(image: tf.Tensor, dropped_bits: float | tf.Tensor) -> tf.Tensor:
    """Makes the lowest bits of all values, rounded to whole numbers, zero."""
    step = 2.0**dropped_bits
    return tf.floor(tf.round(image) / step) * step


def color(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Scales the distance of each pixel, of 3 channels, from its grey."""
    return _away(ops.to_grayscale(image), image, factor)


def contrast(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Scales the distance of all values from the mean grey."""
    return _away(tf.reduce_mean(ops.to_grayscale(image)), image, factor)


def brightness(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Scales all values."""
    return _away(0.0, image, factor)


def sharpness(image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """Scales the distance of all values, but those at the edges, from the smoothed image."""
    kernel = tf.tile(tf.reshape(_SMOOTH, [3, 3, 1, 1]), [1, 1, ops.num_channels(image), 1])
    smooth = tf.nn.depthwise_conv2d(image[tf.newaxis], kernel, [1, 1, 1, 1], "SAME")[0]
    sides = tf.shape(image)[:2]
    inside = ops.rectangle(sides, tf.constant([1, 1]), sides - 1)[:, :, tf.newaxis]
    return tf.where_v2(inside, _away(smooth, image, factor), image)


def _away(origin: float | tf.Tensor, image: tf.Tensor, factor: float | tf.Tensor) -> tf.Tensor:
    """The origin plus so many times its distance from the image, cut off at 0 and at 255."""
    return tf.clip_by_value(origin + factor * (image - origin), 0.0, 255.0)


# Functions of an image and of a strength from -1..1.
DISTORTIONS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "identity": lambda image, _: tf.identity(image),
    "autocontrast": lambda image, _: autocontrast(image),
    "equalize": lambda image, _: equalize(image),
    "rotate": lambda image, s: rotate(image, MAX_ROTATION * s),
    "solarize": lambda image, s: solarize(image, 256.0 * (1.0 - abs(s))),
    "color": lambda image, s: color(image, 1.0 + MAX_ENHANCEMENT * s),
    "posterize": lambda image, s: posterize(image, tf.round(MAX_DROPPED_BITS * abs(s))),
    "contrast": lambda image, s: contrast(image, 1.0 + MAX_ENHANCEMENT * s),
    "brightness": lambda image, s: brightness(image, 1.0 + MAX_ENHANCEMENT * s),
    "sharpness": lambda image, s: sharpness(image, 1.0 + MAX_ENHANCEMENT * s),
    "shear-x": lambda image, s: shear(image, 0.0, MAX_SHEAR * s),
    "shear-y": lambda image, s: shear(image, MAX_SHEAR * s, 0.0),
    "translate-x": lambda image, s: translate(image, 0.0, MAX_TRANSLATION * s),
    "translate-y": lambda image, s: translate(image, MAX_TRANSLATION * s, 0.0),
}
