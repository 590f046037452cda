"""A head of one's own, in place of a net's: a hidden layer, dropout and logits."""

from core.compat import slim, tf
from nets.layers import EndPoints, dropout

SCOPE = "Head"  # of all its variables, whatever the net


def own_head(
    features: tf.Tensor,
    num_classes: int,
    units: int,
    *,
    drop: float,
    is_training: bool | tf.Tensor,
    weight_decay: float,
    end_points: EndPoints,
) -> tf.Tensor:
    """Classifies the features of a net that was built without its head.

    Args:
        features: [N, 1, 1, channels] or [N, channels].
        num_classes: C.
        units: of the hidden layer.
        drop: share of the hidden units that dropout zeroes in training, in [0, 1).
        is_training: whether dropout is on.
        weight_decay: L2 factor on the weights of both layers.
        end_points: gains `Hidden`, `Logits` and `Predictions`.

    Returns:
        Logits [N, C].
    """
    with (
        tf.variable_scope(SCOPE, values=[features]),
        slim.arg_scope(
            [slim.fully_connected], weights_regularizer=slim.l2_regularizer(weight_decay)
        ),
    ):
        # For ReLU, He et al. 2015, https://arxiv.org/abs/1502.01852, equation 10; logits have none:
        # Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html, equation 16.
        net = end_points["Hidden"] = slim.fully_connected(
            slim.flatten(features),
            units,
            weights_initializer=slim.variance_scaling_initializer(factor=2.0, mode="FAN_IN"),
            scope="hidden",
        )
        net = dropout(net, 1 - drop, is_training, scope="dropout")
        logits = end_points["Logits"] = slim.fully_connected(
            net,
            num_classes,
            activation_fn=None,
            weights_initializer=slim.xavier_initializer(),
            scope="logits",
        )
        end_points["Predictions"] = slim.softmax(logits, scope="predictions")
    return logits
