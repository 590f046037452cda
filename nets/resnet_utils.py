"""Building blocks of residual nets.

He et al. 2016, Deep Residual Learning for Image Recognition, https://arxiv.org/abs/1512.03385. A
block subsamples in its last unit, where the paper does so in the first one of the next block: the
same values for less memory.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from core.compat import slim, tf
from core.errors import FlagError
from nets.layers import fixed_padding


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
