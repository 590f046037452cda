"""The classifier: a net, its losses and its predictions."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from core.compat import slim, tf
from core.errors import FlagError
from engine import flags, losses, mixing
from engine.input_pipeline import Batch
from nets import nets_factory, own_head
from nets.nets_factory import net_function

# Flags that are arguments of a net, where it has them; the last two are none of evaluation's.
_NET_FLAGS = ("depth_multiplier", "stem_stride", "dropout_keep_prob", "zero_init_residual")


class Classifier(NamedTuple):
    """A net on one batch of N pictures with C classes."""

    batch: Batch
    logits: tf.Tensor  # float32 [N, C]
    end_points: dict[str, tf.Tensor]  # the net's layers by name
    cross_entropy: tf.Tensor  # float32, mean over the batch, as `losses.cross_entropy` weighs it
    total_loss: tf.Tensor  # float32, with the regularisation and the auxiliary loss
    accuracy: tf.Tensor  # float32, share of the batch whose largest logit is its label's
    auxiliary_loss: tf.Tensor | None = None  # float32, of an auxiliary head, as it is added


def default_image_size(model_name: str) -> int:
    """Height and width that a net is meant for, pixels."""
    return nets_factory.get_network_fn(model_name, num_classes=None).default_image_size


def build(
    batch: Batch, num_classes: int, config: Any, class_weights: Sequence[float] | None = None
) -> Classifier:
    """Builds the net in training mode, and its losses.

    Args:
        batch: images and labels.
        num_classes: C, after --labels_offset.
        config: read here: weight_decay, batch_norm_decay, freeze_batch_norm, head_dropout, and what
            `mixing.mixed`, `build_net` and `losses.cross_entropy` read.
        class_weights: of the C classes; None: 1.

    Raises:
        FlagError: a flag is given that the net has no use for.
    """
    images, targets = mixing.mixed(batch.images, tf.one_hot(batch.labels, num_classes), config)
    logits, end_points = build_net(
        images,
        num_classes,
        config,
        is_training=True,
        weight_decay=config.weight_decay,
        head_dropout=config.head_dropout,
        batch_norm_decay=config.batch_norm_decay,
        freeze_batch_norm=config.freeze_batch_norm,
    )
    cross_entropy = losses.cross_entropy(targets, logits, config, class_weights)
    auxiliary_loss = losses.auxiliary(targets, end_points, config, class_weights)
    total_loss = tf.losses.get_total_loss(name="total_loss")
    correct = tf.equal(tf.argmax(logits, axis=1), batch.labels)
    accuracy = tf.reduce_mean(tf.cast(correct, tf.float32), name="accuracy")
    return Classifier(
        batch, logits, end_points, cross_entropy, total_loss, accuracy, auxiliary_loss
    )


def build_net(
    images: tf.Tensor,
    num_classes: int,
    config: Any,
    *,
    is_training: bool,
    weight_decay: float = 0.0,
    head_dropout: float = 0.0,
    **arguments: Any,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Builds the net of --model_name, with its own head or that of --head_units.

    Args:
        images: float32 [N, height, width, channels], preprocessed.
        num_classes: C, after --labels_offset.
        config: read here: model_name, head_units, and what it has of the flags that are the net's
            arguments.
        is_training: whether batch norm and dropout are in training mode.
        weight_decay: L2 factor on the weights.
        head_dropout: share that the dropout of --head_units drops.
        **arguments: further ones of `nets_factory.get_network_fn`.

    Returns:
        Logits, float32 [N, C], and the end points by name.

    Raises:
        FlagError: a flag is given that the net has no use for, or the images are too small for it,
            or of several sizes where it has to have one.
    """
    network_fn = nets_factory.get_network_fn(
        config.model_name,
        None if config.head_units else num_classes,
        weight_decay,
        is_training,
        **arguments,
    )
    net, end_points = _applied(network_fn, images, config)
    if config.head_units:
        net = own_head.own_head(
            net,
            num_classes,
            config.head_units,
            drop=head_dropout,
            is_training=is_training,
            weight_decay=weight_decay,
            end_points=end_points,
        )
    return net, end_points


def _applied(
    network_fn: Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]],
    images: tf.Tensor,
    config: Any,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """What a net makes of images, with the flags that are its arguments."""
    known = inspect.signature(network_fn).parameters
    given = {name: getattr(config, name, None) for name in _NET_FLAGS}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given.keys() - known.keys():
        raise FlagError(f"the net {config.model_name} has no --{name}", remedy="leave it out")
    # On images larger than their own size, Inception and MobileNet would leave more than one
    # feature per channel after their 7x7 pool.
    size = images.shape.as_list()[1]
    larger = size is None or config.stem_stride or size > network_fn.default_image_size
    if larger and "global_pool" in known:
        given["global_pool"] = True
    if size is None and hasattr(network_fn, "smallest_image_size"):
        _check_sizes(network_fn.smallest_image_size(given.get("stem_stride")), config)
    try:
        return network_fn(images, **given)
    except ValueError as error:
        if "Negative dimension size" in str(error):  # what a pool says of a map below its size
            raise FlagError(
                f"pictures of {size} pixels are too small for the net {config.model_name}",
                remedy="use larger ones",
            ) from None
        if size is None and "should be defined" in str(error):  # what a flattened map is told
            raise FlagError(
                f"the net {config.model_name} takes pictures of one size, not those of "
                "--image_size_schedule",
                remedy="leave that out",
            ) from None
        raise


def _check_sizes(smallest: int, config: Any) -> None:
    """Raises a FlagError if pictures of the schedule are smaller, in pixels, than the net takes."""
    for size in [*(size for size, _ in flags.image_sizes(config)), config.train_image_size]:
        if size < smallest:
            raise FlagError(
                f"pictures of {size} pixels are too small for the net {config.model_name} where "
                "there are several sizes",
                where=f"--image_size_schedule={config.image_size_schedule}",
                remedy=f"use {smallest} or more, or a smaller --stem_stride",
            )


def head_scopes(config: Any) -> tuple[str, ...]:
    """The variable scopes that belong to one set of classes: of the net's head, or of one's own.

    Args:
        config: read here: model_name, head_units.
    """
    return (own_head.SCOPE,) if config.head_units else net_function(config.model_name).head_scopes


def head_names(names: Iterable[str], config: Any) -> list[str]:
    """Those names of variables that are in the `head_scopes`, sorted: the logits' come last."""
    scopes = tuple(f"{scope}/" for scope in head_scopes(config))
    return sorted(name for name in names if name.startswith(scopes))


def variables_to_restore(moving_average_decay: float | None) -> dict[str, tf.Variable]:
    """Checkpoint names of the model's variables, or of their moving averages if decay is given."""
    variables = slim.get_model_variables()
    if moving_average_decay is None:
        return {variable.op.name: variable for variable in variables}
    averages = tf.train.ExponentialMovingAverage(moving_average_decay)
    return averages.variables_to_restore(variables)
