"""EfficientNet: MobileNet's inverted bottlenecks, deepened, widened and enlarged together.

Tan and Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks,
https://arxiv.org/abs/1905.11946. The body of B0 is Table 1 of the paper; B1 repeats its units 1.1
times as often, at 240 pixels. Their units have squeeze-and-excite (Hu et al. 2018,
https://arxiv.org/abs/1709.01507), swish (Ramachandran et al. 2017,
https://arxiv.org/abs/1710.05941) and stochastic depth (Huang et al. 2016,
https://arxiv.org/abs/1603.09382). With 1000 classes and in multiply-adds of convolutions and matrix
products, squeeze-and-excite included, efficientnet_b0 has 5,288,548 parameters and takes
385,814,752, efficientnet_b1 7,794,184 and 686,802,832.

research/slim has no EfficientNet. The layers of a unit are named as in its MobileNet v3, which has
the same ones: `expand`, `depthwise`, `squeeze_excite/Conv` and `Conv_1`, `project`; so are the
first and the last convolution, `Conv` and `Conv_1`, and the head. The units are named as in the
published weights, block1a, block2a, block2b, ..., by stage and place in it, so that those of the
same stage share their names in all EfficientNets.

Deviation: the logits begin with weights that suit any number of classes.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from core.compat import slim, tf
from nets.layers import (
    EndPoints,
    Head,
    dropout,
    logits_of,
    make_divisible,
    pooled,
    squeeze_excite,
    stem_strides,
)


class Stage(NamedTuple):
    """A row of Table 1: units that keep the size, but for the first.

    Attributes:
        kernel: height and width of the depthwise convolutions.
        stride: of the first unit.
        expansion: of its input, the filters that a unit convolves depthwise.
        depth: filters that a unit leaves.
        units: their number.
    """

    kernel: int
    stride: int
    expansion: int
    depth: int
    units: int


STEM_DEPTH = 32  # Conv [N, 112, 112, 32]
# Table 1 of the paper, with the feature map that each row leaves behind at 224x224.
STAGES = (
    Stage(kernel=3, stride=1, expansion=1, depth=16, units=1),  # block1 [N, 112, 112, 16]
    Stage(kernel=3, stride=2, expansion=6, depth=24, units=2),  # block2 [N, 56, 56, 24]
    Stage(kernel=5, stride=2, expansion=6, depth=40, units=2),  # block3 [N, 28, 28, 40]
    Stage(kernel=3, stride=2, expansion=6, depth=80, units=3),  # block4 [N, 14, 14, 80]
    Stage(kernel=5, stride=1, expansion=6, depth=112, units=3),  # block5 [N, 14, 14, 112]
    Stage(kernel=5, stride=2, expansion=6, depth=192, units=4),  # block6 [N, 7, 7, 192]
    Stage(kernel=3, stride=1, expansion=6, depth=320, units=1),  # block7 [N, 7, 7, 320]
)
LAST_DEPTH = 1280  # Conv_1 [N, 7, 7, 1280]

SQUEEZE = 0.25  # of the filters that come into a unit, those between squeeze and excite

HEAD = Head(pool="AvgPool_1a", pool_stride=1, dropout="Dropout_1b", logits="Conv2d_1c_1x1")


@tf.custom_gradient
def swish(inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Each value times its sigmoid, whatever the shape.

    The gradient computes the sigmoid again, so that none is kept for it. That of tf.nn.silu does so
    in more steps, and where gradients are gated, as `minimize` does by default, computes that of a
    factor beta as well, which is always 1.
    """

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        # Without waiting for upstream it would be found to be the sigmoid of the forward pass.
        with tf.control_dependencies([upstream]):
            sigmoid = tf.sigmoid(inputs)
        return upstream * sigmoid + tf.raw_ops.SigmoidGrad(y=sigmoid, dy=upstream * inputs)

    return inputs * tf.sigmoid(inputs), gradient


