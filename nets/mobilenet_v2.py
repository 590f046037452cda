"""MobileNet v2.

Sandler et al. 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks,
https://arxiv.org/abs/1801.04381. The body is Table 2 of the paper; at 224x224 it has 2,189,760
convolution weights and takes 299,494,272 multiply-adds.
"""

import functools
from collections.abc import Callable, Sequence

from core.compat import slim, tf
from nets.layers import EndPoints
from nets.mobilenet_utils import (
    Bottleneck,
    Conv,
    Layer,
    mobilenet,
    mobilenet_arg_scope,
    mobilenet_base,
)

__all__ = [
    "MOBILENETV2_CONV_DEFS",
    "Bottleneck",
    "Conv",
    "mobilenet_arg_scope",
    "mobilenet_v2",
    "mobilenet_v2_035",
    "mobilenet_v2_050",
    "mobilenet_v2_075",
    "mobilenet_v2_140",
    "mobilenet_v2_base",
]

# Table 2 of the paper, with the feature map each row leaves behind at 224x224.
MOBILENETV2_CONV_DEFS = [
    Conv(depth=32, kernel=3, stride=2),  # layer_1 [N, 112, 112, 32]
    Bottleneck(depth=16, expansion=1),  # layer_2 [N, 112, 112, 16]
    Bottleneck(depth=24, expansion=6, stride=2),  # layer_3 [N, 56, 56, 24]
    Bottleneck(depth=24, expansion=6),  # layer_4
    Bottleneck(depth=32, expansion=6, stride=2),  # layer_5 [N, 28, 28, 32]
    Bottleneck(depth=32, expansion=6),  # layer_6
    Bottleneck(depth=32, expansion=6),  # layer_7
    Bottleneck(depth=64, expansion=6, stride=2),  # layer_8 [N, 14, 14, 64]
    Bottleneck(depth=64, expansion=6),  # layer_9
    Bottleneck(depth=64, expansion=6),  # layer_10
    Bottleneck(depth=64, expansion=6),  # layer_11
    Bottleneck(depth=96, expansion=6),  # layer_12 [N, 14, 14, 96]
    Bottleneck(depth=96, expansion=6),  # layer_13
    Bottleneck(depth=96, expansion=6),  # layer_14
    Bottleneck(depth=160, expansion=6, stride=2),  # layer_15 [N, 7, 7, 160]
    Bottleneck(depth=160, expansion=6),  # layer_16
    Bottleneck(depth=160, expansion=6),  # layer_17
    Bottleneck(depth=320, expansion=6),  # layer_18 [N, 7, 7, 320]
    Conv(depth=1280, kernel=1),  # layer_19 [N, 7, 7, 1280]
]


def mobilenet_v2_base(
    inputs: tf.Tensor,
    final_endpoint: str | None = None,
    min_depth: int = 8,
    depth_multiplier: float = 1.0,
    conv_defs: Sequence[Layer] | None = None,
    output_stride: int | None = None,
    use_explicit_padding: bool = False,
    scope: str | tf.VariableScope | None = "MobilenetV2",
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """The body of MobileNet v2, without its head.

    Arguments, results and errors are those of `mobilenet_utils.mobilenet_base`; conv_defs are by
    default MOBILENETV2_CONV_DEFS.
    """
    return mobilenet_base(
        inputs,
        conv_defs or MOBILENETV2_CONV_DEFS,
        final_endpoint=final_endpoint,
        min_depth=min_depth,
        depth_multiplier=depth_multiplier,
        output_stride=output_stride,
        use_explicit_padding=use_explicit_padding,
        scope=scope,
        stem_stride=stem_stride,
    )


def mobilenet_v2(
    inputs: tf.Tensor,
    num_classes: int | None = 1000,
    dropout_keep_prob: float = 0.8,
    is_training: bool | tf.Tensor = True,
    min_depth: int = 8,
    depth_multiplier: float = 1.0,
    conv_defs: Sequence[Layer] | None = None,
    prediction_fn: Callable[..., tf.Tensor] | None = slim.softmax,
    spatial_squeeze: bool = True,
    reuse: bool | None = None,
    scope: str = "MobilenetV2",
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """MobileNet v2 for classification.

    Arguments, results and errors are those of `mobilenet_utils.mobilenet`; conv_defs are by default
    MOBILENETV2_CONV_DEFS.
    """
    return mobilenet(
        inputs,
        conv_defs or MOBILENETV2_CONV_DEFS,
        num_classes,
        dropout_keep_prob=dropout_keep_prob,
        is_training=is_training,
        min_depth=min_depth,
        depth_multiplier=depth_multiplier,
        prediction_fn=prediction_fn,
        spatial_squeeze=spatial_squeeze,
        reuse=reuse,
        scope=scope,
        stem_stride=stem_stride,
    )


mobilenet_v2.default_image_size = 224
mobilenet_v2.arg_scope = mobilenet_arg_scope
mobilenet_v2.head_scopes = ("MobilenetV2/Logits",)


def _of_width(depth_multiplier: float) -> Callable[..., tuple[tf.Tensor, EndPoints]]:
    """MobileNet v2 with that depth_multiplier by default (section 4 of the paper)."""
    net = functools.partial(mobilenet_v2, depth_multiplier=depth_multiplier)
    return functools.update_wrapper(net, mobilenet_v2)


mobilenet_v2_140 = _of_width(1.4)
mobilenet_v2_075 = _of_width(0.75)
mobilenet_v2_050 = _of_width(0.5)
mobilenet_v2_035 = _of_width(0.35)
