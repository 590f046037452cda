"""What training lowers: the loss of a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.compat import tf

# What the loss of an auxiliary head counts as against that of the head, and its name: those of
# research/slim, whose Inception v3 was trained with them.
AUXILIARY_SHARE = 0.4
AUXILIARY_SCOPE = "aux_loss"


def cross_entropy(
    targets: tf.Tensor,
    logits: tf.Tensor,
    config: Any,
    class_weights: Sequence[float] | None = None,
    *,
    share: float = 1.0,
    scope: str | None = None,
) -> tf.Tensor:
    """The loss of a batch, which joins TensorFlow's collection of losses.

    It is the mean over the N pictures of weight x loss (not divided by the sum of the weights, so
    that a picture counts the same in whatever batch it comes, as with the class_weight of Keras).
    The weight of a picture is that of its class, or of those that were mixed in it, by their
    shares; label smoothing has no part in it.

    Args:
        targets: float32 [N, classes], the share that each class has in a picture.
        logits: float32 [N, classes].
        config: read here: label_smoothing, focal_gamma.
        class_weights: of each class; None: 1.
        share: factor on the loss.
        scope: its name in the graph; None: that of TensorFlow's loss, or `focal_loss`.

    Returns:
        float32 scalar.
    """
    smoothing = config.label_smoothing
    if class_weights is None and not config.focal_gamma:
        return tf.losses.softmax_cross_entropy(
            targets, logits, share, label_smoothing=smoothing, scope=scope
        )
    # Otherwise tf.losses divides by the number of pictures whose weight is not 0.
    mean = tf.losses.Reduction.SUM_OVER_BATCH_SIZE
    weights = share
    if class_weights is not None:
        shared = np.array(class_weights, np.float32) * np.float32(share)
        weights = tf.reduce_sum(targets * shared, axis=1)
    if not config.focal_gamma:
        return tf.losses.softmax_cross_entropy(
            targets, logits, weights, label_smoothing=smoothing, scope=scope, reduction=mean
        )
    with tf.name_scope(scope or "focal_loss"):
        smoothed = targets * (1 - smoothing) + smoothing / logits.shape[1]
        losses = focal_losses(smoothed, logits, config.focal_gamma)
        return tf.losses.compute_weighted_loss(losses, weights, reduction=mean)


def auxiliary(
    targets: tf.Tensor,
    end_points: Mapping[str, tf.Tensor],
    config: Any,
    class_weights: Sequence[float] | None = None,
) -> tf.Tensor | None:
    """The loss of the auxiliary head, for nets that have one: `cross_entropy` x AUXILIARY_SHARE.

    Args:
        targets: float32 [N, classes], the share that each class has in a picture.
        end_points: of the net; the logits of an auxiliary head are its `AuxLogits`, float32
            [N, classes].
        config: read here: what `cross_entropy` reads.
        class_weights: of each class; None: 1.

    Returns:
        float32 scalar, None without such a head.
    """
    if "AuxLogits" not in end_points:
        return None
    return cross_entropy(
        targets,
        end_points["AuxLogits"],
        config,
        class_weights,
        share=AUXILIARY_SHARE,
        scope=AUXILIARY_SCOPE,
    )


def focal_losses(targets: tf.Tensor, logits: tf.Tensor, gamma: float) -> tf.Tensor:
    """The sum over the classes of target x (1 - p)^gamma x -log p, float32 [N].

    Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 4, for the probabilities p of
    a softmax and for targets that are shares. The factor of equation 5 are the class weights.

    Args:
        targets: float32 [N, classes].
        logits: float32 [N, classes].
        gamma: more than 0.
    """
    # --mixed_precision would compute this in bfloat16 if it were in float32.
    log_p = tf.nn.log_softmax(tf.cast(logits, tf.float64))
    # Where p is nearly 1, 1 - p itself would keep no digits. It ends before 0, where a power
    # below 1 has an infinite slope.
    rest = tf.maximum(-tf.math.expm1(log_p), np.finfo(np.float64).tiny)
    losses = tf.reduce_sum(tf.cast(targets, tf.float64) * rest**gamma * -log_p, axis=1)
    return tf.cast(losses, tf.float32)
