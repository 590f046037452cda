"""Pad and crop: the usual preparation of small pictures, here at any size.

He et al. 2016, "Deep residual learning for image recognition", section 4.2: four pixels are added
to each side of 32, a crop of the old size is taken and mirrored at random. The border repeats the
picture, mirrored, instead of being black.
"""

import numpy as np

from core.compat import tf
from preprocessing import ops

PADDING = 1 / 8  # of the size, on each side: 4 pixels of 32


def preprocess_for_train(
    image: tf.Tensor,
    height: int,
    width: int,
    seed: tf.Tensor | None = None,
    use_grayscale: bool = False,
    augment: ops.Augment | None = None,
) -> tf.Tensor:
    """Resizes, shifts by up to an eighth of the size, and mirrors.

    Args:
        image: uint8 or float [h, w, 1 or 3], values 0..255.
        height: pixels.
        width: pixels.
        seed: integers [2]; None draws them from the graph's generator.
        use_grayscale: whether 3 channels become 1.
        augment: distorts the picture further, float32 [height, width, channels], values 0..255.

    Returns:
        float32 [height, width, channels].
    """
    crop_seed, flip_seed = ops.split_seed(seed, 2)
    image = _resized(image, height, width, use_grayscale)
    image = ops.pad_reflected(image, int(min(height, width) * PADDING))
    image = ops.random_crop(image, height, width, crop_seed)
    return _scaled(ops.random_flip_left_right(image, flip_seed), augment)


def preprocess_for_eval(
    image: tf.Tensor,
    height: int,
    width: int,
    use_grayscale: bool = False,
    augment: ops.Augment | None = None,
) -> tf.Tensor:
    """Resizes the whole image, and scales the values.

    Args:
        image: uint8 or float [h, w, 1 or 3], values 0..255.
        height: pixels.
        width: pixels.
        use_grayscale: whether 3 channels become 1.
        augment: distorts the picture further, float32 [height, width, channels], values 0..255.

    Returns:
        float32 [height, width, channels].
    """
    return _scaled(_resized(image, height, width, use_grayscale), augment)


def _resized(image: tf.Tensor, height: int, width: int, use_grayscale: bool) -> tf.Tensor:
    image = ops.resize(image, height, width)
    return ops.to_grayscale(image) if use_grayscale else image


def _scaled(image: tf.Tensor, augment: ops.Augment | None) -> tf.Tensor:
    if augment:
        image = augment(image)
    return ops.to_unit_range(image) * 2.0 - 1.0


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
        augment: distorts the picture further, float32 [height, width, channels], values 0..255.

    Returns:
        float32 [output_height, output_width, channels], values -1..1.

    Raises:
        FlagError: the image has neither 1 nor 3 channels.
    """
    if is_training:
        return preprocess_for_train(
            image, output_height, output_width, seed, use_grayscale, augment
        )
    return preprocess_for_eval(image, output_height, output_width, use_grayscale, augment)
