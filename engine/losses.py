"""What training lowers: the loss of a batch."""

from typing import Any

from core.compat import tf


def cross_entropy(targets: tf.Tensor, logits: tf.Tensor, config: Any) -> tf.Tensor:
    """The mean cross-entropy of a batch, which joins TensorFlow's collection of losses.

    Args:
        targets: float32 [N, classes], the share that each class has in a picture.
        logits: float32 [N, classes].
        config: read here: label_smoothing.

    Returns:
        float32 scalar.
    """
    return tf.losses.softmax_cross_entropy(targets, logits, label_smoothing=config.label_smoothing)