def efficientnet_base(
    inputs: tf.Tensor,
    is_training: bool | tf.Tensor = True,
    min_depth: int = 8,
    depth_multiplier: float = 1.0,
    unit_multiplier: float = 1.0,
    drop_connect: float = 0.2,
    scope: str | tf.VariableScope | None = None,
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """The body of an EfficientNet, without its head.

    Args:
        inputs: [N, height, width, channels].
        is_training: whether units are dropped.
        min_depth: no layer gets fewer filters than this, but for those of squeeze-and-excite.
        depth_multiplier: factor on the number of filters of every layer, the width of the paper's
            compound scaling; filters stay multiples of 8.
        unit_multiplier: factor on the number of units of every stage, rounded up, the depth of the
            paper's compound scaling.
        drop_connect: how often the last unit gives way to its shortcut in training, in [0, 1); it
            grows in equal steps from 0 at the first unit. Units without shortcut stay.
        scope: variable scope, by default efficientnet.
        stem_stride: stride of the first layer, 1 for small pictures. None: 2.

    Returns:
        The last activations, and those of `Conv`, of the units and of `Conv_1` by name.

    Raises:
        FlagError: stem_stride is neither 1 nor 2.
    """
    (stride,) = stem_strides([2], stem_stride)

    def filters(depth: int) -> int:
        return make_divisible(depth * depth_multiplier, minimum=min_depth)

    units = [
        (f"block{i}{chr(ord('a') + place)}", stage if place == 0 else stage._replace(stride=1))
        for i, stage in enumerate(STAGES, start=1)
        for place in range(math.ceil(stage.units * unit_multiplier))
    ]
    end_points = {}
    with tf.variable_scope(scope, "efficientnet", [inputs]):
        net = end_points["Conv"] = slim.conv2d(
            inputs, filters(STEM_DEPTH), [3, 3], stride=stride, scope="Conv"
        )
        # One number for each picture decides whether it goes through a unit.
        mask_shape = [tf.shape(inputs)[0], 1, 1, 1]
        for i, (name, stage) in enumerate(units):
            shortcut = net
            with tf.variable_scope(name, values=[net]):
                depth = filters(stage.depth)
                net = _unit(net, stage, depth)
                if stage.stride == 1 and depth == shortcut.shape.as_list()[3]:
                    net = dropout(
                        net,
                        1 - drop_connect * i / len(units),
                        is_training,
                        scope="drop_connect",
                        noise_shape=mask_shape,
                    )
                    net += shortcut
            end_points[name] = net
        net = end_points["Conv_1"] = slim.conv2d(net, filters(LAST_DEPTH), [1, 1], scope="Conv_1")
    return net, end_points


def _unit(net: tf.Tensor, stage: Stage, depth: int) -> tf.Tensor:
    """1x1 up, depthwise, squeeze-and-excite, 1x1 down, without the shortcut."""
    input_depth = net.shape.as_list()[3]
    if stage.expansion > 1:
        net = slim.conv2d(net, stage.expansion * input_depth, [1, 1], scope="expand")
    net = slim.separable_conv2d(
        net,
        None,  # the depthwise part alone
        [stage.kernel, stage.kernel],
        depth_multiplier=1,
        stride=stage.stride,
        scope="depthwise",
    )
    net = squeeze_excite(net, max(1, int(SQUEEZE * input_depth)), swish, tf.sigmoid)
    return slim.conv2d(net, depth, [1, 1], activation_fn=None, scope="project")


def _efficientnet_of(
    name: str, units: float, image_size: int
) -> Callable[..., tuple[tf.Tensor, EndPoints]]:
    """The EfficientNet with so many times the units of B0, its scope being its name."""

    def efficientnet(
        inputs: tf.Tensor,
        num_classes: int | None = 1000,
        dropout_keep_prob: float = 0.8,
        is_training: bool | tf.Tensor = True,
        min_depth: int = 8,
        depth_multiplier: float = 1.0,
        prediction_fn: Callable[..., tf.Tensor] | None = slim.softmax,
        spatial_squeeze: bool = True,
        reuse: bool | None = None,
        scope: str = name,
        global_pool: bool = True,
        stem_stride: int | None = None,
        drop_connect: float = 0.2,
    ) -> tuple[tf.Tensor, EndPoints]:
        with (
            tf.variable_scope(scope, name, [inputs], reuse=reuse) as net_scope,
            slim.arg_scope([slim.batch_norm], is_training=is_training),
        ):
            net, end_points = efficientnet_base(
                inputs,
                is_training,
                min_depth,
                depth_multiplier,
                units,
                drop_connect,
                net_scope,
                stem_stride,
            )
            # The published code begins within 1 / sqrt(classes), which gives two classes logits of
            # some tens. Glorot and Bengio 2010, equation 16, for them and for 1000 alike.
            with (
                tf.variable_scope("Logits"),
                slim.arg_scope([slim.conv2d], weights_initializer=slim.xavier_initializer()),
            ):
                net = pooled(net, HEAD, end_points, global_pool)
                if not num_classes:
                    return net, end_points
                logits = end_points["Logits"] = logits_of(
                    net, HEAD, num_classes, dropout_keep_prob, is_training, spatial_squeeze
                )
            if prediction_fn:
                end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
        return logits, end_points

    efficientnet.__name__ = efficientnet.__qualname__ = name
    efficientnet.__doc__ = f"""EfficientNet with {units} times the units of B0, for classification.

    Args:
        inputs: [N, height, width, channels]; N, height and width may be unknown.
        num_classes: number of classes. 0 or None: no head, the pooled features are returned.
        dropout_keep_prob: fraction of the features to keep in training.
        is_training: whether batch norm, dropout and stochastic depth are in training mode.
        min_depth: as in `efficientnet_base`.
        depth_multiplier: as in `efficientnet_base`.
        prediction_fn: makes predictions of logits; None leaves them out.
        spatial_squeeze: logits are [N, num_classes] rather than [N, 1, 1, num_classes].
        reuse: whether to reuse the variables of the scope.
        scope: variable scope.
        global_pool: pool maps of any size to 1x1. Otherwise the window is 7x7, or the map where
            that is smaller.
        stem_stride: as in `efficientnet_base`.
        drop_connect: as in `efficientnet_base`.

    Returns:
        Logits, or pooled features [N, 1, 1, depth] without num_classes; and all activations of
        `efficientnet_base`, the pool, `Logits` and `Predictions` by name.

    Raises:
        FlagError: stem_stride is neither 1 nor 2, or the images are too large for spatial_squeeze
            without global_pool.
    """
    efficientnet.default_image_size = image_size
    efficientnet.arg_scope = efficientnet_arg_scope
    efficientnet.head_scopes = (f"{name}/Logits",)
    return efficientnet


def efficientnet_arg_scope(
    weight_decay: float = 0.00001,
    batch_norm_decay: float = 0.99,
    batch_norm_epsilon: float = 0.001,
    batch_norm_updates_collections: str | None = tf.GraphKeys.UPDATE_OPS,
) -> dict:
    """Defaults of the layers of EfficientNets.

    Section 5.2 of the paper gives weight decay and decay of batch norm; its published code the
    epsilon and the initialisers, and that depthwise weights are regularised as all others.

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
            [slim.conv2d, slim.separable_conv2d],
            weights_regularizer=slim.l2_regularizer(weight_decay),
            weights_initializer=tf.variance_scaling_initializer(
                2.0, mode="fan_out", distribution="untruncated_normal"
            ),
            activation_fn=swish,
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


efficientnet_b0 = _efficientnet_of("efficientnet_b0", units=1.0, image_size=224)
efficientnet_b1 = _efficientnet_of("efficientnet_b1", units=1.1, image_size=240)
