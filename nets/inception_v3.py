"""Inception v3.

Szegedy et al. 2015, Rethinking the Inception Architecture for Computer Vision,
https://arxiv.org/abs/1512.00567. The body is Table 1 of the paper as section 6 and figures 5, 6, 7
and 10 fill it in, with batch norm also in the auxiliary classifier; it has 21,751,136 convolution
weights and takes 5,711,168,096 multiply-adds at 299x299.

Deviations: of pictures so small that unpadded layers would leave nothing (below 75 pixels, with a
stem_stride of 4, 2 or 1 below 43, 23 or 13) the unpadded layers are padded. The auxiliary
classifier, which only serves training, is part of graphs for training alone. Its layers have the
same weights for pictures of any size.
"""

import itertools
from collections.abc import Callable

from core.compat import slim, tf
from nets.inception_utils import (
    AvgPool,
    Beside,
    Conv,
    Layers,
    MaxPool,
    Mixed,
    applied,
    inception_arg_scope,
    stem,
    up_to,
)
from nets.layers import EndPoints, Head, depth_function, dropout, logits_of, pooled


def _figure_5(branch_3: int, reducing: str = "Conv2d_0a_1x1", five: str = "Conv2d_0b_5x5") -> Mixed:
    """A block of 35x35 maps, by the filters behind its pool and the scopes in branch 1.

    Branch 1 of the published net has one 5x5 convolution; its branch 2 has two of 3x3 in its place,
    as the figure shows it.
    """
    return Mixed(
        [
            {"Conv2d_0a_1x1": Conv(1, 1, 64)},
            {reducing: Conv(1, 1, 48), five: Conv(5, 1, 64)},
            {
                "Conv2d_0a_1x1": Conv(1, 1, 64),
                "Conv2d_0b_3x3": Conv(3, 1, 96),
                "Conv2d_0c_3x3": Conv(3, 1, 96),
            },
            {"AvgPool_0a_3x3": AvgPool(3, 1), "Conv2d_0b_1x1": Conv(1, 1, branch_3)},
        ]
    )


def _figure_6(filters: int) -> Mixed:
    """A block of 17x17 maps, by the filters within its branches: 7x7 as 1x7 and 7x1."""
    return Mixed(
        [
            {"Conv2d_0a_1x1": Conv(1, 1, 192)},
            {
                "Conv2d_0a_1x1": Conv(1, 1, filters),
                "Conv2d_0b_1x7": Conv((1, 7), 1, filters),
                "Conv2d_0c_7x1": Conv((7, 1), 1, 192),
            },
            {
                "Conv2d_0a_1x1": Conv(1, 1, filters),
                "Conv2d_0b_7x1": Conv((7, 1), 1, filters),
                "Conv2d_0c_1x7": Conv((1, 7), 1, filters),
                "Conv2d_0d_7x1": Conv((7, 1), 1, filters),
                "Conv2d_0e_1x7": Conv((1, 7), 1, 192),
            },
            {"AvgPool_0a_3x3": AvgPool(3, 1), "Conv2d_0b_1x1": Conv(1, 1, 192)},
        ]
    )


def _figure_7(three: str) -> Mixed:
    """A block of 8x8 maps, by the scope of the 3x1 in branch 1: 1x3 and 3x1 side by side."""
    return Mixed(
        [
            {"Conv2d_0a_1x1": Conv(1, 1, 320)},
            {
                "Conv2d_0a_1x1": Conv(1, 1, 384),
                "concat": Beside(
                    {"Conv2d_0b_1x3": Conv((1, 3), 1, 384), three: Conv((3, 1), 1, 384)}
                ),
            },
            {
                "Conv2d_0a_1x1": Conv(1, 1, 448),
                "Conv2d_0b_3x3": Conv(3, 1, 384),
                "concat": Beside(
                    {"Conv2d_0c_1x3": Conv((1, 3), 1, 384), "Conv2d_0d_3x1": Conv((3, 1), 1, 384)}
                ),
            },
            {"AvgPool_0a_3x3": AvgPool(3, 1), "Conv2d_0b_1x1": Conv(1, 1, 192)},
        ]
    )


