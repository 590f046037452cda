"""VGG-16.

Simonyan and Zisserman 2014, Very Deep Convolutional Networks for Large-Scale Image Recognition,
https://arxiv.org/abs/1409.1556. The net is column D of Table 1 of the paper. Its convolutions have
14,710,464 weights and take 15,346,630,656 multiply-adds at 224x224, its fully connected layers
123,633,664 weights for 1000 classes and as many multiply-adds.

Deviation: where pictures are smaller than 224x224, the kernel of fc6, 7x7, is as large as the map
that it finds. So it has other weights for each such size, and a net takes pictures of the one that
it was trained on.
"""

from collections.abc import Callable

from core.compat import slim, tf
from core.errors import FlagError
from nets.layers import EndPoints, depth_function, dropout

# Column D of Table 1: how many 3x3 convolutions of how many filters. A max pool that halves the map
# follows each row; it leaves the feature map of the comment at 224x224.
CONVOLUTIONS = {
    "conv1": (2, 64),  # [N, 112, 112, 64]
    "conv2": (2, 128),  # [N, 56, 56, 128]
    "conv3": (3, 256),  # [N, 28, 28, 256]
    "conv4": (3, 512),  # [N, 14, 14, 512]
    "conv5": (3, 512),  # [N, 7, 7, 512]
}
FULLY_CONNECTED = 4096  # features of fc6 and of fc7
FC6_SIZE = 7  # height and width of the kernel of fc6


def vgg_16(
    inputs: tf.Tensor,
    num_classes: int | None = 1000,
    is_training: bool | tf.Tensor = True,
    dropout_keep_prob: float = 0.5,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str = "vgg_16",
    fc_conv_padding: str = "VALID",
    global_pool: bool = False,
    prediction_fn: Callable[..., tf.Tensor] | None = slim.softmax,
    min_depth: int = 8,
    depth_multiplier: float = 1.0,
) -> tuple[tf.Tensor, EndPoints]:
    """VGG-16 for classification; its fully connected layers are convolutions.

    Args:
        inputs: [N, height, width, channels]; N may be unknown, height and width must be known and
            32 at least.
        num_classes: number of classes. 0 or None: no head, the features are returned.
        is_training: whether dropout is on.
        dropout_keep_prob: fraction of the features of fc6 and of fc7 to keep in training.
        spatial_squeeze: logits are [N, num_classes] rather than [N, 1, 1, num_classes].
        reuse: whether to reuse the variables of the scope.
        scope: variable scope.
        fc_conv_padding: padding of fc6: "VALID", or "SAME" for features at every place of the map.
        global_pool: average the features of larger pictures to 1x1.
        prediction_fn: makes predictions of logits; None leaves them out.
        min_depth: no layer gets fewer filters than this by depth_multiplier.
        depth_multiplier: factor on the number of filters of every layer, above 0.

    Returns:
        Logits, or features [N, 1, 1, 4096] without num_classes; and all activations by the scope of
        their layer (`vgg_16/conv1/conv1_1`, ..., `vgg_16/fc8`), and `Predictions`.

    Raises:
        FlagError: height or width are unknown, depth_multiplier is not above 0, or the images are
            too large for spatial_squeeze without global_pool.
        ValueError: the images are smaller than 32x32.
    """
    if None in inputs.shape.as_list()[1:3]:
        raise FlagError(
            "Height and width of the pictures should be defined for vgg_16",
            where=str(inputs.shape),
            remedy="use pictures of one size",
        )
    depth = depth_function(depth_multiplier, min_depth)
    end_points = {}
    with tf.variable_scope(scope, "vgg_16", [inputs], reuse=reuse) as net_scope:
        net = inputs
        for name, (count, filters) in CONVOLUTIONS.items():
            for number in range(1, count + 1):
                layer = f"{name}/{name}_{number}"
                net = slim.conv2d(net, depth(filters), [3, 3], scope=layer)
                end_points[f"{net_scope.name}/{layer}"] = net
            pool = name.replace("conv", "pool")
            net = slim.max_pool2d(net, [2, 2], 2, scope=pool)
            end_points[f"{net_scope.name}/{pool}"] = net
        kernel = [FC6_SIZE, FC6_SIZE]
        if fc_conv_padding == "VALID":
            kernel = [min(size, FC6_SIZE) for size in net.shape.as_list()[1:3]]
        features = depth(FULLY_CONNECTED)
        net = slim.conv2d(net, features, kernel, padding=fc_conv_padding, scope="fc6")
        end_points[f"{net_scope.name}/fc6"] = net
        net = dropout(net, dropout_keep_prob, is_training, scope="dropout6")
        net = slim.conv2d(net, features, [1, 1], scope="fc7")
        end_points[f"{net_scope.name}/fc7"] = net
        if global_pool:
            net = tf.reduce_mean(net, [1, 2], keepdims=True, name="global_pool")
            end_points["global_pool"] = net
        if not num_classes:
            return net, end_points
        net = dropout(net, dropout_keep_prob, is_training, scope="dropout7")
        logits = slim.conv2d(net, num_classes, [1, 1], activation_fn=None, scope="fc8")
        if spatial_squeeze:
            logits = _squeezed(logits)
        end_points[f"{net_scope.name}/fc8"] = logits
        if prediction_fn:
            end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, end_points


def _squeezed(logits: tf.Tensor) -> tf.Tensor:
    """[N, 1, 1, num_classes] -> [N, num_classes].

    Raises:
        FlagError: they are larger than 1x1.
    """
    height, width = logits.shape.as_list()[1:3]
    if (height, width) != (1, 1):
        raise FlagError(
            f"The logits are {height}x{width} and cannot be squeezed",
            where=logits.op.name,
            remedy="use smaller images, global_pool=True or spatial_squeeze=False",
        )
    return tf.squeeze(logits, [1, 2], name="fc8/squeezed")


def vgg_arg_scope(weight_decay: float = 0.0005) -> dict:
    """Defaults of the layers of VGG. The decay is that of the paper, section 3.1.

    Args:
        weight_decay: L2 factor on all weights.

    Returns:
        An arg scope.
    """
    with slim.arg_scope(
        [slim.conv2d],
        activation_fn=tf.nn.relu,
        weights_regularizer=slim.l2_regularizer(weight_decay),
        biases_initializer=tf.zeros_initializer(),
        padding="SAME",
    ) as scope:
        return scope


vgg_16.default_image_size = 224
vgg_16.arg_scope = vgg_arg_scope
vgg_16.head_scopes = ("vgg_16/fc8",)
