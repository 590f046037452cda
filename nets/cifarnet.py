"""CifarNet, a small net for 32x32 images.

Krizhevsky et al. 2012, ImageNet Classification with Deep Convolutional Neural Networks, is the
source of its local response normalisation; the layers are those of cuda-convnet's CIFAR-10 nets.
"""

from collections.abc import Callable

from core.compat import slim, tf
from nets.layers import EndPoints, dropout


def _response_norm(net: tf.Tensor, name: str) -> tf.Tensor:
    """Local response normalisation over 9 neighbouring channels; the sum has weight 0.001."""
    return tf.nn.lrn(net, depth_radius=4, bias=1.0, alpha=0.001 / 9.0, beta=0.75, name=name)


def cifarnet(
    images: tf.Tensor,
    num_classes: int | None = 10,
    is_training: bool | tf.Tensor = False,
    dropout_keep_prob: float = 0.5,
    prediction_fn: Callable[..., tf.Tensor] | None = slim.softmax,
    scope: str = "CifarNet",
) -> tuple[tf.Tensor, EndPoints]:
    """CifarNet for classification.

    Args:
        images: [N, height, width, channels]; N may be unknown, height and width must be known.
        num_classes: number of classes. 0 or None: no head, the features are returned.
        is_training: whether dropout is on.
        dropout_keep_prob: fraction of the features to keep in training.
        prediction_fn: makes predictions of logits; None leaves them out.
        scope: variable scope.

    Returns:
        Logits [N, num_classes], or features [N, 192] without num_classes; and all activations by
        layer name, `Logits` and `Predictions` among them.
    """
    end_points = {}
    with tf.variable_scope(scope, "CifarNet", [images]):
        # Feature maps at 32x32.
        net = end_points["conv1"] = slim.conv2d(images, 64, [5, 5], scope="conv1")
        net = end_points["pool1"] = slim.max_pool2d(
            net, [2, 2], 2, scope="pool1"
        )  # [N, 16, 16, 64]
        net = _response_norm(net, "norm1")
        net = end_points["conv2"] = slim.conv2d(net, 64, [5, 5], scope="conv2")
        net = _response_norm(net, "norm2")
        net = end_points["pool2"] = slim.max_pool2d(net, [2, 2], 2, scope="pool2")  # [N, 8, 8, 64]
        net = end_points["Flatten"] = slim.flatten(net)
        net = end_points["fc3"] = slim.fully_connected(net, 384, scope="fc3")
        net = dropout(net, dropout_keep_prob, is_training, scope="dropout3")
        net = end_points["fc4"] = slim.fully_connected(net, 192, scope="fc4")
        if not num_classes:
            return net, end_points
        logits = end_points["Logits"] = slim.fully_connected(
            net,
            num_classes,
            biases_initializer=tf.zeros_initializer(),
            weights_initializer=tf.truncated_normal_initializer(stddev=1 / 192.0),
            weights_regularizer=None,
            activation_fn=None,
            scope="logits",
        )
        if prediction_fn:
            end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, end_points


def cifarnet_arg_scope(weight_decay: float = 0.004) -> dict:
    """Defaults of the layers of CifarNet. The values are those of cuda-convnet's CIFAR-10 nets.

    Args:
        weight_decay: L2 factor on the weights of fully connected layers but the logits.
            Convolutions have none.

    Returns:
        An arg scope.
    """
    with (
        slim.arg_scope(
            [slim.conv2d],
            weights_initializer=tf.truncated_normal_initializer(stddev=0.05),
            activation_fn=tf.nn.relu,
        ),
        slim.arg_scope(
            [slim.fully_connected],
            biases_initializer=tf.constant_initializer(0.1),
            weights_initializer=tf.truncated_normal_initializer(stddev=0.04),
            weights_regularizer=slim.l2_regularizer(weight_decay),
            activation_fn=tf.nn.relu,
        ) as scope,
    ):
        return scope


cifarnet.default_image_size = 32
cifarnet.arg_scope = cifarnet_arg_scope
cifarnet.head_scopes = ("CifarNet/logits",)
