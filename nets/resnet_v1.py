"""ResNet v1: residual nets whose units normalise after each convolution.

[1] He et al. 2016, Deep Residual Learning for Image Recognition, https://arxiv.org/abs/1512.03385.
[2] He et al. 2016, Identity Mappings in Deep Residual Networks, https://arxiv.org/abs/1603.05027.

Only a change of depth or, of basic units, of stride has a projection as its shortcut (option B of
[1]). Convolution weights of the bases, and multiply-adds at 224x224 with 1000 classes:

    ResNet-18   11,166,912    1,814,073,344    [1]: 1.8 x 10^9
    ResNet-34   21,267,648    3,663,761,408    [1]: 3.6 x 10^9
    ResNet-50   23,454,912    3,482,255,360    [1]: 3.8 x 10^9, its strides a unit later
"""

from collections.abc import Callable, Sequence

from core.compat import slim, tf
from nets import resnet_utils
from nets.layers import EndPoints
from nets.resnet_utils import resnet_arg_scope

__all__ = [
    "basic",
    "bottleneck",
    "resnet_arg_scope",
    "resnet_v1",
    "resnet_v1_18",
    "resnet_v1_34",
    "resnet_v1_50",
    "resnet_v1_101",
    "resnet_v1_152",
    "resnet_v1_200",
    "resnet_v1_basic_block",
    "resnet_v1_block",
]


@slim.add_arg_scope
def bottleneck(
    inputs: tf.Tensor,
    depth: int,
    depth_bottleneck: int,
    stride: int,
    rate: int = 1,
    outputs_collections: str | None = None,
    scope: str | None = None,
    use_bounded_activations: bool = False,
    zero_init_residual: bool = False,
) -> tf.Tensor:
    """A residual unit: 1x1 down, 3x3, 1x1 up, plus the shortcut (Fig. 5 of [1], right).

    Args:
        inputs: [N, height, width, channels].
        depth: channels of the output.
        depth_bottleneck: channels of the 3x3 convolution.
        stride: of the 3x3 convolution and of the shortcut.
        rate: atrous rate of the 3x3 convolution.
        outputs_collections: collection of the output.
        scope: variable scope, by default bottleneck_v1.
        use_bounded_activations: keep activations within [-6, 6], which suits quantisation.
        zero_init_residual: begin with a gamma of 0 behind the last convolution, so that the unit
            begins as its shortcut.

    Returns:
        [N, ceil(height / stride), ceil(width / stride), depth].
    """
    with tf.variable_scope(scope, "bottleneck_v1", [inputs]) as unit_scope:
        if depth == slim.utils.last_dimension(inputs.get_shape(), min_rank=4):
            shortcut = resnet_utils.subsample(inputs, stride, "shortcut")
        else:
            shortcut = slim.conv2d(
                inputs,
                depth,
                [1, 1],
                stride=stride,
                activation_fn=tf.nn.relu6 if use_bounded_activations else None,
                scope="shortcut",
            )
        residual = slim.conv2d(inputs, depth_bottleneck, [1, 1], stride=1, scope="conv1")
        residual = resnet_utils.conv2d_same(
            residual, depth_bottleneck, 3, stride, rate=rate, scope="conv2"
        )
        with slim.arg_scope([slim.batch_norm], **_gamma(zero_init_residual)):
            residual = slim.conv2d(
                residual, depth, [1, 1], stride=1, activation_fn=None, scope="conv3"
            )
        if use_bounded_activations:
            output = tf.nn.relu6(shortcut + tf.clip_by_value(residual, -6.0, 6.0))
        else:
            output = tf.nn.relu(shortcut + residual)
        return slim.utils.collect_named_outputs(outputs_collections, unit_scope.name, output)


