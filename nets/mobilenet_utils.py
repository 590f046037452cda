"""Building blocks of MobileNet v2 and v3: inverted residuals between thin layers.

[1] Sandler et al. 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks,
https://arxiv.org/abs/1801.04381.
[2] Howard et al. 2019, Searching for MobileNetV3, https://arxiv.org/abs/1905.02244.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from core.compat import slim, tf
from core.errors import FlagError
from nets.layers import (
    EndPoints,
    Head,
    fixed_padding,
    logits_of,
    make_divisible,
    pooled,
    squeeze_excite,
    stem_strides,
)
from nets.mobilenet_v1 import mobilenet_v1_arg_scope

Activation = Callable[[tf.Tensor], tf.Tensor]


class Conv(NamedTuple):
    """A convolution.

    Attributes:
        depth: number of filters.
        kernel: height and width.
        stride: step in both directions.
        activation_fn: what follows.
        normalized: whether it has a batch norm rather than a bias.
    """

    depth: int
    kernel: int
    stride: int = 1
    activation_fn: Activation = tf.nn.relu6
    normalized: bool = True


class Bottleneck(NamedTuple):
    """A 1x1 convolution that expands, a depthwise one, and a 1x1 convolution that projects.

    Attributes:
        depth: number of channels of the output.
        expansion: how many times as many channels as the input has lie between; at 1 nothing is
            expanded.
        stride: of the depthwise convolution.
        kernel: height and width of the depthwise convolution.
        activation_fn: what follows the first two convolutions; the projection is linear.
        gate_fn: of the squeeze-and-excite before the projection; None: there is none.
    """

    depth: int
    expansion: float
    stride: int = 1
    kernel: int = 3
    activation_fn: Activation = tf.nn.relu6
    gate_fn: Activation | None = None


class GlobalPool(NamedTuple):
    """The average of a map of any size."""


Layer = Conv | Bottleneck | GlobalPool

# Squeeze-and-excite goes down to a quarter of the channels (section 5.3 of [2]).
SQUEEZE = 4
# So many layers with a stride are the stem; they divide the size by 4, as that of ResNet does.
STRIDES_OF_STEM = 2
HEAD = Head(pool="global_pool", pool_stride=1, dropout="Dropout", logits="Conv2d_1c_1x1")


def expanded_conv(
    inputs: tf.Tensor,
    block: Bottleneck,
    stride: int,
    rate: int = 1,
    use_explicit_padding: bool = False,
    scope: str = "expanded_conv",
) -> tuple[tf.Tensor, EndPoints]:
    """An inverted residual (Fig. 4d of [1]; with squeeze-and-excite Fig. 4 of [2]).

    The input is added where the block has stride 1 and keeps the number of channels.

    Args:
        inputs: [N, height, width, channels].
        block: what it is made of.
        stride: of the depthwise convolution, 1 where an atrous rate is in place of the block's.
        rate: atrous rate of the depthwise convolution.
        use_explicit_padding: pad by kernel size and convolve VALID instead of SAME.
        scope: variable scope.

    Returns:
        [N, ceil(height / stride), ceil(width / stride), depth], and what lies within by name:
        `expansion_output`, where it expands, `depthwise_output`, and `output`, which is the same.
    """
    end_points, net = {}, inputs
    channels = inputs.shape.as_list()[3]
    between = make_divisible(channels * block.expansion)
    with tf.variable_scope(scope, values=[inputs]):
        if between > channels:
            net = end_points["expansion_output"] = slim.conv2d(
                net, between, [1, 1], activation_fn=block.activation_fn, scope="expand"
            )
        if use_explicit_padding:
            net = fixed_padding(net, block.kernel, rate)
        # Without a number of filters, separable_conv2d is the depthwise part alone.
        net = end_points["depthwise_output"] = slim.separable_conv2d(
            net,
            None,
            block.kernel,
            depth_multiplier=1,
            stride=stride,
            rate=rate,
            padding="VALID" if use_explicit_padding else "SAME",
            activation_fn=block.activation_fn,
            scope="depthwise",
        )
        if block.gate_fn:
            net = squeeze_excite(
                net, make_divisible(between / SQUEEZE), tf.nn.relu, gate_fn=block.gate_fn
            )
        net = slim.conv2d(net, block.depth, [1, 1], activation_fn=None, scope="project")
        if block.stride == 1 and block.depth == channels:
            net = tf.add(net, inputs, name="output")
    end_points["output"] = net
    return net, end_points


def _conv(
    net: tf.Tensor, layer: Conv, stride: int, rate: int, use_explicit_padding: bool, scope: str
) -> tuple[tf.Tensor, EndPoints]:
    """A convolution, with the arguments and results of `expanded_conv`."""
    if layer.kernel == 1:
        rate = 1  # nothing to space out
    if use_explicit_padding:
        net = fixed_padding(net, layer.kernel, rate)
    arguments = {} if layer.normalized else {"normalizer_fn": None}
    net = slim.conv2d(
        net,
        layer.depth,
        layer.kernel,
        stride=stride,
        rate=rate,
        padding="VALID" if use_explicit_padding else "SAME",
        activation_fn=layer.activation_fn,
        scope=scope,
        **arguments,
    )
    return net, {}


def _as_built(
    conv_defs: Sequence[Layer], min_depth: int, depth_multiplier: float, stem_stride: int | None
) -> dict[str, Layer]:
    """Layers by variable scope, with the depths and strides that arguments give them."""
    if depth_multiplier <= 0:
        raise FlagError(f"depth_multiplier is not greater than zero: {depth_multiplier}")
    layers = list(conv_defs)
    stem = [i for i, layer in enumerate(layers) if getattr(layer, "stride", 1) > 1]
    stem = stem[:STRIDES_OF_STEM]
    strides = stem_strides([layers[i].stride for i in stem], stem_stride)
    for i, stride in zip(stem, strides, strict=True):
        layers[i] = layers[i]._replace(stride=stride)
    kinds = {Conv: "Conv", Bottleneck: "expanded_conv", GlobalPool: "pool"}
    built = {}
    for i, layer in enumerate(layers):
        number = sum(isinstance(before, type(layer)) for before in layers[:i])
        scope = kinds[type(layer)] + (f"_{number}" if number else "")
        if not isinstance(layer, GlobalPool):
            last = i == len(layers) - 1
            factor = max(depth_multiplier, 1) if last else depth_multiplier
            layer = layer._replace(depth=make_divisible(layer.depth * factor, minimum=min_depth))
        built[scope] = layer
    return built


def mobilenet_base(
    inputs: tf.Tensor,
    conv_defs: Sequence[Layer],
    final_endpoint: str | None = None,
    min_depth: int = 8,
    depth_multiplier: float = 1.0,
    output_stride: int | None = None,
    use_explicit_padding: bool = False,
    scope: str | tf.VariableScope | None = None,
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """The body of a MobileNet, without its head.

    Depths are multiples of 8. A depth_multiplier below 1 leaves the last layer as it is, which
    serves small nets (section 4 of [1]) and is so in all published checkpoints.

    Args:
        inputs: [N, height, width, channels].
        conv_defs: the layers.
        final_endpoint: the layer to stop after, `layer_<i>` from 1 on; None: the last.
        min_depth: no layer gets fewer filters than this.
        depth_multiplier: factor on the number of filters of every layer, above 0.
        output_stride: ratio of input to output size, a power of 2 up to 32. Once it is reached,
            further strides become atrous rates. None: as the layers say.
        use_explicit_padding: pad by kernel size and convolve VALID instead of SAME.
        scope: variable scope, by default Mobilenet.
        stem_stride: factor by which the first two layers with a stride divide the size, 1, 2 or 4,
            less than 4 for small pictures. None: as the layers say.

    Returns:
        The activations of final_endpoint, and all activations up to it: `layer_<i>`, and for a
        bottleneck before it what `expanded_conv` names, as `layer_<i>/output`.

    Raises:
        FlagError: unknown final_endpoint, depth_multiplier not above 0, or an output_stride or a
            stem_stride that is not allowed.
    """
    if output_stride not in (None, 1, 2, 4, 8, 16, 32):
        raise FlagError(f"output_stride is not a power of 2 up to 32: {output_stride}")
    layers = _as_built(conv_defs, min_depth, depth_multiplier, stem_stride)
    names = [f"layer_{i}" for i in range(1, len(layers) + 1)]
    if final_endpoint not in (None, *names):
        raise FlagError(
            f"Unknown final endpoint {final_endpoint}", remedy=f"known: {', '.join(names)}"
        )
    net, end_points = inputs, {}
    current_stride, atrous_rate = 1, 1
    with (
        tf.variable_scope(scope, "Mobilenet", [inputs]) as net_scope,
        # Names of operations have the scope once, as those of the published graphs.
        tf.name_scope(net_scope.original_name_scope),
    ):
        for name, (layer_scope, layer) in zip(names, layers.items(), strict=True):
            if isinstance(layer, GlobalPool):
                net = tf.reduce_mean(net, [1, 2], keepdims=True, name=layer_scope)
            else:
                stride, rate = layer.stride, 1
                if current_stride == output_stride:
                    # The map keeps its size: a stride becomes the spacing of all kernels after it.
                    stride, rate = 1, atrous_rate
                    atrous_rate *= layer.stride
                else:
                    current_stride *= stride
                layer_fn = _conv if isinstance(layer, Conv) else expanded_conv
                net, within = layer_fn(
                    net, layer, stride, rate, use_explicit_padding, scope=layer_scope
                )
                end_points |= {f"{name}/{part}": value for part, value in within.items()}
            end_points[name] = net
            if name == final_endpoint:
                break
    return net, end_points


def mobilenet(
    inputs: tf.Tensor,
    conv_defs: Sequence[Layer],
    num_classes: int | None = 1000,
    dropout_keep_prob: float = 0.8,
    is_training: bool | tf.Tensor = True,
    min_depth: int = 8,
    depth_multiplier: float = 1.0,
    prediction_fn: Callable[..., tf.Tensor] | None = slim.softmax,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str | None = None,
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """A MobileNet for classification. Maps of any size are pooled to 1x1.

    Args:
        inputs: [N, height, width, channels]; N, height and width may be unknown.
        conv_defs: the layers.
        num_classes: number of classes. 0 or None: no head, the pooled features are returned.
        dropout_keep_prob: fraction of the features to keep in training.
        is_training: whether batch norm and dropout are in training mode.
        min_depth: no layer gets fewer filters than this.
        depth_multiplier: factor on the number of filters, above 0, as for `mobilenet_base`.
        prediction_fn: makes predictions of logits; None leaves them out.
        spatial_squeeze: logits are [N, num_classes] rather than [N, 1, 1, num_classes].
        reuse: whether to reuse the variables of the scope.
        scope: variable scope, by default Mobilenet.
        stem_stride: factor by which the first layers divide the size, as for `mobilenet_base`.

    Returns:
        Logits, or pooled features [N, 1, 1, depth] without num_classes; and all activations by
        name: those of `mobilenet_base`, `global_pool` (the features), `Logits`, `Predictions`.

    Raises:
        FlagError: inputs are not of rank 4, depth_multiplier is not above 0, or stem_stride is not
            allowed.
    """
    if inputs.shape.rank != 4:
        raise FlagError(f"Invalid input tensor rank, expected 4, was: {inputs.shape.rank}")
    with (
        tf.variable_scope(scope, "Mobilenet", [inputs], reuse=reuse) as net_scope,
        slim.arg_scope([slim.batch_norm], is_training=is_training),
    ):
        net, end_points = mobilenet_base(
            inputs,
            conv_defs,
            min_depth=min_depth,
            depth_multiplier=depth_multiplier,
            scope=net_scope,
            stem_stride=stem_stride,
        )
        with tf.variable_scope("Logits"):
            if any(isinstance(layer, GlobalPool) for layer in conv_defs):
                end_points["global_pool"] = net
            else:
                net = pooled(net, HEAD, end_points, global_pool=True)
            if not num_classes:
                return net, end_points
            logits = logits_of(
                net, HEAD, num_classes, dropout_keep_prob, is_training, spatial_squeeze
            )
        end_points["Logits"] = logits
        if prediction_fn:
            end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, end_points


# The values of the published checkpoints: those of MobileNet v1, with faster moving averages.
mobilenet_arg_scope = functools.partial(mobilenet_v1_arg_scope, batch_norm_decay=0.997)
