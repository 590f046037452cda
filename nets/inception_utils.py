"""What the Inception nets share: the rows of their tables, and the defaults of their layers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Union

from core.compat import slim, tf
from core.errors import FlagError
from nets.layers import stem_strides


class Conv(NamedTuple):
    """A convolution.

    Attributes:
        kernel: size of its square kernel, or (height, width).
        stride: of it.
        depth: number of filters.
        padding: "SAME" or "VALID".
        stddev: of the truncated normal that its first weights are drawn from; None: they are drawn
            as the arg scope says.
    """

    kernel: int | tuple[int, int]
    stride: int
    depth: int
    padding: str = "SAME"
    stddev: float | None = None


class MaxPool(NamedTuple):
    """A max pool: size of its square window, stride, "SAME" or "VALID"."""

    kernel: int
    stride: int
    padding: str = "SAME"


class AvgPool(NamedTuple):
    """An average pool: size of its square window, stride, "SAME" or "VALID"."""

    kernel: int
    stride: int
    padding: str = "SAME"


class Beside(NamedTuple):
    """Layers, by scope, that all take the same map; what they give is concatenated."""

    layers: "Layers"


class Mixed(NamedTuple):
    """An Inception block: branches that all take the same map; what they give is concatenated.

    Attributes:
        branches: the layers of each, by scope, one behind the other; branch i has the scope
            `Branch_i`.
    """

    branches: Sequence["Layers"]


Layer = Union[Conv, MaxPool, AvgPool, Beside, Mixed]  # noqa: UP007 - two of them are recursive
Layers = Mapping[str, Layer]


def applied(
    net: tf.Tensor, name: str, layer: Layer, depth: Callable[[int], int], same: bool = False
) -> tf.Tensor:
    """What a layer makes of a map.

    Args:
        net: [N, height, width, channels].
        name: its scope.
        layer: a row of a table.
        depth: makes the number of filters of that in the table.
        same: pad SAME also where the table has VALID.

    Returns:
        [N, height, width, channels].
    """
    if isinstance(layer, Mixed):
        outputs = []
        with tf.variable_scope(name):
            for number, branch in enumerate(layer.branches):
                with tf.variable_scope(f"Branch_{number}"):
                    output = net
                    for scope, inner in branch.items():
                        output = applied(output, scope, inner, depth, same)
                outputs.append(output)
            return tf.concat(outputs, axis=3)
    if isinstance(layer, Beside):
        outputs = [applied(net, scope, one, depth, same) for scope, one in layer.layers.items()]
        return tf.concat(outputs, axis=3, name=name)
    padding = "SAME" if same else layer.padding
    if isinstance(layer, Conv):
        initializer = {}
        if layer.stddev:
            initializer["weights_initializer"] = tf.truncated_normal_initializer(
                stddev=layer.stddev
            )
        filters = depth(layer.depth)
        return slim.conv2d(
            net, filters, layer.kernel, layer.stride, padding, scope=name, **initializer
        )
    pool = slim.max_pool2d if isinstance(layer, MaxPool) else slim.avg_pool2d
    return pool(net, layer.kernel, layer.stride, padding, scope=name)


def stem(root: Layers, stem_stride: int | None) -> Layers:
    """The first layers of a net, as far as they divide the size by stem_stride.

    Args:
        root: the layers as the table has them.
        stem_stride: as for `layers.stem_strides`; None leaves them as they are.

    Returns:
        The layers; max pools are left out from where stem_stride is reached.

    Raises:
        FlagError: a stem_stride that is not allowed.
    """
    strides = stem_strides([layer.stride for layer in root.values()], stem_stride)
    return {
        name: layer._replace(stride=stride)
        for (name, layer), stride in zip(root.items(), strides, strict=True)
        if stride > 1 or not isinstance(layer, MaxPool)
    }


def up_to(final_endpoint: str, layers: Layers) -> Layers:
    """The layers up to one of them.

    Args:
        final_endpoint: the last.
        layers: by name.

    Raises:
        FlagError: there is none of that name.
    """
    if final_endpoint not in layers:
        raise FlagError(
            f"Unknown final endpoint {final_endpoint}", remedy=f"known: {', '.join(layers)}"
        )
    names = list(layers)
    return {name: layers[name] for name in names[: names.index(final_endpoint) + 1]}


def convolutions(layers: Layers) -> Iterator[str]:
    """The scopes of all convolutions of a table, in the order in which they are built."""
    for name, layer in layers.items():
        if isinstance(layer, Mixed):
            for number, branch in enumerate(layer.branches):
                yield from (f"{name}/Branch_{number}/{scope}" for scope in convolutions(branch))
        elif isinstance(layer, Beside):
            yield from convolutions(layer.layers)
        elif isinstance(layer, Conv):
            yield name


def inception_arg_scope(
    weight_decay: float = 0.00004,
    use_batch_norm: bool = True,
    batch_norm_decay: float = 0.9997,
    batch_norm_epsilon: float = 0.001,
    activation_fn: Callable[[tf.Tensor], tf.Tensor] | None = tf.nn.relu,
    batch_norm_updates_collections: str | None = tf.GraphKeys.UPDATE_OPS,
    batch_norm_scale: bool = False,
) -> dict:
    """Defaults of the layers of Inception nets. The values are those of the published checkpoints.

    Args:
        weight_decay: L2 factor on the weights of convolutions and fully connected layers.
        use_batch_norm: normalise after each convolution; otherwise convolutions have biases.
        batch_norm_decay: of the moving averages.
        batch_norm_epsilon: added to the variance.
        activation_fn: of convolutions.
        batch_norm_updates_collections: where the updates of the moving averages go; None makes
            them part of the forward pass.
        batch_norm_scale: whether batch norm has a gamma. A ReLU follows, and the next layer can
            scale, so by default it has none.

    Returns:
        An arg scope.
    """
    batch_norm = {
        "decay": batch_norm_decay,
        "epsilon": batch_norm_epsilon,
        "updates_collections": batch_norm_updates_collections,
        "scale": batch_norm_scale,
    }
    with (
        slim.arg_scope(
            [slim.conv2d, slim.fully_connected],
            weights_regularizer=slim.l2_regularizer(weight_decay),
        ),
        slim.arg_scope(
            [slim.conv2d],
            weights_initializer=slim.variance_scaling_initializer(),
            activation_fn=activation_fn,
            normalizer_fn=slim.batch_norm if use_batch_norm else None,
            normalizer_params=batch_norm if use_batch_norm else {},
        ) as scope,
    ):
        return scope
