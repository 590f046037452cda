"""MobileNet v3, large and small.

Howard et al. 2019, Searching for MobileNetV3, https://arxiv.org/abs/1905.02244. The bodies are
Tables 1 and 2 of the paper. At 224x224 the large one has 4,171,272 convolution weights
and takes 215,309,760 multiply-adds, the small one 1,501,832 and 55,486,400, with those of
squeeze-and-excite and of the convolution behind the pool. With 1000 classes they have 5,483,032 and
2,542,856 parameters, and take 216,589,760 and 56,510,400 multiply-adds; the paper has 5.4 and 2.5
million parameters, 219 and 56 million multiply-adds, research/slim 217 million for the large one.

Different from the paper: Table 2 marks a squeeze-and-excite behind the convolution to 576, which
neither the published checkpoints nor the paper's own number of parameters have. The defaults of
layers are those of research/slim; section 6.1.1 has a weight decay of 1e-5 and a batch norm decay
of 0.99. Different from research/slim: the gate of squeeze-and-excite divides by 6 as the paper
does, not by 1 / 0.16667.
"""

import functools
from collections.abc import Callable, Sequence

from core.compat import slim, tf
from nets.layers import EndPoints
from nets.mobilenet_utils import (
    Bottleneck,
    Conv,
    GlobalPool,
    Layer,
    mobilenet,
    mobilenet_arg_scope,
    mobilenet_base,
)

__all__ = [
    "MOBILENETV3_LARGE_CONV_DEFS",
    "MOBILENETV3_SMALL_CONV_DEFS",
    "Bottleneck",
    "Conv",
    "GlobalPool",
    "hard_sigmoid",
    "hard_swish",
    "mobilenet_arg_scope",
    "mobilenet_v3",
    "mobilenet_v3_base",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
]


def hard_sigmoid(inputs: tf.Tensor) -> tf.Tensor:
    """A sigmoid of straight lines, relu6(x + 3) / 6 (section 5.2 of the paper)."""
    return tf.nn.relu6(inputs + 3) * (1 / 6)


def hard_swish(inputs: tf.Tensor) -> tf.Tensor:
    """The input times its hard sigmoid (section 5.2 of the paper)."""
    with tf.name_scope("hard_swish"):
        return inputs * hard_sigmoid(inputs)


# The columns of the tables: non-linearity and squeeze-and-excite.
RE, HS, SE = tf.nn.relu, hard_swish, hard_sigmoid

# Table 1 of the paper, with the feature map each row leaves behind at 224x224. A bottleneck has
# (depth, expansion, stride, kernel, non-linearity, squeeze-and-excite).
MOBILENETV3_LARGE_CONV_DEFS = [
    Conv(depth=16, kernel=3, stride=2, activation_fn=HS),  # layer_1 [N, 112, 112, 16]
    Bottleneck(16, 1, 1, 3, RE),  # layer_2 [N, 112, 112, 16]
    Bottleneck(24, 4, 2, 3, RE),  # layer_3 [N, 56, 56, 24]
    Bottleneck(24, 3, 1, 3, RE),  # layer_4
    Bottleneck(40, 3, 2, 5, RE, SE),  # layer_5 [N, 28, 28, 40]
    Bottleneck(40, 3, 1, 5, RE, SE),  # layer_6
    Bottleneck(40, 3, 1, 5, RE, SE),  # layer_7
    Bottleneck(80, 6, 2, 3, HS),  # layer_8 [N, 14, 14, 80]
    Bottleneck(80, 200 / 80, 1, 3, HS),  # layer_9
    Bottleneck(80, 184 / 80, 1, 3, HS),  # layer_10
    Bottleneck(80, 184 / 80, 1, 3, HS),  # layer_11
    Bottleneck(112, 6, 1, 3, HS, SE),  # layer_12 [N, 14, 14, 112]
    Bottleneck(112, 6, 1, 3, HS, SE),  # layer_13
    Bottleneck(160, 6, 2, 5, HS, SE),  # layer_14 [N, 7, 7, 160]
    Bottleneck(160, 6, 1, 5, HS, SE),  # layer_15
    Bottleneck(160, 6, 1, 5, HS, SE),  # layer_16
    Conv(depth=960, kernel=1, activation_fn=HS),  # layer_17 [N, 7, 7, 960]
    GlobalPool(),  # layer_18 [N, 1, 1, 960]
    Conv(depth=1280, kernel=1, activation_fn=HS, normalized=False),  # layer_19 [N, 1, 1, 1280]
]

