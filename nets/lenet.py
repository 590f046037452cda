"""LeNet, with ReLU, dropout and more filters than the original.

After LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition, section II.
"""

from collections.abc import Callable

from core.compat import slim, tf
from nets.layers import EndPoints, dropout


def lenet(
    images: tf.Tensor,
    num_classes: int | None = 10,
    is_training: bool | tf.Tensor = False,
    dropout_keep_prob: float = 0.5,
    prediction_fn: Callable[..., tf.Tensor] | None = slim.softmax,
    scope: str = "LeNet",
) -> tuple[tf.Tensor, EndPoints]:
    """LeNet for classification.

    Args:
        images: [N, height, width, channels]; N may be unknown, height and width must be known.
        num_classes: number of classes. 0 or None: no head, the features are returned.
        is_training: whether dropout is on.
        dropout_keep_prob: fraction of the features to keep in training.
        prediction_fn: makes predictions of logits; None leaves them out.
        scope: variable scope.

    Returns:
        Logits [N, num_classes], or features [N, 1024] without num_classes; and all activations by
        layer name, `Logits` and `Predictions` among them.
    """
    end_points = {}
    with tf.variable_scope(scope, "LeNet", [images]):
        # Feature maps at 28x28.
        net = end_points["conv1"] = slim.conv2d(images, 32, [5, 5], scope="conv1")
        net = end_points["pool1"] = slim.max_pool2d(
            net, [2, 2], 2, scope="pool1"
        )  # [N, 14, 14, 32]
        net = end_points["conv2"] = slim.conv2d(net, 64, [5, 5], scope="conv2")
        net = end_points["pool2"] = slim.max_pool2d(net, [2, 2], 2, scope="pool2")  # [N, 7, 7, 64]
        net = end_points["Flatten"] = slim.flatten(net)
        net = end_points["fc3"] = slim.fully_connected(net, 1024, scope="fc3")
        if not num_classes:
            return net, end_points
        net = end_points["dropout3"] = dropout(
            net, dropout_keep_prob, is_training, scope="dropout3"
        )
        logits = end_points["Logits"] = slim.fully_connected(
            net, num_classes, activation_fn=None, scope="fc4"
        )
    # Outside the scope, where published graphs have them.
    if prediction_fn:
        end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, end_points


def lenet_arg_scope(weight_decay: float = 0.0) -> dict:
    """Defaults of the layers of LeNet.

    Args:
        weight_decay: L2 factor on all weights.

    Returns:
        An arg scope.
    """
    with slim.arg_scope(
        [slim.conv2d, slim.fully_connected],
        weights_regularizer=slim.l2_regularizer(weight_decay),
        weights_initializer=tf.truncated_normal_initializer(stddev=0.1),
        activation_fn=tf.nn.relu,
    ) as scope:
        return scope


lenet.default_image_size = 28
lenet.arg_scope = lenet_arg_scope
lenet.head_scopes = ("LeNet/fc4",)
