"""Pictures of a batch mixed with one another, and their labels with them."""

from core.compat import tf


def mixup(
    images: tf.Tensor, targets: tf.Tensor, alpha: float, seed: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes each picture, and its target, with the next one of the batch.

    Zhang et al. 2018, "mixup: Beyond empirical risk minimization", with a share drawn for each
    picture. The shares are a pure function of (seed, global step).

    Args:
        images: float32 [N, height, width, channels].
        targets: float32 [N, classes].
        alpha: the shares are of Beta(alpha, alpha): near 0 or 1 for a small alpha, uniform for 1.
        seed: of the run.

    Returns:
        The same shapes.
    """
    key = tf.stack([tf.constant(seed, tf.int64), tf.train.get_global_step()])
    shape = tf.concat([[2], tf.shape(targets)[:1]], 0)
    drawn = tf.random.stateless_gamma(shape, key, alpha)
    # Of a tiny alpha both can come out as 0.
    share = tf.math.divide_no_nan(drawn[0], drawn[0] + drawn[1])[:, tf.newaxis]
    mixed = share * targets + (1 - share) * tf.roll(targets, 1, 0)
    share = share[:, :, tf.newaxis, tf.newaxis]
    return share * images + (1 - share) * tf.roll(images, 1, 0), mixed
