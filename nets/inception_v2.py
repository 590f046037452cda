"""Inception v2, also called BN-Inception: the first net with batch norm.

Ioffe and Szegedy 2015, Batch Normalization: Accelerating Deep Network Training by Reducing Internal
Covariate Shift, https://arxiv.org/abs/1502.03167. The body is the table of figure 5 in the paper's
appendix, with the 96 filters of the published checkpoint behind the pools of Mixed_4d and Mixed_4e,
which make up the 576 channels of that table. Its first layer is separable, 8 filters of 7x7 for
each colour and then 1x1, with biases in place of batch norm. It has 10,143,384 convolution weights
and takes 1,933,833,216 multiply-adds at 224x224.
"""

from collections.abc import Callable
from typing import NamedTuple

from core.compat import slim, tf
from nets.inception_utils import (
    AvgPool,
    Conv,
    MaxPool,
    Mixed,
    applied,
    inception_arg_scope,
    stem,
    up_to,
)
from nets.layers import EndPoints, Head, depth_function, logits_of, pooled


class SeparableConv(NamedTuple):
    """The first layer: filters of a square kernel for each channel, then a 1x1 convolution.

    Attributes:
        kernel: size of the kernel.
        stride: of it.
        depth: number of filters of the 1x1 convolution.
        per_channel: largest number of filters for each channel.
        stddev: of the truncated normal that the weights of both are drawn from at first.
    """

    kernel: int
    stride: int
    depth: int
    per_channel: int
    stddev: float


# The filters of a 1x1 convolution before larger ones, and of one behind a pool, are drawn from
# these at first; all others as the arg scope says.
_REDUCING, _BEHIND_POOL = 0.09, 0.1


def _mixed(
    branch_0: int,
    branch_1: tuple[int, int],
    branch_2: tuple[int, int],
    branch_3: int,
    pool: AvgPool | MaxPool,
) -> Mixed:
    """A block that keeps the size, by its numbers of filters; branch 2 has two 3x3 layers alike."""
    kind = "AvgPool" if isinstance(pool, AvgPool) else "MaxPool"
    return Mixed(
        [
            {"Conv2d_0a_1x1": Conv(1, 1, branch_0)},
            {
                "Conv2d_0a_1x1": Conv(1, 1, branch_1[0], stddev=_REDUCING),
                "Conv2d_0b_3x3": Conv(3, 1, branch_1[1]),
            },
            {
                "Conv2d_0a_1x1": Conv(1, 1, branch_2[0], stddev=_REDUCING),
                "Conv2d_0b_3x3": Conv(3, 1, branch_2[1]),
                "Conv2d_0c_3x3": Conv(3, 1, branch_2[1]),
            },
            {
                f"{kind}_0a_3x3": pool,
                "Conv2d_0b_1x1": Conv(1, 1, branch_3, stddev=_BEHIND_POOL),
            },
        ]
    )


def _halving(branch_0: tuple[int, int], branch_1: tuple[int, int]) -> Mixed:
    """A block that halves the size, by its numbers of filters; its pool keeps all channels."""
    return Mixed(
        [
            {
                "Conv2d_0a_1x1": Conv(1, 1, branch_0[0], stddev=_REDUCING),
                "Conv2d_1a_3x3": Conv(3, 2, branch_0[1]),
            },
            {
                "Conv2d_0a_1x1": Conv(1, 1, branch_1[0], stddev=_REDUCING),
                "Conv2d_0b_3x3": Conv(3, 1, branch_1[1]),
                "Conv2d_1a_3x3": Conv(3, 2, branch_1[1]),
            },
            {"MaxPool_1a_3x3": MaxPool(3, 2)},
        ]
    )


_AVG, _MAX = AvgPool(3, 1), MaxPool(3, 1)

# Figure 5 of the paper, with the feature map each row leaves behind at 224x224.
ROOT = {
    "Conv2d_1a_7x7": SeparableConv(7, 2, 64, per_channel=8, stddev=1.0),  # [N, 112, 112, 64]
    "MaxPool_2a_3x3": MaxPool(3, 2),  # [N, 56, 56, 64]
    "Conv2d_2b_1x1": Conv(1, 1, 64, stddev=0.1),
    "Conv2d_2c_3x3": Conv(3, 1, 192),  # [N, 56, 56, 192]
    "MaxPool_3a_3x3": MaxPool(3, 2),  # [N, 28, 28, 192]
}
BLOCKS = {
    "Mixed_3b": _mixed(64, (64, 64), (64, 96), 32, _AVG),  # [N, 28, 28, 256]
    "Mixed_3c": _mixed(64, (64, 96), (64, 96), 64, _AVG),  # [N, 28, 28, 320]
    "Mixed_4a": _halving((128, 160), (64, 96)),  # [N, 14, 14, 576]
    "Mixed_4b": _mixed(224, (64, 96), (96, 128), 128, _AVG),  # [N, 14, 14, 576]
    "Mixed_4c": _mixed(192, (96, 128), (96, 128), 128, _AVG),  # [N, 14, 14, 576]
    "Mixed_4d": _mixed(160, (128, 160), (128, 160), 96, _AVG),  # [N, 14, 14, 576]
    "Mixed_4e": _mixed(96, (128, 192), (160, 192), 96, _AVG),  # [N, 14, 14, 576]
    "Mixed_5a": _halving((128, 192), (192, 256)),  # [N, 7, 7, 1024]
    "Mixed_5b": _mixed(352, (192, 320), (160, 224), 128, _AVG),  # [N, 7, 7, 1024]
    "Mixed_5c": _mixed(352, (192, 320), (192, 224), 128, _MAX),  # [N, 7, 7, 1024]
}

