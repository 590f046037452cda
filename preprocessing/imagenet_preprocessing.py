"""Preprocessing of DenseNet and EfficientNet: that of Inception, with the colours standardised.

Crops, mirror images and colour changes are those of `inception_preprocessing`. What the net is
given has the mean of ImageNet's pictures subtracted and is divided by their standard deviation, for
each colour: so were the nets of these papers trained, and so keras.applications feeds its own.
"""

from collections.abc import Sequence

import numpy as np

from core.compat import tf
from preprocessing import inception_preprocessing, ops

# Of the training pictures of ImageNet: red, green and blue of 0..1, the constants of
# https://github.com/facebookarchive/fb.resnet.torch (datasets/imagenet.lua).
MEAN_RGB = (0.485, 0.456, 0.406)
DEVIATION_RGB = (0.229, 0.224, 0.225)


def normalize(image: tf.Tensor) -> tf.Tensor:
    """Values 0..1, [height, width, channels], minus the mean, divided by the deviation."""
    mean, deviation = _statistics(ops.num_channels(image))
    return (image - mean) / deviation


def to_pixels(preprocessed: np.ndarray) -> np.ndarray:
    """Pictures as they were before they were standardised, uint8 of the same shape."""
    mean, deviation = map(np.array, _statistics(preprocessed.shape[-1]))
    return ops.to_bytes((preprocessed * deviation + mean) * 255)


def _statistics(channels: int) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation of each channel.

    Grey is a weighted sum of the colours, so its mean is that sum of their means. Its deviation is
    that sum of theirs where the colours brighten and darken together, and never more: it is less by
    4 % in ImageNet, by the covariance of its colours from the same source (the `pca` there).
    """
    if channels == 1:
        return tuple([_grey(of_colours)] for of_colours in (MEAN_RGB, DEVIATION_RGB))
    return MEAN_RGB, DEVIATION_RGB


def _grey(of_colours: Sequence[float]) -> float:
    return sum(w * value for w, value in zip(ops.LUMA_WEIGHTS, of_colours, strict=True))


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
) -> tf.Tensor:
    """Preprocesses one image for training or for evaluation.

    Arguments are those of `inception_preprocessing.preprocess_image`.

    Returns:
        float32 [output_height, output_width, channels], of mean 0 and deviation 1 over the pictures
        of ImageNet.

    Raises:
        FlagError: the image has neither 1 nor 3 channels.
    """
    return inception_preprocessing.preprocess_image(
        image,
        output_height,
        output_width,
        is_training,
        use_grayscale,
        seed,
        bbox,
        fast_mode,
        crop_image,
        augment,
        normalize,
    )
