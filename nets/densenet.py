"""DenseNet: every unit sees what all units before it in its block have made.

Huang et al. 2017, Densely Connected Convolutional Networks, https://arxiv.org/abs/1608.06993,
Table 1: DenseNet-BC, with bottlenecks (section 3, "Bottleneck layers") and compression. At 224x224
the base of densenet121 has 6,870,208 convolution weights, and the net with 1000 classes takes
2,834,161,664 multiply-adds.

research/slim has no DenseNet. Scopes are those of its ResNets: `conv1`, `block1/unit_1/conv1`,
`logits`, and as in ResNet v2, which also normalises before it convolves, `preact` for the batch
norm that begins a unit and `postnorm` for the last one. The norm between the two convolutions of a
unit belongs to the first, as `conv1/BatchNorm`. The layers between blocks are `transition1` to
`transition3`.

The average pools of the transitions are SAME where the published code drops the last row of a map
of odd size. That is the same at all multiples of 32; elsewhere small maps do not vanish.
"""

from collections.abc import Callable, Sequence

from core.compat import slim, tf
from nets.layers import EndPoints, batch_norm, fixed_padding, stem_strides
from nets.resnet_utils import conv2d_same

GROWTH_RATE = 32  # k: feature maps that each unit adds
BOTTLENECK = 4  # of the growth rate: feature maps between the two convolutions of a unit
COMPRESSION = 0.5  # theta: of the feature maps, what a transition leaves


