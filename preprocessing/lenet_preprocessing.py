"""Preprocessing of LeNet: centred digits, nothing distorted."""

import numpy as np

from core.compat import tf
from preprocessing import ops

CENTER = 128.0  # becomes 0
SCALE = 128.0  # becomes 1


def preprocess_for_train(
    image: tf.Tensor,
    height: int,
    width: int,
    seed: tf.Tensor | None = None,
    use_grayscale: bool = False,
    augment: ops.Augment | None = None,
) -> tf.Tensor:
    """Does what evaluation does: a mirrored or shifted digit may be another sign.

    Args:
        image: uint8 or float [h, w, 1 or 3], values 0..255.
        height: pixels.
        width: pixels.
        seed: taken as by the other recipes; nothing here is random.
        use_grayscale: whether 3 channels become 1.
        augment: distorts the picture further, float32 [height, width, channels], values 0..255.

    Returns:
        float32 [height, width, channels].
    """
    del seed
    return preprocess_for_eval(image, height, width, use_grayscale, augment)


def preprocess_for_eval(
    image: tf.Tensor,
    height: int,
    width: int,
    use_grayscale: bool = False,
    augment: ops.Augment | None = None,
) -> tf.Tensor:
    """Takes the middle, with zeros around it if the image is smaller, and scales the values.

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
    return (image - CENTER) / SCALE


def to_pixels(preprocessed: np.ndarray) -> np.ndarray:
    """Pictures as they were before they were scaled, uint8 of the same shape."""
    return ops.to_bytes(preprocessed * SCALE + CENTER)


def preprocess_image(
    image: tf.Tensor,
    output_height: int,
    output_width: int,
    is_training: bool = False,
    use_grayscale: bool = False,
    seed: tf.Tensor | None = None,
    augment: ops.Augment | None = None,
) -> tf.Tensor:
    """Preprocesses one image for training or for evaluation.

    Args:
        image: uint8 or float [h, w, 1 or 3], values 0..255.
        output_height: pixels.
        output_width: pixels.
        is_training: taken as by the other recipes; both ways are the same here.
        use_grayscale: whether 3 channels become 1.
        augment: distorts the picture further, float32 [height, width, channels], values 0..255.
        seed: taken as by the other recipes; nothing here is random.

    Returns:
        float32 [output_height, output_width, channels], values from -1 to below 1.

    Raises:
        FlagError: the image has neither 1 nor 3 channels.
    """
    if is_training:
        return preprocess_for_train(
            image, output_height, output_width, seed, use_grayscale, augment
        )
    return preprocess_for_eval(image, output_height, output_width, use_grayscale, augment)
