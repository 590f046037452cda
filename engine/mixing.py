"""Pictures of a batch mixed with one another, and their labels with them.

Each picture is mixed with the one before it in the batch, by a share drawn for it alone. All that
is drawn is a pure function of (seed, global step).
"""

import functools
from typing import Any

from core.compat import tf
from preprocessing import ops


def mixed(images: tf.Tensor, targets: tf.Tensor, config: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes as the flags say; if they name both ways, each batch takes one of them, at random.

    Args:
        images: float32 [N, height, width, channels].
        targets: float32 [N, classes].
        config: read here: mixup_alpha, cutmix_alpha, seed.

    Returns:
        The same shapes.
    """
    ways = [
        functools.partial(way, images, targets, alpha, config.seed)
        for way, alpha in ((mixup, config.mixup_alpha), (cutmix, config.cutmix_alpha))
        if alpha
    ]
    if not ways:
        return images, targets
    if len(ways) == 1:
        return ways[0]()
    coin_seed, _, _ = _seeds(config.seed)
    return tf.cond(tf.random.stateless_uniform([], coin_seed) < 0.5, *ways)


def mixup(
    images: tf.Tensor, targets: tf.Tensor, alpha: float, seed: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Adds up two pictures, each by its share.

    Zhang et al. 2018, "mixup: Beyond empirical risk minimization".

    Args:
        images: float32 [N, height, width, channels].
        targets: float32 [N, classes].
        alpha: the shares are of Beta(alpha, alpha): near 0 or 1 for a small alpha, uniform for 1.
        seed: of the run.

    Returns:
        The same shapes.
    """
    key = tf.stack([tf.constant(seed, tf.int64), tf.train.get_global_step()])
    share = _shares(tf.shape(targets)[:1], alpha, key)[:, tf.newaxis]
    mixed_targets = share * targets + (1 - share) * tf.roll(targets, 1, 0)
    share = share[:, :, tf.newaxis, tf.newaxis]
    return share * images + (1 - share) * tf.roll(images, 1, 0), mixed_targets


def cutmix(
    images: tf.Tensor, targets: tf.Tensor, alpha: float, seed: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Pastes a rectangle of the other picture.

    Yun et al. 2019, "CutMix: Regularization strategy to train strong classifiers with localizable
    features". By its equation 2 the rectangle has the shape of the picture and its middle anywhere;
    what of it lies outside is cut off, and the share in the target is that of the pixels pasted.

    Args:
        images: float32 [N, height, width, channels].
        targets: float32 [N, classes].
        alpha: as in `mixup`, of the shares before anything is cut off.
        seed: of the run.

    Returns:
        The same shapes.
    """
    _, share_seed, place_seed = _seeds(seed)
    count = tf.shape(targets)[:1]
    sides = tf.shape(images)[1:3]
    lengths = tf.cast(sides, tf.float32)
    size = tf.sqrt(1 - _shares(count, alpha, share_seed))[:, tf.newaxis] * lengths
    middle = tf.random.stateless_uniform(tf.concat([count, [2]], 0), place_seed) * lengths
    begin, end = (tf.cast(tf.round(middle + half * size), tf.int32) for half in (-0.5, 0.5))
    pasted = ops.rectangle(sides, begin, end)
    share = tf.reduce_mean(tf.cast(pasted, tf.float32), axis=(1, 2))[:, tf.newaxis]
    mixed_images = tf.where_v2(pasted[..., tf.newaxis], tf.roll(images, 1, 0), images)
    return mixed_images, (1 - share) * targets + share * tf.roll(targets, 1, 0)


def _seeds(seed: int) -> list[tf.Tensor]:
    """Of the coin, the shares and the places of cutmix."""
    # Seeds of runs, steps and counters of pictures are not negative: this key is nobody else's.
    step = tf.train.get_global_step()
    return ops.split_seed(tf.stack([tf.constant(-1 - seed, tf.int64), -1 - step]), 3)


def _shares(count: tf.Tensor, alpha: float, key: tf.Tensor) -> tf.Tensor:
    """Draws from Beta(alpha, alpha), float32 [count]."""
    drawn = tf.random.stateless_gamma(tf.concat([[2], count], 0), key, alpha)
    # Of a tiny alpha both can come out as 0.
    return tf.math.divide_no_nan(drawn[0], drawn[0] + drawn[1])