@slim.add_arg_scope
def basic(
    inputs: tf.Tensor,
    depth: int,
    stride: int,
    rate: int = 1,
    nominal_stride: int = 1,
    outputs_collections: str | None = None,
    scope: str | None = None,
    zero_init_residual: bool = False,
) -> tf.Tensor:
    """A residual unit: 3x3, 3x3, plus the shortcut (Fig. 5 of [1], left).

    Args:
        inputs: [N, height, width, channels].
        depth: channels of the output.
        stride: of the first convolution and of the shortcut.
        rate: atrous rate of the first convolution.
        nominal_stride: what the stride is where no output_stride forbids it. The second
            convolution makes up for what is missing in its atrous rate.
        outputs_collections: collection of the output.
        scope: variable scope, by default basic_v1.
        zero_init_residual: begin with a gamma of 0 behind the last convolution, so that the unit
            begins as its shortcut.

    Returns:
        [N, ceil(height / stride), ceil(width / stride), depth].
    """
    with tf.variable_scope(scope, "basic_v1", [inputs]) as unit_scope:
        depth_in = slim.utils.last_dimension(inputs.get_shape(), min_rank=4)
        shortcut = inputs
        if depth != depth_in or nominal_stride > 1:
            shortcut = slim.conv2d(
                inputs, depth, [1, 1], stride=stride, activation_fn=None, scope="shortcut"
            )
        residual = resnet_utils.conv2d_same(inputs, depth, 3, stride, rate=rate, scope="conv1")
        rate *= nominal_stride // stride
        with slim.arg_scope([slim.batch_norm], **_gamma(zero_init_residual)):
            residual = slim.conv2d(
                residual, depth, [3, 3], rate=rate, activation_fn=None, scope="conv2"
            )
        output = tf.nn.relu(shortcut + residual)
        return slim.utils.collect_named_outputs(outputs_collections, unit_scope.name, output)


def _gamma(zero: bool) -> dict:
    """Arguments of batch norm: gamma begins with 0, or as it does anyway."""
    return {"param_initializers": {"gamma": tf.zeros_initializer()} if zero else None}


def resnet_v1_block(scope: str, base_depth: int, num_units: int, stride: int) -> resnet_utils.Block:
    """A block of bottlenecks: see `resnet_utils.bottleneck_block`."""
    return resnet_utils.bottleneck_block(scope, bottleneck, base_depth, num_units, stride)


def resnet_v1_basic_block(
    scope: str, base_depth: int, num_units: int, stride: int
) -> resnet_utils.Block:
    """A block of basic units; its first unit has the stride, as in [1].

    The last unit of the block before could not have it: the 3x3 convolution behind the strided one
    would no longer see all places.

    Args:
        scope: name of the block.
        base_depth: channels of all convolutions.
        num_units: number of units.
        stride: of the first unit.

    Returns:
        The block.
    """
    strides = [stride] + [1] * (num_units - 1)
    return resnet_utils.Block(
        scope, basic, [{"depth": base_depth, "stride": s, "nominal_stride": s} for s in strides]
    )


def resnet_v1(
    inputs: tf.Tensor,
    blocks: Sequence[resnet_utils.Block],
    num_classes: int | None = None,
    is_training: bool | tf.Tensor | None = True,
    global_pool: bool = True,
    output_stride: int | None = None,
    include_root_block: bool = True,
    spatial_squeeze: bool = True,
    store_non_strided_activations: bool = False,
    reuse: bool | None = None,
    scope: str | None = None,
    stem_stride: int | None = None,
    zero_init_residual: bool = False,
) -> tuple[tf.Tensor, EndPoints]:
    """A ResNet v1 of the given blocks.

    For dense prediction use global_pool=False, spatial_squeeze=False, an output_stride and image
    sizes of a multiple of 32 plus 1: then the corners of map and image align, and the map has
    (size - 1) / output_stride + 1 rows.

    Args:
        inputs: [N, height, width, channels]; N, height and width may be unknown.
        blocks: the blocks behind the root.
        num_classes: number of classes. 0 or None: no head, the features are returned.
        is_training: whether batch norm is in training mode; None leaves it to an outer arg scope.
        global_pool: average the features over space.
        output_stride: ratio of input to output size. None: as the blocks say.
        include_root_block: begin with a 7x7 convolution and a max pool, which divide the size by 4.
        spatial_squeeze: logits are [N, num_classes] rather than [N, 1, 1, num_classes].
        store_non_strided_activations: see `resnet_utils.stack_blocks_dense`.
        reuse: whether to reuse the variables of the scope.
        scope: variable scope, by default resnet_v1.
        stem_stride: factor by which the root block divides the size, 1, 2 or 4; below 4 it has no
            max pool. None: 4.
        zero_init_residual: begin with units that are their shortcuts, with which short runs learn
            faster (Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 5.1).

    Returns:
        Logits, or features [N, height, width, channels] without num_classes; and all activations by
        full scope name, with `global_pool` and `predictions`.

    Raises:
        FlagError: output_stride is not a multiple of the root block's stride, or cannot be
            reached, or stem_stride is not 1, 2 or 4.
    """
    training = {} if is_training is None else {"is_training": is_training}
    with tf.variable_scope(scope, "resnet_v1", [inputs], reuse=reuse) as net_scope:
        collection = net_scope.original_name_scope + "_end_points"
        with (
            slim.arg_scope(
                [slim.conv2d, basic, bottleneck, resnet_utils.stack_blocks_dense],
                outputs_collections=collection,
            ),
            slim.arg_scope([basic, bottleneck], zero_init_residual=zero_init_residual),
            slim.arg_scope([slim.batch_norm], **training),
        ):
            net = inputs
            if include_root_block:
                net, output_stride = resnet_utils.root(net, output_stride, stem_stride)
            net = resnet_utils.stack_blocks_dense(
                net, blocks, output_stride, store_non_strided_activations
            )
            end_points = slim.utils.convert_collection_to_dict(collection)
            return resnet_utils.head(
                net, num_classes, end_points, net_scope.name, global_pool, spatial_squeeze
            )


