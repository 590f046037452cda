"""MobileNet v1.

Howard et al. 2017, MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications, https://arxiv.org/abs/1704.04861. The body is Table 1 of the paper; at 224x224 it has
3,185,088 convolution weights and takes 567,716,352 multiply-adds.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from core.compat import slim, tf
from core.errors import FlagError
from nets.layers import EndPoints, Head, fixed_padding, logits_of, pooled, stem_strides


class Conv(NamedTuple):
    """A convolution: kernel [height, width], stride, number of filters."""

    kernel: Sequence[int]
    stride: int
    depth: int


class DepthSepConv(NamedTuple):
    """A depthwise convolution with kernel and stride, then a 1x1 convolution to depth filters."""

    kernel: Sequence[int]
    stride: int
    depth: int


# Table 1 of the paper, with the feature map each row leaves behind at 224x224. Row 13 of the
# paper's table says stride 2 where its sizes show 1.
MOBILENETV1_CONV_DEFS = [
    Conv(kernel=[3, 3], stride=2, depth=32),  # Conv2d_0 [N, 112, 112, 32]
    DepthSepConv(kernel=[3, 3], stride=1, depth=64),  # Conv2d_1 [N, 112, 112, 64]
    DepthSepConv(kernel=[3, 3], stride=2, depth=128),  # Conv2d_2 [N, 56, 56, 128]
    DepthSepConv(kernel=[3, 3], stride=1, depth=128),  # Conv2d_3
    DepthSepConv(kernel=[3, 3], stride=2, depth=256),  # Conv2d_4 [N, 28, 28, 256]
    DepthSepConv(kernel=[3, 3], stride=1, depth=256),  # Conv2d_5
    DepthSepConv(kernel=[3, 3], stride=2, depth=512),  # Conv2d_6 [N, 14, 14, 512]
    DepthSepConv(kernel=[3, 3], stride=1, depth=512),  # Conv2d_7
    DepthSepConv(kernel=[3, 3], stride=1, depth=512),  # Conv2d_8
    DepthSepConv(kernel=[3, 3], stride=1, depth=512),  # Conv2d_9
    DepthSepConv(kernel=[3, 3], stride=1, depth=512),  # Conv2d_10
    DepthSepConv(kernel=[3, 3], stride=1, depth=512),  # Conv2d_11
    DepthSepConv(kernel=[3, 3], stride=2, depth=1024),  # Conv2d_12 [N, 7, 7, 1024]
    DepthSepConv(kernel=[3, 3], stride=1, depth=1024),  # Conv2d_13
]

HEAD = Head(pool="AvgPool_1a", pool_stride=2, dropout="Dropout_1b", logits="Conv2d_1c_1x1")


def mobilenet_v1_base(
    inputs: tf.Tensor,
    final_endpoint: str = "Conv2d_13_pointwise",
    min_depth: int = 8,
    depth_multiplier: float = 1.0,
    conv_defs: Sequence[Conv | DepthSepConv] | None = None,
    output_stride: int | None = None,
    use_explicit_padding: bool = False,
    scope: str | tf.VariableScope | None = None,
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """The body of MobileNet v1, without its head.

    Args:
        inputs: [N, height, width, channels].
        final_endpoint: the layer to stop after, `Conv2d_0` or `Conv2d_<i>_depthwise` or
            `Conv2d_<i>_pointwise`.
        min_depth: no layer gets fewer filters than this.
        depth_multiplier: factor on the number of filters of every layer, above 0.
        conv_defs: the layers, by default MOBILENETV1_CONV_DEFS.
        output_stride: ratio of input to output size, 8, 16 or 32. Once it is reached, further
            strides become atrous rates. None: as the layers say, 32 for the default ones.
        use_explicit_padding: pad by kernel size and convolve VALID instead of SAME.
        scope: variable scope, by default MobilenetV1.
        stem_stride: stride of the first layer, 1 for small pictures. None: as the layer says.

    Returns:
        The activations of final_endpoint, and all activations up to it by layer name.

    Raises:
        FlagError: unknown final_endpoint, depth_multiplier not above 0, or an output_stride or a
            stem_stride that is not allowed.
    """
    if depth_multiplier <= 0:
        raise FlagError(f"depth_multiplier is not greater than zero: {depth_multiplier}")
    if output_stride not in (None, 8, 16, 32):
        raise FlagError(f"Only allowed output_stride values are 8, 16, 32: got {output_stride}")
    first, *others = conv_defs or MOBILENETV1_CONV_DEFS
    layers = [first._replace(stride=stem_strides([first.stride], stem_stride)[0]), *others]
    net, end_points = inputs, {}
    current_stride, atrous_rate = 1, 1
    padding = "VALID" if use_explicit_padding else "SAME"
    with (
        tf.variable_scope(scope, "MobilenetV1", [inputs]),
        slim.arg_scope([slim.conv2d, slim.separable_conv2d], padding=padding),
    ):
        for i, conv_def in enumerate(layers):
            name, kernel, stride, rate = f"Conv2d_{i}", conv_def.kernel, conv_def.stride, 1
            if current_stride == output_stride:
                # The map keeps its size: a stride becomes the spacing of all kernels after it.
                stride, rate = 1, atrous_rate
                atrous_rate *= conv_def.stride
            else:
                current_stride *= stride
            if use_explicit_padding:
                net = fixed_padding(net, kernel, rate)
            if isinstance(conv_def, DepthSepConv):
                # Without a number of filters, separable_conv2d is the depthwise part alone.
                net = end_points[f"{name}_depthwise"] = slim.separable_conv2d(
                    net,
                    None,
                    kernel,
                    depth_multiplier=1,
                    stride=stride,
                    rate=rate,
                    scope=f"{name}_depthwise",
                )
                if final_endpoint in end_points:
                    return net, end_points
                name, kernel, stride, rate = f"{name}_pointwise", [1, 1], 1, 1
            filters = max(int(conv_def.depth * depth_multiplier), min_depth)
            net = end_points[name] = slim.conv2d(
                net, filters, kernel, stride=stride, rate=rate, scope=name
            )
            if final_endpoint in end_points:
                return net, end_points
    raise FlagError(
        f"Unknown final endpoint {final_endpoint}", remedy=f"known: {', '.join(end_points)}"
    )


def mobilenet_v1(
    inputs: tf.Tensor,
    num_classes: int | None = 1000,
    dropout_keep_prob: float = 0.999,
    is_training: bool | tf.Tensor = True,
    min_depth: int = 8,
    depth_multiplier: float = 1.0,
    conv_defs: Sequence[Conv | DepthSepConv] | None = None,
    prediction_fn: Callable[..., tf.Tensor] | None = slim.softmax,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str = "MobilenetV1",
    global_pool: bool = False,
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """MobileNet v1 for classification.

    Args:
        inputs: [N, height, width, channels]; N, height and width may be unknown.
        num_classes: number of classes. 0 or None: no head, the pooled features are returned.
        dropout_keep_prob: fraction of the features to keep in training.
        is_training: whether batch norm and dropout are in training mode.
        min_depth: no layer gets fewer filters than this.
        depth_multiplier: factor on the number of filters of every layer, above 0.
        conv_defs: the layers, by default MOBILENETV1_CONV_DEFS.
        prediction_fn: makes predictions of logits; None leaves them out.
        spatial_squeeze: logits are [N, num_classes] rather than [N, 1, 1, num_classes].
        reuse: whether to reuse the variables of the scope.
        scope: variable scope.
        global_pool: pool maps of any size to 1x1. Otherwise the window is 7x7, or the map where
            that is smaller.
        stem_stride: stride of the first layer, 1 for small pictures. None: as the layer says.

    Returns:
        Logits, or pooled features [N, 1, 1, depth] without num_classes; and all activations by
        layer name, `Logits` and `Predictions` among them.

    Raises:
        FlagError: inputs are not of rank 4, depth_multiplier is not above 0, or the images are too
            large for spatial_squeeze without global_pool.
    """
    if inputs.shape.rank != 4:
        raise FlagError(f"Invalid input tensor rank, expected 4, was: {inputs.shape.rank}")
    with (
        tf.variable_scope(scope, "MobilenetV1", [inputs], reuse=reuse) as scope,
        slim.arg_scope([slim.batch_norm], is_training=is_training),
    ):
        net, end_points = mobilenet_v1_base(
            inputs,
            min_depth=min_depth,
            depth_multiplier=depth_multiplier,
            conv_defs=conv_defs,
            scope=scope,
            stem_stride=stem_stride,
        )
        with tf.variable_scope("Logits"):
            net = pooled(net, HEAD, end_points, global_pool)
            if not num_classes:
                return net, end_points
            logits = logits_of(
                net, HEAD, num_classes, dropout_keep_prob, is_training, spatial_squeeze
            )
        end_points["Logits"] = logits
        if prediction_fn:
            end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, end_points


def mobilenet_v1_arg_scope(
    is_training: bool | None = True,
    weight_decay: float = 0.00004,
    stddev: float = 0.09,
    regularize_depthwise: bool = False,
    batch_norm_decay: float = 0.9997,
    batch_norm_epsilon: float = 0.001,
    batch_norm_updates_collections: str | None = tf.GraphKeys.UPDATE_OPS,
    normalizer_fn: Callable[..., tf.Tensor] | None = slim.batch_norm,
) -> dict:
    """Defaults of the layers of MobileNet v1. The values are those of the published checkpoints.

    Args:
        is_training: whether batch norm is in training mode; None leaves it open.
        weight_decay: L2 factor on convolution weights.
        stddev: of the truncated normal initialiser of the weights.
        regularize_depthwise: L2 on depthwise weights too. They have so few values that the paper
            (section 3.2) advises little or none.
        batch_norm_decay: of the moving averages.
        batch_norm_epsilon: added to the variance.
        batch_norm_updates_collections: where the updates of the moving averages go; None makes
            them part of the forward pass.
        normalizer_fn: normaliser of every layer but the logits.

    Returns:
        An arg scope.
    """
    batch_norm = {
        "center": True,
        "scale": True,
        "decay": batch_norm_decay,
        "epsilon": batch_norm_epsilon,
        "updates_collections": batch_norm_updates_collections,
    }
    if is_training is not None:
        batch_norm["is_training"] = is_training
    l2 = slim.l2_regularizer(weight_decay)
    with (
        slim.arg_scope(
            [slim.conv2d, slim.separable_conv2d],
            weights_initializer=tf.truncated_normal_initializer(stddev=stddev),
            activation_fn=tf.nn.relu6,
            normalizer_fn=normalizer_fn,
        ),
        slim.arg_scope([slim.batch_norm], **batch_norm),
        slim.arg_scope([slim.conv2d], weights_regularizer=l2),
        slim.arg_scope(
            [slim.separable_conv2d], weights_regularizer=l2 if regularize_depthwise else None
        ) as scope,
    ):
        return scope


mobilenet_v1.default_image_size = 224
mobilenet_v1.arg_scope = mobilenet_v1_arg_scope
mobilenet_v1.head_scopes = ("MobilenetV1/Logits",)


def _thinned(depth_multiplier: float) -> Callable[..., tuple[tf.Tensor, EndPoints]]:
    """MobileNet v1 with that depth_multiplier by default (section 3.3 of the paper)."""
    net = functools.partial(mobilenet_v1, depth_multiplier=depth_multiplier)
    return functools.update_wrapper(net, mobilenet_v1)


mobilenet_v1_075 = _thinned(0.75)
mobilenet_v1_050 = _thinned(0.50)
mobilenet_v1_025 = _thinned(0.25)
