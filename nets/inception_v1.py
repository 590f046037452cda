"""Inception v1 (GoogLeNet), with batch norm and without the two auxiliary classifiers.

Szegedy et al. 2015, Going Deeper with Convolutions, https://arxiv.org/abs/1409.4842. The body is
Table 1 of the paper, except that the 5x5 convolutions are 3x3; it has 5,585,344 convolution
weights.
"""

from collections.abc import Callable

from core.compat import slim, tf
from nets.inception_utils import (
    Conv,
    MaxPool,
    Mixed,
    applied,
    inception_arg_scope,
    stem,
    up_to,
)
from nets.layers import EndPoints, Head, depth_function, logits_of, pooled


def _mixed(
    branch_0: int,
    branch_1: tuple[int, int],
    branch_2: tuple[int, int],
    branch_3: int,
    branch_2_scope: str = "Conv2d_0b_3x3",
) -> Mixed:
    """An Inception block by its numbers of filters, and the scope of the last layer of branch 2."""
    return Mixed(
        [
            {"Conv2d_0a_1x1": Conv(1, 1, branch_0)},
            {"Conv2d_0a_1x1": Conv(1, 1, branch_1[0]), "Conv2d_0b_3x3": Conv(3, 1, branch_1[1])},
            {"Conv2d_0a_1x1": Conv(1, 1, branch_2[0]), branch_2_scope: Conv(3, 1, branch_2[1])},
            {"MaxPool_0a_3x3": MaxPool(3, 1), "Conv2d_0b_1x1": Conv(1, 1, branch_3)},
        ]
    )


# Table 1 of the paper, with the feature map each row leaves behind at 224x224.
ROOT = {
    "Conv2d_1a_7x7": Conv(7, 2, 64),  # [N, 112, 112, 64]
    "MaxPool_2a_3x3": MaxPool(3, 2),  # [N, 56, 56, 64]
    "Conv2d_2b_1x1": Conv(1, 1, 64),
    "Conv2d_2c_3x3": Conv(3, 1, 192),  # [N, 56, 56, 192]
    "MaxPool_3a_3x3": MaxPool(3, 2),  # [N, 28, 28, 192]
}
BLOCKS = {
    "Mixed_3b": _mixed(64, (96, 128), (16, 32), 32),  # [N, 28, 28, 256]
    "Mixed_3c": _mixed(128, (128, 192), (32, 96), 64),  # [N, 28, 28, 480]
    "MaxPool_4a_3x3": MaxPool(3, 2),  # [N, 14, 14, 480]
    "Mixed_4b": _mixed(192, (96, 208), (16, 48), 64),  # [N, 14, 14, 512]
    "Mixed_4c": _mixed(160, (112, 224), (24, 64), 64),  # [N, 14, 14, 512]
    "Mixed_4d": _mixed(128, (128, 256), (24, 64), 64),  # [N, 14, 14, 512]
    "Mixed_4e": _mixed(112, (144, 288), (32, 64), 64),  # [N, 14, 14, 528]
    "Mixed_4f": _mixed(256, (160, 320), (32, 128), 128),  # [N, 14, 14, 832]
    "MaxPool_5a_2x2": MaxPool(2, 2),  # [N, 7, 7, 832]
    # The published checkpoint has this one layer under 0a instead of 0b.
    "Mixed_5b": _mixed(256, (160, 320), (32, 128), 128, "Conv2d_0a_3x3"),  # [N, 7, 7, 832]
    "Mixed_5c": _mixed(384, (192, 384), (48, 128), 128),  # [N, 7, 7, 1024]
}

HEAD = Head(pool="AvgPool_0a_7x7", pool_stride=1, dropout="Dropout_0b", logits="Conv2d_0c_1x1")


def inception_v1_base(
    inputs: tf.Tensor,
    final_endpoint: str = "Mixed_5c",
    include_root_block: bool = True,
    scope: str | tf.VariableScope = "InceptionV1",
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """The body of Inception v1, without its head.

    Args:
        inputs: [N, height, width, channels].
        final_endpoint: the layer to stop after, a name of ROOT or BLOCKS.
        include_root_block: begin with ROOT, otherwise with BLOCKS.
        scope: variable scope.
        min_depth: no layer gets fewer filters than this by depth_multiplier.
        depth_multiplier: factor on the number of filters of every layer, above 0.
        stem_stride: factor by which ROOT divides the size, 1, 2, 4 or 8; its max pools are left out
            from where it is reached. None: 8.

    Returns:
        The activations of final_endpoint, and all activations up to it by layer name.

    Raises:
        FlagError: unknown final_endpoint, depth_multiplier not above 0, or a stem_stride that is
            not allowed.
    """
    depth = depth_function(depth_multiplier, min_depth)
    root = stem(ROOT, stem_stride) if include_root_block else {}
    net, end_points = inputs, {}
    with (
        tf.variable_scope(scope, "InceptionV1", [inputs]),
        slim.arg_scope(
            [slim.conv2d], weights_initializer=tf.truncated_normal_initializer(stddev=0.01)
        ),
    ):
        for name, layer in up_to(final_endpoint, {**root, **BLOCKS}).items():
            net = end_points[name] = applied(net, name, layer, depth)
    return net, end_points


def inception_v1(
    inputs: tf.Tensor,
    num_classes: int | None = 1000,
    is_training: bool | tf.Tensor = True,
    dropout_keep_prob: float = 0.8,
    prediction_fn: Callable[..., tf.Tensor] | None = slim.softmax,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str = "InceptionV1",
    global_pool: bool = False,
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """Inception v1 for classification.

    Args:
        inputs: [N, height, width, channels]; N, height and width may be unknown.
        num_classes: number of classes. 0 or None: no head, the pooled features are returned.
        is_training: whether batch norm and dropout are in training mode.
        dropout_keep_prob: fraction of the features to keep in training.
        prediction_fn: makes predictions of logits; None leaves them out.
        spatial_squeeze: logits are [N, num_classes] rather than [N, 1, 1, num_classes].
        reuse: whether to reuse the variables of the scope.
        scope: variable scope.
        global_pool: pool maps of any size to 1x1. Otherwise the window is 7x7, or the map where
            that is smaller.
        min_depth: no layer gets fewer filters than this by depth_multiplier.
        depth_multiplier: factor on the number of filters of every layer, above 0.
        stem_stride: factor by which ROOT divides the size, as for `inception_v1_base`.

    Returns:
        Logits, or pooled features [N, 1, 1, 1024] without num_classes; and all activations by layer
        name, `Logits` and `Predictions` among them.

    Raises:
        FlagError: the images are too large for spatial_squeeze without global_pool.
    """
    with (
        tf.variable_scope(scope, "InceptionV1", [inputs], reuse=reuse) as scope,
        slim.arg_scope([slim.batch_norm], is_training=is_training),
    ):
        net, end_points = inception_v1_base(
            inputs,
            scope=scope,
            min_depth=min_depth,
            depth_multiplier=depth_multiplier,
            stem_stride=stem_stride,
        )
        # The predictions stand inside this scope, unlike those of the other nets.
        with tf.variable_scope("Logits"):
            net = pooled(net, HEAD, end_points, global_pool)
            if not num_classes:
                return net, end_points
            logits = end_points["Logits"] = logits_of(
                net, HEAD, num_classes, dropout_keep_prob, is_training, spatial_squeeze
            )
            if prediction_fn:
                end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
    return logits, end_points


inception_v1_arg_scope = inception_arg_scope
inception_v1.default_image_size = 224
inception_v1.arg_scope = inception_v1_arg_scope
inception_v1.head_scopes = ("InceptionV1/Logits",)
