"""ResNet v2: residual nets whose units normalise before each convolution.

[1] He et al. 2016, Deep Residual Learning for Image Recognition, https://arxiv.org/abs/1512.03385.
[2] He et al. 2016, Identity Mappings in Deep Residual Networks, https://arxiv.org/abs/1603.05027.

What is added up goes through the net as it is (Fig. 1(b) of [2]): neither batch norm nor ReLU
follows the sum, nor the convolutions that lead to it, which have biases instead. ResNet-50 has
23,454,912 convolution weights in its base, as of version 1, and 25,568,360 parameters with 1000
classes; multiply-adds at 224x224 are 3,482,255,360, those of version 1 too.
"""

from collections.abc import Sequence

from core.compat import slim, tf
from nets import layers, resnet_utils
from nets.layers import EndPoints
from nets.resnet_utils import resnet_arg_scope

__all__ = ["bottleneck", "resnet_arg_scope", "resnet_v2", "resnet_v2_50", "resnet_v2_block"]

_PLAIN = {"activation_fn": None, "normalizer_fn": None}  # a convolution that ends in its biases


@slim.add_arg_scope
def bottleneck(
    inputs: tf.Tensor,
    depth: int,
    depth_bottleneck: int,
    stride: int,
    rate: int = 1,
    outputs_collections: str | None = None,
    scope: str | None = None,
) -> tf.Tensor:
    """A residual unit: batch norm and ReLU, 1x1 down, 3x3, 1x1 up, plus the shortcut.

    Args:
        inputs: [N, height, width, channels].
        depth: channels of the output.
        depth_bottleneck: channels of the 3x3 convolution.
        stride: of the 3x3 convolution and of the shortcut.
        rate: atrous rate of the 3x3 convolution.
        outputs_collections: collection of the output.
        scope: variable scope, by default bottleneck_v2.

    Returns:
        [N, ceil(height / stride), ceil(width / stride), depth].
    """
    with tf.variable_scope(scope, "bottleneck_v2", [inputs]) as unit_scope:
        preact = layers.batch_norm(inputs, activation_fn=tf.nn.relu, scope="preact")
        if depth == slim.utils.last_dimension(inputs.get_shape(), min_rank=4):
            shortcut = resnet_utils.subsample(inputs, stride, "shortcut")
        else:
            shortcut = slim.conv2d(preact, depth, [1, 1], stride=stride, scope="shortcut", **_PLAIN)
        residual = slim.conv2d(preact, depth_bottleneck, [1, 1], stride=1, scope="conv1")
        residual = resnet_utils.conv2d_same(
            residual, depth_bottleneck, 3, stride, rate=rate, scope="conv2"
        )
        residual = slim.conv2d(residual, depth, [1, 1], stride=1, scope="conv3", **_PLAIN)
        return slim.utils.collect_named_outputs(
            outputs_collections, unit_scope.name, shortcut + residual
        )


def resnet_v2_block(scope: str, base_depth: int, num_units: int, stride: int) -> resnet_utils.Block:
    """A block of bottlenecks: see `resnet_utils.bottleneck_block`."""
    return resnet_utils.bottleneck_block(scope, bottleneck, base_depth, num_units, stride)


def resnet_v2(
    inputs: tf.Tensor,
    blocks: Sequence[resnet_utils.Block],
    num_classes: int | None = None,
    is_training: bool | tf.Tensor | None = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    include_root_block: bool = True,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str | None = None,
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """A ResNet v2 of the given blocks.

    Args:
        inputs: [N, height, width, channels]; N, height and width may be unknown.
        blocks: the blocks behind the root.
        num_classes: number of classes. 0 or None: no head, the features are returned.
        is_training: whether batch norm is in training mode; None leaves it to an outer arg scope.
        global_pool: average the features over space.
        output_stride: ratio of input to output size. None: as the blocks say.
        include_root_block: begin with a 7x7 convolution and a max pool, which divide the size by 4.
        spatial_squeeze: logits are [N, num_classes] rather than [N, 1, 1, num_classes].
        reuse: whether to reuse the variables of the scope.
        scope: variable scope, by default resnet_v2.
        stem_stride: factor by which the root block divides the size, 1, 2 or 4; below 4 it has no
            max pool. None: 4.

    Returns:
        Logits, or features [N, height, width, channels] without num_classes; and all activations by
        full scope name, with `global_pool` and `predictions`.

    Raises:
        FlagError: output_stride is not a multiple of the root block's stride, or cannot be
            reached, or stem_stride is not 1, 2 or 4.
    """
    training = {} if is_training is None else {"is_training": is_training}
    with tf.variable_scope(scope, "resnet_v2", [inputs], reuse=reuse) as net_scope:
        collection = net_scope.original_name_scope + "_end_points"
        with (
            slim.arg_scope(
                [slim.conv2d, bottleneck, resnet_utils.stack_blocks_dense],
                outputs_collections=collection,
            ),
            slim.arg_scope([slim.batch_norm], **training),
        ):
            net = inputs
            if include_root_block:
                # The first unit begins with batch norm and ReLU.
                with slim.arg_scope([slim.conv2d], **_PLAIN):
                    net, output_stride = resnet_utils.root(net, output_stride, stem_stride)
            net = resnet_utils.stack_blocks_dense(net, blocks, output_stride)
            net = layers.batch_norm(
                net, activation_fn=tf.nn.relu, outputs_collections=collection, scope="postnorm"
            )
            end_points = slim.utils.convert_collection_to_dict(collection)
            return resnet_utils.head(
                net, num_classes, end_points, net_scope.name, global_pool, spatial_squeeze
            )


resnet_v2.default_image_size = 224


def resnet_v2_50(
    inputs: tf.Tensor,
    num_classes: int | None = None,
    is_training: bool | tf.Tensor | None = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str = "resnet_v2_50",
    min_base_depth: int = 8,
    depth_multiplier: float = 1,
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """ResNet v2 of the 50 layers of Table 1 of [1].

    Arguments and results are those of `resnet_v2`; depth_multiplier is a factor on the base depth
    of every block, and min_base_depth the smallest that a block gets.
    """
    return resnet_v2(
        inputs,
        resnet_utils.four_blocks(
            resnet_v2_block, (2, 2, 2, 1), (3, 4, 6, 3), depth_multiplier, min_base_depth
        ),
        num_classes,
        is_training,
        global_pool=global_pool,
        output_stride=output_stride,
        spatial_squeeze=spatial_squeeze,
        reuse=reuse,
        scope=scope,
        stem_stride=stem_stride,
    )


resnet_v2_50.default_image_size = resnet_v2.default_image_size
resnet_v2_50.arg_scope = resnet_arg_scope
resnet_v2_50.head_scopes = ("resnet_v2_50/logits",)