def densenet(
    inputs: tf.Tensor,
    num_units: Sequence[int],
    num_classes: int | None = 1000,
    is_training: bool | tf.Tensor = True,
    min_depth: int = 8,
    depth_multiplier: float = 1.0,
    prediction_fn: Callable[..., tf.Tensor] | None = slim.softmax,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str | None = None,
    global_pool: bool = True,
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """A DenseNet for classification.

    Args:
        inputs: [N, height, width, channels]; N, height and width may be unknown.
        num_units: units of each block.
        num_classes: number of classes. 0 or None: no head, the features are returned.
        is_training: whether batch norm is in training mode.
        min_depth: the growth rate does not fall below this.
        depth_multiplier: factor on the growth rate, 32, and so on the filters of every layer.
        prediction_fn: makes predictions of logits; None leaves them out.
        spatial_squeeze: logits are [N, num_classes] rather than [N, 1, 1, num_classes].
        reuse: whether to reuse the variables of the scope.
        scope: variable scope, by default densenet.
        global_pool: average the features over space.
        stem_stride: factor by which the root divides the size, 1, 2 or 4; below 4 it has no max
            pool. None: 4.

    Returns:
        Logits, or features [N, 1, 1, depth] without num_classes; and the activations behind root,
        blocks, transitions and the last norm by layer name, with `Logits` and `Predictions`.

    Raises:
        FlagError: stem_stride is not 1, 2 or 4.
    """
    conv_stride, pool_stride = stem_strides([2, 2], stem_stride)
    growth_rate = max(int(GROWTH_RATE * depth_multiplier), min_depth)
    with (
        tf.variable_scope(scope, "densenet", [inputs], reuse=reuse),
        slim.arg_scope([slim.batch_norm], is_training=is_training),
    ):
        net, end_points = inputs, {}
        net = end_points["conv1"] = conv2d_same(net, 2 * growth_rate, 7, conv_stride, scope="conv1")
        if pool_stride > 1:
            # Of what ReLU leaves, none is below the zeros of the padding.
            net = end_points["pool1"] = slim.max_pool2d(
                fixed_padding(net, 3), [3, 3], stride=pool_stride, padding="VALID", scope="pool1"
            )
        for i, count in enumerate(num_units, start=1):
            if i > 1:
                net = end_points[f"transition{i - 1}"] = _transition(net, f"transition{i - 1}")
            with tf.variable_scope(f"block{i}", values=[net]):
                for unit in range(1, count + 1):
                    net = _unit(net, growth_rate, f"unit_{unit}")
            end_points[f"block{i}"] = net
        net = end_points["postnorm"] = batch_norm(net, activation_fn=tf.nn.relu, scope="postnorm")
        if global_pool:
            net = end_points["global_pool"] = tf.reduce_mean(
                net, [1, 2], keepdims=True, name="global_pool"
            )
        if not num_classes:
            return net, end_points
        net = slim.conv2d(
            net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="logits"
        )
        if spatial_squeeze:
            net = tf.squeeze(net, [1, 2], name="SpatialSqueeze")
        end_points["Logits"] = net
        if prediction_fn:
            end_points["Predictions"] = prediction_fn(net, scope="predictions")
    return net, end_points


def _unit(net: tf.Tensor, growth_rate: int, scope: str) -> tf.Tensor:
    """Adds growth_rate feature maps: norm, ReLU, 1x1, norm, ReLU, 3x3 (section 3, H_l)."""
    with tf.variable_scope(scope, values=[net]):
        added = batch_norm(net, activation_fn=tf.nn.relu, scope="preact")
        added = slim.conv2d(added, BOTTLENECK * growth_rate, [1, 1], scope="conv1")
        added = _plain_conv2d(added, growth_rate, 3, "conv2")
        return tf.concat([net, added], 3)


def _transition(net: tf.Tensor, scope: str) -> tf.Tensor:
    """Halves size and feature maps: norm, ReLU, 1x1, pool (section 3, "Pooling layers")."""
    with tf.variable_scope(scope, values=[net]):
        depth = int(COMPRESSION * net.shape.as_list()[3])
        net = batch_norm(net, activation_fn=tf.nn.relu, scope="preact")
        net = _plain_conv2d(net, depth, 1, "conv")
        return slim.avg_pool2d(net, [2, 2], stride=2, padding="SAME", scope="pool")


def _plain_conv2d(net: tf.Tensor, depth: int, kernel_size: int, scope: str) -> tf.Tensor:
    """A convolution alone: whoever reads its output normalises it."""
    return slim.conv2d(
        net,
        depth,
        kernel_size,
        activation_fn=None,
        normalizer_fn=None,
        biases_initializer=None,
        scope=scope,
    )


def densenet_arg_scope(
    weight_decay: float = 0.0001,
    batch_norm_decay: float = 0.99,
    batch_norm_epsilon: float = 1.001e-5,
    batch_norm_updates_collections: str | None = tf.GraphKeys.UPDATE_OPS,
) -> dict:
    """Defaults of the layers of DenseNets.

    Weight decay and initialiser are those of the paper (section 4.2), which regularises every
    weight; decay and epsilon of batch norm are those of keras.applications.

    Args:
        weight_decay: L2 factor on convolution weights.
        batch_norm_decay: of the moving averages.
        batch_norm_epsilon: added to the variance.
        batch_norm_updates_collections: where the updates of the moving averages go; None makes
            them part of the forward pass.

    Returns:
        An arg scope.
    """
    with (
        slim.arg_scope(
            [slim.conv2d],
            weights_regularizer=slim.l2_regularizer(weight_decay),
            weights_initializer=slim.variance_scaling_initializer(),
            activation_fn=tf.nn.relu,
            normalizer_fn=slim.batch_norm,
        ),
        slim.arg_scope(
            [slim.batch_norm],
            decay=batch_norm_decay,
            epsilon=batch_norm_epsilon,
            scale=True,
            updates_collections=batch_norm_updates_collections,
        ) as scope,
    ):
        return scope


def _densenet_of(name: str, num_units: Sequence[int]) -> Callable[..., tuple[tf.Tensor, EndPoints]]:
    """The DenseNet of blocks with those numbers of units, its scope being its name."""

    def net(
        inputs: tf.Tensor,
        num_classes: int | None = 1000,
        is_training: bool | tf.Tensor = True,
        min_depth: int = 8,
        depth_multiplier: float = 1.0,
        prediction_fn: Callable[..., tf.Tensor] | None = slim.softmax,
        spatial_squeeze: bool = True,
        reuse: bool | None = None,
        scope: str = name,
        global_pool: bool = True,
        stem_stride: int | None = None,
    ) -> tuple[tf.Tensor, EndPoints]:
        return densenet(
            inputs,
            num_units,
            num_classes,
            is_training,
            min_depth,
            depth_multiplier,
            prediction_fn,
            spatial_squeeze,
            reuse,
            scope,
            global_pool,
            stem_stride,
        )

    net.__name__ = net.__qualname__ = name
    net.__doc__ = f"""DenseNet with {tuple(num_units)} units in its blocks.

    Arguments and results are those of `densenet`.
    """
    net.default_image_size = 224
    net.arg_scope = densenet_arg_scope
    net.head_scopes = (f"{name}/logits",)
    return net


# Table 1, with what is left at 224x224. The root before leaves [N, 56, 56, 64].
densenet121 = _densenet_of(
    "densenet121",
    num_units=(
        6,  # block1 [N, 56, 56, 256], transition1 [N, 28, 28, 128]
        12,  # block2 [N, 28, 28, 512], transition2 [N, 14, 14, 256]
        24,  # block3 [N, 14, 14, 1024], transition3 [N, 7, 7, 512]
        16,  # block4 [N, 7, 7, 1024], postnorm
    ),
)