# Table 1 of the paper, with the feature map each row leaves behind at 299x299. Names are those of
# the published checkpoint, also where they say another kernel or break their own pattern.
ROOT = {
    "Conv2d_1a_3x3": Conv(3, 2, 32, "VALID"),  # [N, 149, 149, 32]
    "Conv2d_2a_3x3": Conv(3, 1, 32, "VALID"),  # [N, 147, 147, 32]
    "Conv2d_2b_3x3": Conv(3, 1, 64),  # [N, 147, 147, 64]
    "MaxPool_3a_3x3": MaxPool(3, 2, "VALID"),  # [N, 73, 73, 64]
    "Conv2d_3b_1x1": Conv(1, 1, 80),  # [N, 73, 73, 80]
    "Conv2d_4a_3x3": Conv(3, 1, 192, "VALID"),  # [N, 71, 71, 192]
    "MaxPool_5a_3x3": MaxPool(3, 2, "VALID"),  # [N, 35, 35, 192]
}
BLOCKS = {
    "Mixed_5b": _figure_5(32),  # [N, 35, 35, 256]
    "Mixed_5c": _figure_5(64, "Conv2d_0b_1x1", "Conv_1_0c_5x5"),  # [N, 35, 35, 288]
    "Mixed_5d": _figure_5(64),  # [N, 35, 35, 288]
    "Mixed_6a": Mixed(  # figure 10
        [
            {"Conv2d_1a_1x1": Conv(3, 2, 384, "VALID")},
            {
                "Conv2d_0a_1x1": Conv(1, 1, 64),
                "Conv2d_0b_3x3": Conv(3, 1, 96),
                "Conv2d_1a_1x1": Conv(3, 2, 96, "VALID"),
            },
            {"MaxPool_1a_3x3": MaxPool(3, 2, "VALID")},
        ]
    ),  # [N, 17, 17, 768]
    "Mixed_6b": _figure_6(128),  # [N, 17, 17, 768]
    "Mixed_6c": _figure_6(160),  # [N, 17, 17, 768]
    "Mixed_6d": _figure_6(160),  # [N, 17, 17, 768]
    "Mixed_6e": _figure_6(192),  # [N, 17, 17, 768]
    "Mixed_7a": Mixed(  # figure 10
        [
            {
                "Conv2d_0a_1x1": Conv(1, 1, 192),
                "Conv2d_1a_3x3": Conv(3, 2, 320, "VALID"),
            },
            {
                "Conv2d_0a_1x1": Conv(1, 1, 192),
                "Conv2d_0b_1x7": Conv((1, 7), 1, 192),
                "Conv2d_0c_7x1": Conv((7, 1), 1, 192),
                "Conv2d_1a_3x3": Conv(3, 2, 192, "VALID"),
            },
            {"MaxPool_1a_3x3": MaxPool(3, 2, "VALID")},
        ]
    ),  # [N, 8, 8, 1280]
    "Mixed_7b": _figure_7("Conv2d_0b_3x1"),  # [N, 8, 8, 2048]
    "Mixed_7c": _figure_7("Conv2d_0c_3x1"),  # [N, 8, 8, 2048]
}

HEAD = Head(
    pool="AvgPool_1a", pool_stride=2, dropout="Dropout_1b", logits="Conv2d_1c_1x1", pool_size=8
)
AUXILIARY_SIZE = 5  # of the window of the auxiliary classifier's pool, and of its convolution


def _left_of(size: int, layers: Layers) -> int:
    """What the unpadded layers leave of a map of that height or width: 0 or less for nothing."""
    for layer in layers.values():
        if isinstance(layer, Mixed):
            # All branches of a block leave the same, and the last has no more than a pool.
            size = _left_of(size, layer.branches[-1])
        elif layer.padding == "VALID":
            size = (size - layer.kernel) // layer.stride + 1
    return size


def smallest_image_size(stem_stride: int | None = None) -> int:
    """Height and width of the smallest pictures of which unpadded layers leave a map.

    Args:
        stem_stride: as for `inception_v3_base`.

    Raises:
        FlagError: a stem_stride that is not allowed.
    """
    layers = {**stem(ROOT, stem_stride), **BLOCKS}
    return next(size for size in itertools.count(1) if _left_of(size, layers) > 0)


