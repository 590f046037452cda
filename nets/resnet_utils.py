"""Building blocks of residual nets, of both versions: root, stack of blocks, head, arg scope.

He et al. 2016, Deep Residual Learning for Image Recognition, https://arxiv.org/abs/1512.03385. A
block of bottlenecks subsamples in its last unit, where the paper does so in the first one of the
next block: the same values for less memory, as what comes between are 1x1 convolutions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from core.compat import slim, tf
from core.errors import FlagError
from nets.layers import EndPoints, fixed_padding, stem_strides


class Block(NamedTuple):
    """A stack of residual units.

    Attributes:
        scope: name of the block.
        unit_fn: the unit, called as unit_fn(net, rate=..., **args[i]).
        args: keyword arguments of each unit; `stride` counts as 1 where it is missing.
    """

    scope: str
    unit_fn: Callable[..., tf.Tensor]
    args: Sequence[Mapping[str, int]]


def bottleneck_block(
    scope: str, unit_fn: Callable[..., tf.Tensor], base_depth: int, num_units: int, stride: int
) -> Block:
    """A block of bottleneck units of 4 * base_depth channels; its last unit has the stride.

    Args:
        scope: name of the block.
        unit_fn: the unit.
        base_depth: channels of the 3x3 convolutions.
        num_units: number of units.
        stride: of the last unit.

    Returns:
        The block.
    """
    strides = [1] * (num_units - 1) + [stride]
    return Block(
        scope,
        unit_fn,
        [{"depth": 4 * base_depth, "depth_bottleneck": base_depth, "stride": s} for s in strides],
    )


def four_blocks(
    block_fn: Callable[..., Block],
    strides: Sequence[int],
    num_units: Sequence[int],
    depth_multiplier: float = 1,
    min_base_depth: int = 8,
) -> list[Block]:
    """The blocks of the nets of Table 1 of the paper: from one to the next, base depths double.

    Args:
        block_fn: makes a block, called with scope, base_depth, num_units and stride.
        strides: of the blocks.
        num_units: of the blocks.
        depth_multiplier: factor on the base depth of every block.
        min_base_depth: no block gets a smaller base depth than this.

    Returns:
        `block1` to `block4`.
    """
    # At 224x224 these work on maps of 56, 28, 14 and 7 rows.
    table = zip((64, 128, 256, 512), num_units, strides, strict=True)
    return [
        block_fn(
            f"block{i}",
            base_depth=max(int(depth * depth_multiplier), min_base_depth),
            num_units=units,
            stride=stride,
        )
        for i, (depth, units, stride) in enumerate(table, start=1)
    ]


def subsample(inputs: tf.Tensor, factor: int, scope: str | None = None) -> tf.Tensor:
    """Keeps every factor-th row and column, from the first.

    Args:
        inputs: [N, height, width, channels].
        factor: step in both directions.
        scope: name of the layer.

    Returns:
        [N, ceil(height / factor), ceil(width / factor), channels]; inputs itself at factor 1.
    """
    if factor == 1:
        return inputs
    return slim.max_pool2d(inputs, [1, 1], stride=factor, scope=scope)


def conv2d_same(
    inputs: tf.Tensor,
    num_outputs: int,
    kernel_size: int,
    stride: int,
    rate: int = 1,
    scope: str | None = None,
) -> tf.Tensor:
    """A convolution that equals a SAME convolution of stride 1 followed by `subsample`.

    A strided SAME convolution does not: on images of even size it pads less on the left, so its
    samples lie half a stride off.

    Args:
        inputs: [N, height, width, channels].
        num_outputs: number of filters.
        kernel_size: size of the square kernel.
        stride: step in both directions.
        rate: atrous rate.
        scope: name of the layer.

    Returns:
        [N, ceil(height / stride), ceil(width / stride), num_outputs].
    """
    padding = "SAME"
    if stride > 1:
        inputs, padding = fixed_padding(inputs, kernel_size, rate), "VALID"
    return slim.conv2d(
        inputs, num_outputs, kernel_size, stride=stride, rate=rate, padding=padding, scope=scope
    )


def root(
    net: tf.Tensor, output_stride: int | None, stem_stride: int | None
) -> tuple[tf.Tensor, int | None]:
    """What comes before the blocks: a 7x7 convolution of 64 filters and a 3x3 max pool.

    Args:
        net: [N, height, width, channels].
        output_stride: of the whole net; None: as the blocks say.
        stem_stride: factor by which the size is divided, 1, 2 or 4; below 4 there is no max pool.
            None: 4.

    Returns:
        [N, height / stem_stride, width / stem_stride, 64], and what is left of output_stride.

    Raises:
        FlagError: output_stride is not a multiple of the root's stride, or stem_stride is not 1, 2
            or 4.
    """
    conv_stride, pool_stride = stem_strides([2, 2], stem_stride)
    if output_stride is not None:
        if output_stride % (conv_stride * pool_stride):
            raise FlagError(
                f"The output_stride needs to be a multiple of {conv_stride * pool_stride}.",
                where=f"output_stride {output_stride}",
            )
        output_stride //= conv_stride * pool_stride
    net = conv2d_same(net, 64, 7, stride=conv_stride, scope="conv1")
    if pool_stride > 1:
        net = slim.max_pool2d(net, [3, 3], stride=pool_stride, scope="pool1")
    return net, output_stride


@slim.add_arg_scope
def stack_blocks_dense(
    net: tf.Tensor,
    blocks: Sequence[Block],
    output_stride: int | None = None,
    store_non_strided_activations: bool = False,
    outputs_collections: str | None = None,
) -> tf.Tensor:
    """Stacks blocks, and turns strides beyond output_stride into atrous rates.

    The dense output holds the output of the plain stack: `subsample` of it gives the same values.

    Args:
        net: [N, height, width, channels].
        blocks: the blocks, in order.
        output_stride: ratio of input to output size; a product of the strides of the first units.
            None: the product of all strides.
        store_non_strided_activations: move the stride of a block behind its last unit, so that the
            collected output of the block has the larger size (4 times the work in that unit).
        outputs_collections: collection of the outputs of the blocks.

    Returns:
        [N, height / output_stride, width / output_stride, channels of the last unit].

    Raises:
        FlagError: output_stride is not a product of the strides of the first units.
    """
    current_stride, rate = 1, 1
    for block in blocks:
        with tf.variable_scope(block.scope, "block", [net]) as block_scope:
            units, block_stride = [dict(unit) for unit in block.args], 1
            if store_non_strided_activations:
                block_stride = units[-1].pop("stride", 1)
                units[-1]["stride"] = 1
            for i, unit in enumerate(units):
                stride = unit.pop("stride", 1)
                with tf.variable_scope(f"unit_{i + 1}", values=[net]):
                    if current_stride == output_stride:
                        net = block.unit_fn(net, rate=rate, stride=1, **unit)
                        rate *= stride
                    else:
                        net = block.unit_fn(net, rate=1, stride=stride, **unit)
                        current_stride *= stride
            net = slim.utils.collect_named_outputs(outputs_collections, block_scope.name, net)
            if current_stride == output_stride:
                rate *= block_stride
            else:
                net = subsample(net, block_stride)
                current_stride *= block_stride
    if output_stride not in (None, current_stride):
        raise FlagError(
            "The target output_stride cannot be reached.",
            where=f"output_stride {output_stride} of blocks",
            remedy="give a product of the strides of the first units",
        )
    return net


def head(
    net: tf.Tensor,
    num_classes: int | None,
    end_points: EndPoints,
    net_name: str,
    global_pool: bool,
    spatial_squeeze: bool,
) -> tuple[tf.Tensor, EndPoints]:
    """Averages the features over space and classifies them with a 1x1 convolution.

    Args:
        net: [N, height, width, channels].
        num_classes: number of classes. 0 or None: the features are returned.
        end_points: gains `global_pool`, those of the logits by full scope name, and `predictions`.
        net_name: full name of the net's variable scope, which is open.
        global_pool: whether to average.
        spatial_squeeze: logits are [N, num_classes] rather than [N, 1, 1, num_classes].

    Returns:
        Logits or features, and the end points.
    """
    if global_pool:
        net = end_points["global_pool"] = tf.reduce_mean(net, [1, 2], keepdims=True, name="pool5")
    if num_classes:
        net = end_points[f"{net_name}/logits"] = slim.conv2d(
            net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="logits"
        )
        if spatial_squeeze:
            net = end_points[f"{net_name}/spatial_squeeze"] = tf.squeeze(
                net, [1, 2], name="SpatialSqueeze"
            )
        end_points["predictions"] = slim.softmax(net, scope="predictions")
    return net, end_points


def resnet_arg_scope(
    weight_decay: float = 0.0001,
    batch_norm_decay: float = 0.997,
    batch_norm_epsilon: float = 1e-5,
    batch_norm_scale: bool = True,
    activation_fn: Callable[[tf.Tensor], tf.Tensor] | None = tf.nn.relu,
    use_batch_norm: bool = True,
    batch_norm_updates_collections: str | None = tf.GraphKeys.UPDATE_OPS,
) -> dict:
    """Defaults of the layers of residual nets. The weight decay is that of the paper (section 3.4).

    The batch norm values are those of the published checkpoints.

    Args:
        weight_decay: L2 factor on convolution weights.
        batch_norm_decay: of the moving averages.
        batch_norm_epsilon: added to the variance.
        batch_norm_scale: whether batch norm has a gamma.
        activation_fn: of convolutions.
        use_batch_norm: normalise after each convolution; otherwise convolutions have biases.
        batch_norm_updates_collections: where the updates of the moving averages go; None makes
            them part of the forward pass.

    Returns:
        An arg scope.
    """
    batch_norm = {
        "decay": batch_norm_decay,
        "epsilon": batch_norm_epsilon,
        "scale": batch_norm_scale,
        "updates_collections": batch_norm_updates_collections,
    }
    with (
        slim.arg_scope(
            [slim.conv2d],
            weights_regularizer=slim.l2_regularizer(weight_decay),
            weights_initializer=slim.variance_scaling_initializer(),
            activation_fn=activation_fn,
            normalizer_fn=slim.batch_norm if use_batch_norm else None,
            normalizer_params=batch_norm if use_batch_norm else {},
        ),
        slim.arg_scope([slim.batch_norm], **batch_norm),
        # SAME aligns pool1 with the corners of the image, like the padding of conv2d_same.
        slim.arg_scope([slim.max_pool2d], padding="SAME") as scope,
    ):
        return scope