HEAD = Head(pool="AvgPool_1a", pool_stride=2, dropout="Dropout_1b", logits="Conv2d_1c_1x1")


def inception_v2_base(
    inputs: tf.Tensor,
    final_endpoint: str = "Mixed_5c",
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    use_separable_conv: bool = True,
    include_root_block: bool = True,
    scope: str | tf.VariableScope = "InceptionV2",
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """The body of Inception v2, without its head.

    Args:
        inputs: [N, height, width, channels].
        final_endpoint: the layer to stop after, a name of ROOT or BLOCKS.
        min_depth: no layer gets fewer filters than this by depth_multiplier.
        depth_multiplier: factor on the number of filters of every layer, above 0.
        use_separable_conv: whether the first layer is separable; otherwise it is a convolution as
            the others are, with batch norm.
        include_root_block: begin with ROOT, otherwise with BLOCKS.
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
    root = stem(ROOT, stem_stride) if include_root_block else {}
    net, end_points = inputs, {}
    with tf.variable_scope(scope, "InceptionV2", [inputs]):
        for name, layer in up_to(final_endpoint, {**root, **BLOCKS}).items():
            if not isinstance(layer, SeparableConv):
                net = applied(net, name, layer, depth)
            elif use_separable_conv:
                net = _separable(net, name, layer, depth(layer.depth))
            else:
                plain = Conv(layer.kernel, layer.stride, layer.depth, stddev=layer.stddev)
                net = applied(net, name, plain, depth)
            end_points[name] = net
    return net, end_points


def _separable(net: tf.Tensor, name: str, layer: SeparableConv, filters: int) -> tf.Tensor:
    """The first layer, with that many filters: [N, height, width, 3] -> [N, .., .., filters]."""
    return slim.separable_conv2d(
        net,
        filters,
        layer.kernel,
        # More would be more than what a picture's three channels are to become.
        depth_multiplier=min(filters // 3, layer.per_channel),
        stride=layer.stride,
        weights_initializer=tf.truncated_normal_initializer(stddev=layer.stddev),
        # The published checkpoint has none here, so that there is none to freeze either.
        normalizer_fn=None,
        scope=name,
    )


def inception_v2(
    inputs: tf.Tensor,
    num_classes: int | None = 1000,
    is_training: bool | tf.Tensor = True,
    dropout_keep_prob: float = 0.8,
    min_depth: int = 16,
    depth_multiplier: float = 1.0,
    prediction_fn: Callable[..., tf.Tensor] | None = slim.softmax,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str = "InceptionV2",
    global_pool: bool = False,
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """Inception v2 for classification.

    Args:
        inputs: [N, height, width, channels]; N, height and width may be unknown.
        num_classes: number of classes. 0 or None: no head, the pooled features are returned.
        is_training: whether batch norm and dropout are in training mode.
        dropout_keep_prob: fraction of the features to keep in training.
        min_depth: no layer gets fewer filters than this by depth_multiplier.
        depth_multiplier: factor on the number of filters of every layer, above 0.
        prediction_fn: makes predictions of logits; None leaves them out.
        spatial_squeeze: logits are [N, num_classes] rather than [N, 1, 1, num_classes].
        reuse: whether to reuse the variables of the scope.
        scope: variable scope.
        global_pool: pool maps of any size to 1x1. Otherwise the window is 7x7, or the map where
            that is smaller.
        stem_stride: factor by which ROOT divides the size, as for `inception_v2_base`.

    Returns:
        Logits, or pooled features [N, 1, 1, 1024] without num_classes; and all activations by layer
        name, `Logits` and `Predictions` among them.

    Raises:
        FlagError: depth_multiplier is not above 0, a stem_stride that is not allowed, or the images
            are too large for spatial_squeeze without global_pool.
    """
    with (
        tf.variable_scope(scope, "InceptionV2", [inputs], reuse=reuse) as scope,
        slim.arg_scope([slim.batch_norm], is_training=is_training),
    ):
        net, end_points = inception_v2_base(
            inputs,
            scope=scope,
            min_depth=min_depth,
            depth_multiplier=depth_multiplier,
            stem_stride=stem_stride,
        )
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


inception_v2_arg_scope = inception_arg_scope
inception_v2.default_image_size = 224
inception_v2.arg_scope = inception_v2_arg_scope
inception_v2.head_scopes = ("InceptionV2/Logits",)