def inception_v3_base(
    inputs: tf.Tensor,
    final_endpoint: str = "Mixed_7c",
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    scope: str | tf.VariableScope = "InceptionV3",
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """The body of Inception v3, without its heads.

    Args:
        inputs: [N, height, width, channels]. Where height or width are known to be below
            `smallest_image_size`, unpadded layers are padded. Where they are unknown, they may not
            be below it.
        final_endpoint: the layer to stop after, a name of ROOT or BLOCKS.
        min_depth: no layer gets fewer filters than this by depth_multiplier.
        depth_multiplier: factor on the number of filters of every layer, above 0.
        scope: variable scope.
        stem_stride: factor by which ROOT divides the size, 1, 2, 4 or 8; its max pools are left out
            from where it is reached. None: 8.

    Returns:
        The activations of final_endpoint, and all activations up to it by layer name.

    Raises:
        FlagError: unknown final_endpoint, depth_multiplier not above 0, or a stem_stride that is
            not allowed.
    """
    depth = depth_function(depth_multiplier, min_depth)
    smallest = smallest_image_size(stem_stride)
    # Sizes that are unknown get no padding: what is trained on several sizes, which are unknown
    # then, has to be the same function where it is evaluated on one.
    is_small = any(size is not None and size < smallest for size in inputs.shape.as_list()[1:3])
    net, end_points = inputs, {}
    with tf.variable_scope(scope, "InceptionV3", [inputs]):
        for name, layer in up_to(final_endpoint, {**stem(ROOT, stem_stride), **BLOCKS}).items():
            net = end_points[name] = applied(net, name, layer, depth, same=is_small)
    return net, end_points


def inception_v3(
    inputs: tf.Tensor,
    num_classes: int | None = 1000,
    is_training: bool | tf.Tensor = True,
    dropout_keep_prob: float = 0.8,
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    prediction_fn: Callable[..., tf.Tensor] | None = slim.softmax,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    create_aux_logits: bool = True,
    scope: str = "InceptionV3",
    global_pool: bool = False,
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """Inception v3 for classification.

    Args:
        inputs: [N, height, width, channels]; N, height and width may be unknown, the latter then
            not below `smallest_image_size`.
        num_classes: number of classes. 0 or None: no head, the pooled features are returned.
        is_training: whether batch norm and dropout are in training mode.
        dropout_keep_prob: fraction of the features to keep in training.
        min_depth: no layer gets fewer filters than this by depth_multiplier.
        depth_multiplier: factor on the number of filters of every layer, above 0.
        prediction_fn: makes predictions of logits; None leaves them out.
        spatial_squeeze: logits are [N, num_classes] rather than [N, 1, 1, num_classes].
        reuse: whether to reuse the variables of the scope.
        create_aux_logits: build the auxiliary classifier, unless is_training is False.
        scope: variable scope.
        global_pool: pool maps of any size to 1x1. Otherwise the window is 8x8, or the map where
            that is smaller.
        stem_stride: factor by which ROOT divides the size, as for `inception_v3_base`.

    Returns:
        Logits, or pooled features [N, 1, 1, 2048] without num_classes; and all activations by layer
        name, `AuxLogits`, `Logits` and `Predictions` among them.

    Raises:
        FlagError: depth_multiplier is not above 0, a stem_stride that is not allowed, or the images
            are too large for spatial_squeeze without global_pool.
    """
    with (
        tf.variable_scope(scope, "InceptionV3", [inputs], reuse=reuse) as scope,
        slim.arg_scope([slim.batch_norm], is_training=is_training),
    ):
        net, end_points = inception_v3_base(
            inputs,
            scope=scope,
            min_depth=min_depth,
            depth_multiplier=depth_multiplier,
            stem_stride=stem_stride,
        )
        if create_aux_logits and num_classes and is_training is not False:
            depth = depth_function(depth_multiplier, min_depth)
            end_points["AuxLogits"] = _auxiliary(
                end_points["Mixed_6e"], num_classes, depth, spatial_squeeze
            )
        with tf.variable_scope("Logits"):
            net = pooled(net, HEAD, end_points, global_pool)
            if not num_classes:
                return net, end_points
            net = end_points["PreLogits"] = dropout(
                net, dropout_keep_prob, is_training, scope=HEAD.dropout
            )
            # What is to be dropped has been.
            logits = logits_of(net, HEAD, num_classes, 1.0, is_training, spatial_squeeze)
        end_points["Logits"] = logits
        if prediction_fn:
            end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, end_points


def _auxiliary(
    net: tf.Tensor, num_classes: int, depth: Callable[[int], int], spatial_squeeze: bool
) -> tf.Tensor:
    """The auxiliary classifier, figure 8 of the paper.

    Its 5x5 convolution has one place on the 5x5 map that its pool leaves of 17x17. On a smaller map
    it is padded, and what more than one place gives is averaged; so it is where the size of the map
    is unknown, which may be any.

    Args:
        net: the last map of 17x17 at 299x299, of any size.
        num_classes: number of classes.
        depth: makes the number of filters of that of the paper.
        spatial_squeeze: remove the two spatial dimensions of size 1.

    Returns:
        Logits [N, num_classes], or [N, 1, 1, num_classes] without spatial_squeeze.
    """
    with tf.variable_scope("AuxLogits"):
        sizes = net.shape.as_list()[1:3]
        window = [min(size or AUXILIARY_SIZE, AUXILIARY_SIZE) for size in sizes]
        padding = "SAME" if None in sizes else "VALID"
        net = slim.avg_pool2d(net, window, stride=3, padding=padding, scope="AvgPool_1a_5x5")
        net = slim.conv2d(net, depth(128), [1, 1], scope="Conv2d_1b_1x1")
        has_room = all(size and size >= AUXILIARY_SIZE for size in net.shape.as_list()[1:3])
        net = slim.conv2d(
            net,
            depth(768),
            AUXILIARY_SIZE,
            padding="VALID" if has_room else "SAME",
            weights_initializer=tf.truncated_normal_initializer(stddev=0.01),
            scope="Conv2d_2a_5x5",
        )
        if net.shape.as_list()[1:3] != [1, 1]:
            net = tf.reduce_mean(net, [1, 2], keepdims=True)
        net = slim.conv2d(
            net,
            num_classes,
            [1, 1],
            activation_fn=None,
            normalizer_fn=None,
            weights_initializer=tf.truncated_normal_initializer(stddev=0.001),
            scope="Conv2d_2b_1x1",
        )
        return tf.squeeze(net, [1, 2], name="SpatialSqueeze") if spatial_squeeze else net


inception_v3_arg_scope = inception_arg_scope
inception_v3.default_image_size = 299
inception_v3.arg_scope = inception_v3_arg_scope
inception_v3.head_scopes = ("InceptionV3/Logits", "InceptionV3/AuxLogits")
inception_v3.smallest_image_size = smallest_image_size
