"""What the Inception nets share: the defaults of their layers."""

from collections.abc import Callable

from core.compat import slim, tf


def inception_arg_scope(
    weight_decay: float = 0.00004,
    use_batch_norm: bool = True,
    batch_norm_decay: float = 0.9997,
    batch_norm_epsilon: float = 0.001,
    activation_fn: Callable[[tf.Tensor], tf.Tensor] | None = tf.nn.relu,
    batch_norm_updates_collections: str | None = tf.GraphKeys.UPDATE_OPS,
    batch_norm_scale: bool = False,
) -> dict:
    """Defaults of the layers of Inception nets. The values are those of the published checkpoints.

    Args:
        weight_decay: L2 factor on the weights of convolutions and fully connected layers.
        use_batch_norm: normalise after each convolution; otherwise convolutions have biases.
        batch_norm_decay: of the moving averages.
        batch_norm_epsilon: added to the variance.
        activation_fn: of convolutions.
        batch_norm_updates_collections: where the updates of the moving averages go; None makes
            them part of the forward pass.
        batch_norm_scale: whether batch norm has a gamma. A ReLU follows, and the next layer can
            scale, so by default it has none.

    Returns:
        An arg scope.
    """
    batch_norm = {
        "decay": batch_norm_decay,
        "epsilon": batch_norm_epsilon,
        "updates_collections": batch_norm_updates_collections,
        "scale": batch_norm_scale,
    }
    with (
        slim.arg_scope(
            [slim.conv2d, slim.fully_connected],
            weights_regularizer=slim.l2_regularizer(weight_decay),
        ),
        slim.arg_scope(
            [slim.conv2d],
            weights_initializer=slim.variance_scaling_initializer(),
            activation_fn=activation_fn,
            normalizer_fn=slim.batch_norm if use_batch_norm else None,
            normalizer_params=batch_norm if use_batch_norm else {},
        ) as scope,
    ):
        return scope