# Table 2 of the paper, in the same way.
MOBILENETV3_SMALL_CONV_DEFS = [
    Conv(depth=16, kernel=3, stride=2, activation_fn=HS),  # layer_1 [N, 112, 112, 16]
    Bottleneck(16, 1, 2, 3, RE, SE),  # layer_2 [N, 56, 56, 16]
    Bottleneck(24, 72 / 16, 2, 3, RE),  # layer_3 [N, 28, 28, 24]
    Bottleneck(24, 88 / 24, 1, 3, RE),  # layer_4
    Bottleneck(40, 96 / 24, 2, 5, HS, SE),  # layer_5 [N, 14, 14, 40]
    Bottleneck(40, 6, 1, 5, HS, SE),  # layer_6
    Bottleneck(40, 6, 1, 5, HS, SE),  # layer_7
    Bottleneck(48, 3, 1, 5, HS, SE),  # layer_8 [N, 14, 14, 48]
    Bottleneck(48, 3, 1, 5, HS, SE),  # layer_9
    Bottleneck(96, 6, 2, 5, HS, SE),  # layer_10 [N, 7, 7, 96]
    Bottleneck(96, 6, 1, 5, HS, SE),  # layer_11
    Bottleneck(96, 6, 1, 5, HS, SE),  # layer_12
    Conv(depth=576, kernel=1, activation_fn=HS),  # layer_13 [N, 7, 7, 576]
    GlobalPool(),  # layer_14 [N, 1, 1, 576]
    Conv(depth=1024, kernel=1, activation_fn=HS, normalized=False),  # layer_15 [N, 1, 1, 1024]
]


def mobilenet_v3_base(
    inputs: tf.Tensor,
    final_endpoint: str | None = None,
    min_depth: int = 8,
    depth_multiplier: float = 1.0,
    conv_defs: Sequence[Layer] | None = None,
    output_stride: int | None = None,
    use_explicit_padding: bool = False,
    scope: str | tf.VariableScope | None = "MobilenetV3",
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """MobileNet v3 without dropout and logits: it ends in pooled features [N, 1, 1, depth].

    The last map is that of the final_endpoint `layer_17`, of the small net `layer_13`. Arguments,
    results and errors are those of `mobilenet_utils.mobilenet_base`; conv_defs are by default
    MOBILENETV3_LARGE_CONV_DEFS.
    """
    return mobilenet_base(
        inputs,
        conv_defs or MOBILENETV3_LARGE_CONV_DEFS,
        final_endpoint=final_endpoint,
        min_depth=min_depth,
        depth_multiplier=depth_multiplier,
        output_stride=output_stride,
        use_explicit_padding=use_explicit_padding,
        scope=scope,
        stem_stride=stem_stride,
    )


def mobilenet_v3(
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
    scope: str = "MobilenetV3",
    stem_stride: int | None = None,
) -> tuple[tf.Tensor, EndPoints]:
    """MobileNet v3 for classification.

    Arguments, results and errors are those of `mobilenet_utils.mobilenet`; conv_defs are by default
    MOBILENETV3_LARGE_CONV_DEFS.
    """
    return mobilenet(
        inputs,
        conv_defs or MOBILENETV3_LARGE_CONV_DEFS,
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


mobilenet_v3.default_image_size = 224
mobilenet_v3.arg_scope = mobilenet_arg_scope
mobilenet_v3.head_scopes = ("MobilenetV3/Logits",)


def _of_layers(conv_defs: Sequence[Layer]) -> Callable[..., tuple[tf.Tensor, EndPoints]]:
    """MobileNet v3 with those layers by default."""
    net = functools.partial(mobilenet_v3, conv_defs=conv_defs)
    return functools.update_wrapper(net, mobilenet_v3)


mobilenet_v3_large = _of_layers(MOBILENETV3_LARGE_CONV_DEFS)
mobilenet_v3_small = _of_layers(MOBILENETV3_SMALL_CONV_DEFS)
