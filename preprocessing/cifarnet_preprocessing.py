"""Preprocessing of CifarNet: small pictures, shifted by a few pixels, standardized one by one.

The recipe is that of Krizhevsky's cuda-convnet for CIFAR-10, with research/slim's constants.
"""

import numpy as np

from core.compat import tf
from preprocessing import ops

PADDING = 4  # pixels on each side
MAX_BRIGHTNESS_DELTA = 63  # of 255
CONTRAST_RANGE = (0.2, 1.8)
SHOWN_DEVIATION = 64.0  # of 255; two deviations above the mean are shown white


def preprocess_for_train(
    image: tf.Tensor,
    height: int,
    width: int,
    seed: tf.Tensor | None = None,
    use_grayscale: bool = False,
    padding: int = PADDING,
    augment: ops.Augment | None = None,
) -> tf.Tensor:
    """Crops, mirrors, changes brightness and contrast, and standardizes.

    Args:
        image: uint8 or float [h, w, 1 or 3], values 0..255.
        height: pixels.
        width: pixels.
        seed: integers [2]; None draws them from the graph's generator.
        use_grayscale: whether 3 channels become 1.
        padding: pixels of zeros added to each side before the crop; an image too small for the
            crop gets more.
        augment: distorts the picture further, float32 [height, width, channels], values 0..255.

    Returns:
        float32 [height, width, channels].
    """
    crop_seed, flip_seed, brightness_seed, contrast_seed = ops.split_seed(seed, 4)
    image = ops.pad_for_crop(image, height, width, padding)
    image = ops.random_crop(image, height, width, crop_seed)
    image = ops.random_flip_left_right(image, flip_seed)
    image = ops.to_grayscale(image) if use_grayscale else tf.cast(image, tf.float32)
    # Before the changes that leave 0..255.
    if augment:
        image = augment(image)
    # Standardization takes the brightness back, but for rounding; it is here for the recipe's sake.
    image = ops.random_brightness(image, MAX_BRIGHTNESS_DELTA, brightness_seed)
    image = ops.random_contrast(image, *CONTRAST_RANGE, contrast_seed)
    return ops.standardize(image)


def preprocess_for_eval(
    image: tf.Tensor,
    height: int,
    width: int,
    use_grayscale: bool = False,
    augment: ops.Augment | None = None,
) -> tf.Tensor:
    """Takes the middle, with zeros around it if the image is smaller, and standardizes.

    Args:
        image: uint8 or float [h, w, 1 or 3], values 0..255.
        height: pixels.
        width: pixels.
        use_grayscale: whether 3 channels become 1.
        augment: distorts the picture further, float32 [height, width, channels], values 0..255.

    Returns:
        float32 [height, width, channels].
    """
    image = ops.crop_or_pad(image, height, width)
    image = ops.to_grayscale(image) if use_grayscale else tf.cast(image, tf.float32)
    if augment:
        image = augment(image)
    return ops.standardize(image)


def to_pixels(preprocessed: np.ndarray) -> np.ndarray:
    """Pictures to be looked at, uint8 of the same shape; their mean, now lost, is a medium grey."""
    return ops.to_bytes(preprocessed * SHOWN_DEVIATION + 127.5)


def preprocess_image(
    image: tf.Tensor,
    output_height: int,
    output_width: int,
    is_training: bool = False,
    use_grayscale: bool = False,
    seed: tf.Tensor | None = None,
    padding: int = PADDING,
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
        padding: pixels of zeros on each side before the crop of training.
        augment: distorts the picture further, float32 [height, width, channels], values 0..255.

    Returns:
        float32 [output_height, output_width, channels], mean 0 and variance 1.

    Raises:
        FlagError: the image has neither 1 nor 3 channels.
    """
    if is_training:
        return preprocess_for_train(
            image, output_height, output_width, seed, use_grayscale, padding, augment
        )
    return preprocess_for_eval(image, output_height, output_width, use_grayscale, augment)
