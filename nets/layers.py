"""What several nets share: dropout, batch norm, widths, squeeze-and-excite, padding, a head."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from core.compat import slim, tf
from core.errors import FlagError

EndPoints = dict[str, tf.Tensor]


def dropout(
    inputs: tf.Tensor,
    keep_prob: float = 0.5,
    is_training: bool | tf.Tensor = True,
    scope: str | None = None,
    noise_shape: Sequence[int | tf.Tensor] | None = None,
) -> tf.Tensor:
    """Zeroes activations at random in training, and scales the rest by 1 / keep_prob.

    With a seed on the graph (`tf.set_random_seed`) and a global step, the mask is a pure function
    of (seed, global step, layer name), so a run that is stopped and resumed at step N draws the
    masks that the uninterrupted run would have drawn. Without them it is TensorFlow's own dropout.

    Args:
        inputs: activations of any shape.
        keep_prob: fraction of the activations to keep, in (0, 1].
        is_training: a Python bool, or a boolean scalar tensor to decide at run time.
        scope: name of the layer.
        noise_shape: shape of the mask, which is broadcast: [N, 1, 1, 1] drops whole pictures. None:
            that of inputs.

    Returns:
        A tensor shaped like inputs; inputs itself when there is nothing to drop.
    """
    if tf.get_static_value(keep_prob) == 1:
        return inputs
    seed, step = tf.get_default_graph().seed, tf.train.get_global_step()
    with tf.variable_scope(scope, "Dropout", [inputs]) as layer:

        def dropped() -> tf.Tensor:
            if seed is None or step is None:
                return tf.nn.dropout(inputs, noise_shape=noise_shape, rate=1 - keep_prob)
            # 31 bits of seed above 32 bits of layer name: distinct, and positive as an int64.
            stream = (seed & 0x7FFFFFFF) << 32 | zlib.crc32(layer.name.encode())
            return tf.nn.experimental.stateless_dropout(
                inputs,
                rate=1 - keep_prob,
                seed=tf.stack([tf.constant(stream, tf.int64), tf.cast(step, tf.int64)]),
                rng_alg="philox",
                noise_shape=noise_shape,
            )

        return slim.utils.smart_cond(is_training, dropped, lambda: inputs)


@slim.add_arg_scope
def batch_norm(inputs: tf.Tensor, frozen: bool = False, **arguments: Any) -> tf.Tensor:
    """`slim.batch_norm` as a layer of its own, where it does not follow a convolution.

    Args:
        inputs: [N, height, width, channels].
        frozen: normalise by the moving statistics also in training, and train neither gamma nor
            beta.
        **arguments: those of `slim.batch_norm`.

    Returns:
        A tensor shaped like inputs.
    """
    if frozen:
        arguments |= {"is_training": False, "trainable": False}
    return slim.batch_norm(inputs, **arguments)


def make_divisible(filters: float, divisor: int = 8, minimum: int | None = None) -> int:
    """A number of filters that is a multiple of divisor, which processors convolve faster.

    Rounded to the nearest, half a divisor up, but never by more than a tenth down: the rule of the
    published MobileNet v2, v3 and EfficientNet models.

    Args:
        filters: number that is asked for.
        divisor: what the result is a multiple of.
        minimum: no smaller number is given; None: divisor.
    """
    rounded = max(minimum or divisor, int(filters + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * filters else rounded


def depth_function(depth_multiplier: float, min_depth: int) -> Callable[[int], int]:
    """What makes the number of filters of a layer of that in the table.

    Args:
        depth_multiplier: factor, above 0.
        min_depth: no layer gets fewer filters than this.

    Raises:
        FlagError: depth_multiplier is not above 0.
    """
    if depth_multiplier <= 0:
        raise FlagError(f"depth_multiplier is not greater than zero: {depth_multiplier}")
    return lambda filters: max(int(filters * depth_multiplier), min_depth)


def squeeze_excite(
    inputs: tf.Tensor,
    filters: int,
    activation_fn: Callable[[tf.Tensor], tf.Tensor],
    gate_fn: Callable[[tf.Tensor], tf.Tensor],
    scope: str = "squeeze_excite",
) -> tf.Tensor:
    """Weighs channels by what the whole picture holds.

    Hu et al. 2018, Squeeze-and-Excitation Networks, https://arxiv.org/abs/1709.01507, section 3:
    the mean over space goes through two fully connected layers, here 1x1 convolutions with biases
    and without normaliser.

    Args:
        inputs: [N, height, width, channels].
        filters: of the layer between.
        activation_fn: of the layer between.
        gate_fn: makes weights of what the second layer gives.
        scope: of the layers `Conv` and `Conv_1`.

    Returns:
        A tensor shaped like inputs.
    """
    with (
        tf.variable_scope(scope, values=[inputs]),
        slim.arg_scope([slim.conv2d], normalizer_fn=None),
    ):
        net = tf.reduce_mean(inputs, [1, 2], keepdims=True)
        net = slim.conv2d(net, filters, [1, 1], activation_fn=activation_fn, scope="Conv")
        channels = inputs.shape.as_list()[3]
        net = slim.conv2d(net, channels, [1, 1], activation_fn=gate_fn, scope="Conv_1")
        return inputs * net


def fixed_padding(inputs: tf.Tensor, kernel_size: int | Sequence[int], rate: int = 1) -> tf.Tensor:
    """Pads with zeros so that a VALID convolution has the output size of a SAME one.

    SAME padding of a strided convolution depends on whether the image size is odd or even; this
    padding depends on the kernel only.

    Args:
        inputs: [N, height, width, channels].
        kernel_size: of the convolution that follows, one int or (height, width).
        rate: its atrous rate.

    Returns:
        [N, height + rate * (kernel height - 1), width + rate * (kernel width - 1), channels].
    """
    paddings = [[0, 0]]
    for size in slim.utils.two_element_tuple(kernel_size):
        total = rate * (size - 1)
        paddings.append([total // 2, total - total // 2])
    return tf.pad(inputs, [*paddings, [0, 0]])


def stem_strides(strides: Sequence[int], stem_stride: int | None) -> list[int]:
    """The strides of the first layers of a net that is to shrink the picture less than it does.

    Downsampling stops once stem_stride is reached, as with output_stride at the other end: small
    pictures then keep a map that is large enough to convolve.

    Args:
        strides: of the layers as the net has them, each 1 or 2.
        stem_stride: product of the strides that are kept, from the first on; None keeps all.

    Returns:
        As many strides.

    Raises:
        FlagError: stem_stride is not such a product.
    """
    kept, product = [], 1
    for stride in strides:
        kept.append(stride if stem_stride is None or product < stem_stride else 1)
        product *= kept[-1]
    if stem_stride not in (None, product):
        known = [2**power for power in range(sum(stride == 2 for stride in strides) + 1)]
        raise FlagError(
            f"stem_stride {stem_stride} is not among those of the net",
            remedy=f"choose from {', '.join(map(str, known))}",
        )
    return kept


class Head(NamedTuple):
    """How a net turns its last feature map into logits.

    Attributes:
        pool: scope of the average pool, also its end point.
        pool_stride: stride of the pool, which shows only on maps larger than its window.
        dropout: scope of the dropout.
        logits: scope of the 1x1 convolution.
        pool_size: height and width of the pool's window, that of the last map at the net's own
            size: 7 at 224x224 with a stride of 32.
    """

    pool: str
    pool_stride: int
    dropout: str
    logits: str
    pool_size: int = 7


def pooled(net: tf.Tensor, head: Head, end_points: EndPoints, global_pool: bool) -> tf.Tensor:
    """Averages the last feature map over space and records the end point.

    Args:
        net: [N, height, width, channels].
        head: names of the layers.
        end_points: gains `global_pool`, or the name of the pool.
        global_pool: pool maps of any size to 1x1. Otherwise the window is that of the head, or the
            map where that is smaller; larger maps keep a spatial extent.

    Returns:
        [N, 1, 1, channels], or larger in space for maps larger than the window without global_pool.
    """
    if global_pool:
        net = end_points["global_pool"] = tf.reduce_mean(
            net, [1, 2], keepdims=True, name="global_pool"
        )
        return net
    height, width = net.shape.as_list()[1:3]
    window = [min(size or head.pool_size, head.pool_size) for size in (height, width)]
    net = end_points[head.pool] = slim.avg_pool2d(
        net, window, stride=head.pool_stride, padding="VALID", scope=head.pool
    )
    return net


def logits_of(
    net: tf.Tensor,
    head: Head,
    num_classes: int,
    keep_prob: float,
    is_training: bool | tf.Tensor,
    spatial_squeeze: bool,
) -> tf.Tensor:
    """Drops out and classifies pooled features with a 1x1 convolution, without normaliser.

    Args:
        net: pooled features, [N, 1, 1, channels].
        head: names of the layers.
        num_classes: number of classes.
        keep_prob: fraction of the features to keep in training.
        is_training: whether dropout is on.
        spatial_squeeze: remove the two spatial dimensions of size 1.

    Returns:
        Logits [N, num_classes], or [N, 1, 1, num_classes] without spatial_squeeze.

    Raises:
        FlagError: the features are larger than 1x1 and are to be squeezed.
    """
    height, width = net.shape.as_list()[1:3]
    if spatial_squeeze and (height or 1, width or 1) != (1, 1):
        raise FlagError(
            f"The features are {height}x{width} after the pool and cannot be squeezed",
            where=net.op.name,
            remedy="use smaller images, global_pool=True or spatial_squeeze=False",
        )
    net = dropout(net, keep_prob, is_training, scope=head.dropout)
    logits = slim.conv2d(
        net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope=head.logits
    )
    return tf.squeeze(logits, [1, 2], name="SpatialSqueeze") if spatial_squeeze else logits