resnet_v1.default_image_size = 224


def _resnet_of(
    name: str,
    block_fn: Callable[..., resnet_utils.Block],
    strides: Sequence[int],
    num_units: Sequence[int],
) -> Callable[..., tuple[tf.Tensor, EndPoints]]:
    """The ResNet v1 of four blocks with those strides and units, its scope being its name."""

    def resnet(
        inputs: tf.Tensor,
        num_classes: int | None = None,
        is_training: bool | tf.Tensor | None = True,
        global_pool: bool = True,
        output_stride: int | None = None,
        spatial_squeeze: bool = True,
        store_non_strided_activations: bool = False,
        min_base_depth: int = 8,
        depth_multiplier: float = 1,
        reuse: bool | None = None,
        scope: str = name,
        stem_stride: int | None = None,
        zero_init_residual: bool = False,
    ) -> tuple[tf.Tensor, EndPoints]:
        return resnet_v1(
            inputs,
            resnet_utils.four_blocks(
                block_fn, strides, num_units, depth_multiplier, min_base_depth
            ),
            num_classes,
            is_training,
            global_pool=global_pool,
            output_stride=output_stride,
            spatial_squeeze=spatial_squeeze,
            store_non_strided_activations=store_non_strided_activations,
            reuse=reuse,
            scope=scope,
            stem_stride=stem_stride,
            zero_init_residual=zero_init_residual,
        )

    resnet.__name__ = resnet.__qualname__ = name
    resnet.__doc__ = f"""ResNet v1 with {tuple(num_units)} units in its blocks.

    Arguments and results are those of `resnet_v1`, and:

    Args:
        min_base_depth: no block gets a smaller base depth than this.
        depth_multiplier: factor on the base depth of every block.
    """
    resnet.default_image_size = resnet_v1.default_image_size
    resnet.arg_scope = resnet_arg_scope
    resnet.head_scopes = (f"{name}/logits",)
    return resnet


# Kinds of blocks, with their strides: the stride that leads to a block, or from it to the next one.
_BASIC = (resnet_v1_basic_block, (1, 2, 2, 2))
_BOTTLENECK = (resnet_v1_block, (2, 2, 2, 1))

# Table 1 of [1], and section 5 of [2] for the deepest one.
resnet_v1_18 = _resnet_of("resnet_v1_18", *_BASIC, num_units=(2, 2, 2, 2))
resnet_v1_34 = _resnet_of("resnet_v1_34", *_BASIC, num_units=(3, 4, 6, 3))
resnet_v1_50 = _resnet_of("resnet_v1_50", *_BOTTLENECK, num_units=(3, 4, 6, 3))
resnet_v1_101 = _resnet_of("resnet_v1_101", *_BOTTLENECK, num_units=(3, 4, 23, 3))
resnet_v1_152 = _resnet_of("resnet_v1_152", *_BOTTLENECK, num_units=(3, 8, 36, 3))
resnet_v1_200 = _resnet_of("resnet_v1_200", *_BOTTLENECK, num_units=(3, 24, 36, 3))
