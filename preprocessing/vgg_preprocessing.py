"""Preprocessing of VGG and ResNet: crops at several scales, minus the mean colour of ImageNet.

Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image recognition",
sections 2.1 and 3.1; the constants are those of research/slim. They belong to images of 224 pixels:
for another size the smaller side grows or shrinks with it, so that a crop shows as much of the
picture at every size.
"""

from collections.abc import Sequence

import numpy as np

from core.compat import tf
from core.errors import FlagError
from preprocessing import ops

MEAN_RGB = (123.68, 116.78, 103.94)  # of 255
IMAGE_SIZE = 224  # pixels, the size to which the resize sides belong
RESIZE_SIDE_MIN = 256  # pixels
RESIZE_SIDE_MAX = 512  # pixels


def subtract_mean(image: tf.Tensor) -> tf.Tensor:
    """The image minus MEAN_RGB, or minus the grey value of MEAN_RGB if it has 1 channel."""
    return tf.cast(image, tf.float32) - _mean(ops.num_channels(image))


def to_pixels(preprocessed: np.ndarray) -> np.ndarray:
    """Pictures as they were before the mean was subtracted, uint8 of the same shape."""
    return ops.to_bytes(preprocessed + np.array(_mean(preprocessed.shape[-1])))


def _mean(channels: int) -> Sequence[float]:
    if channels == 1:
        return [sum(w * m for w, m in zip(ops.LUMA_WEIGHTS, MEAN_RGB, strict=True))]
    return MEAN_RGB


def scaled_side(resize_side: int, height: int, width: int) -> int:
    """The length in pixels of the smaller side for an output of [height, width].

    Args:
        resize_side: the length for an output of 224x224.
        height: pixels.
        width: pixels.

    Returns:
        resize_side * the longer of height and width / 224, so that the output always fits.

    Raises:
        FlagError: resize_side is below 224, so that the output would not fit.
    """
    if resize_side < IMAGE_SIZE:
        raise FlagError(
            f"a resize side of {resize_side} is smaller than the image of {IMAGE_SIZE} cut from it",
            remedy=f"pass at least {IMAGE_SIZE}; sides are scaled to the output size",
        )
    return round(resize_side * max(height, width) / IMAGE_SIZE)


def preprocess_for_train(
    image: tf.Tensor,
    height: int,
    width: int,
    seed: tf.Tensor | None = None,
    use_grayscale: bool = False,
    resize_side_min: int = RESIZE_SIDE_MIN,
    resize_side_max: int = RESIZE_SIDE_MAX,
    augment: ops.Augment | None = None,
) -> tf.Tensor:
    """Resizes to a random size with its aspect kept, crops, mirrors and subtracts the mean.

    Args:
        image: uint8 or float [h, w, 1 or 3], values 0..255.
        height: pixels.
        width: pixels.
        seed: integers [2]; None draws them from the graph's generator.
        use_grayscale: whether 3 channels become 1.
        resize_side_min: the shortest smaller side, in pixels for an output of 224x224.
        resize_side_max: the longest smaller side, inclusive.
        augment: distorts the picture further, float32 [height, width, channels], values 0..255.

    Returns:
        float32 [height, width, channels].

    Raises:
        FlagError: a resize side is below 224, or the shortest above the longest.
    """
    if resize_side_min > resize_side_max:
        raise FlagError(
            f"resize_side_min {resize_side_min} is above resize_side_max {resize_side_max}",
            remedy="exchange them",
        )
    side_seed, crop_seed, flip_seed = ops.split_seed(seed, 3)
    shortest = scaled_side(resize_side_min, height, width)
    longest = scaled_side(resize_side_max, height, width)
    side = tf.random.stateless_uniform([], side_seed, shortest, longest + 1, tf.int32)
    image = ops.resize_smaller_side(ops.limit_aspect(image), side)
    image = ops.random_crop(image, height, width, crop_seed)
    if use_grayscale:
        image = ops.to_grayscale(image)
    image = ops.random_flip_left_right(image, flip_seed)
    if augment:
        image = augment(image)
    return subtract_mean(image)


def preprocess_for_eval(
    image: tf.Tensor,
    height: int,
    width: int,
    use_grayscale: bool = False,
    resize_side: int = RESIZE_SIDE_MIN,
    augment: ops.Augment | None = None,
) -> tf.Tensor:
    """Resizes with its aspect kept, takes the middle and subtracts the mean.

    Args:
        image: uint8 or float [h, w, 1 or 3], values 0..255.
        height: pixels.
        width: pixels.
        use_grayscale: whether 3 channels become 1.
        resize_side: the smaller side, in pixels for an output of 224x224.
        augment: distorts the picture further, float32 [height, width, channels], values 0..255.

    Returns:
        float32 [height, width, channels].

    Raises:
        FlagError: the resize side is below 224.
    """
    image = ops.resize_smaller_side(
        ops.limit_aspect(image), scaled_side(resize_side, height, width)
    )
    image = ops.crop_or_pad(image, height, width)
    if use_grayscale:
        image = ops.to_grayscale(image)
    if augment:
        image = augment(image)
    return subtract_mean(image)


def preprocess_image(
    image: tf.Tensor,
    output_height: int,
    output_width: int,
    is_training: bool = False,
    use_grayscale: bool = False,
    seed: tf.Tensor | None = None,
    resize_side_min: int = RESIZE_SIDE_MIN,
    resize_side_max: int = RESIZE_SIDE_MAX,
    augment: ops.Augment | None = None,
) -> tf.Tensor:
    """Preprocesses one image for training or for evaluation.

    Args:
        image: uint8 or float [h, w, 1 or 3], values 0..255.
        output_height: pixels.
        output_width: pixels.
        is_training: whether to distort the image.
        use_grayscale: whether 3 channels become 1.
        seed: integers [2], in training; None draws them from the graph's generator.
        resize_side_min: the shortest smaller side in training, and the only one in evaluation, in
            pixels for an output of 224x224.
        resize_side_max: the longest smaller side in training, inclusive.
        augment: distorts the picture further, float32 [height, width, channels], values 0..255.

    Returns:
        float32 [output_height, output_width, channels], values 0..255 minus the mean.

    Raises:
        FlagError: the image has neither 1 nor 3 channels, or the resize sides do not fit.
    """
    if is_training:
        return preprocess_for_train(
            image,
            output_height,
            output_width,
            seed,
            use_grayscale,
            resize_side_min,
            resize_side_max,
            augment,
        )
    return preprocess_for_eval(
        image, output_height, output_width, use_grayscale, resize_side_min, augment
    )
