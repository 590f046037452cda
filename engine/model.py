"""The classifier: a net, its losses and its predictions."""

import inspect
from typing import Any, NamedTuple

from core.compat import slim, tf
from engine.input_pipeline import Batch
from nets import nets_factory


class Classifier(NamedTuple):
    """A net on one batch of N pictures with C classes."""

    batch: Batch
    logits: tf.Tensor  # float32 [N, C]
    end_points: dict[str, tf.Tensor]  # the net's layers by name
    cross_entropy: tf.Tensor  # float32, mean over the batch
    total_loss: tf.Tensor  # float32, with the regularisation
    accuracy: tf.Tensor  # float32, share of the batch whose largest logit is its label's


def default_image_size(model_name: str) -> int:
    """Height and width that a net is meant for, pixels."""
    return nets_factory.get_network_fn(model_name, num_classes=None).default_image_size


def build(batch: Batch, num_classes: int, config: Any) -> Classifier:
    """Builds the net in training mode, and its losses.

    Args:
        batch: images and labels.
        num_classes: C, after --labels_offset.
        config: read here: model_name, weight_decay, batch_norm_decay, label_smoothing.

    Raises:
        FlagError: the net has no batch norm, and --batch_norm_decay is given.
    """
    logits, end_points = _net(
        batch.images,
        num_classes,
        config.model_name,
        weight_decay=config.weight_decay,
        is_training=True,
        batch_norm_decay=config.batch_norm_decay,
    )
    cross_entropy = tf.losses.softmax_cross_entropy(
        tf.one_hot(batch.labels, num_classes), logits, label_smoothing=config.label_smoothing
    )
    total_loss = tf.losses.get_total_loss(name="total_loss")
    correct = tf.equal(tf.argmax(logits, axis=1), batch.labels)
    accuracy = tf.reduce_mean(tf.cast(correct, tf.float32), name="accuracy")
    return Classifier(batch, logits, end_points, cross_entropy, total_loss, accuracy)


def build_for_evaluation(images: tf.Tensor, num_classes: int, model_name: str) -> tf.Tensor:
    """Builds the net in inference mode.

    Args:
        images: float32 [N, height, width, channels], preprocessed.
        num_classes: C, after --labels_offset.
        model_name: which net.

    Returns:
        Logits, float32 [N, C].
    """
    logits, _ = _net(images, num_classes, model_name, is_training=False)
    return logits


def _net(
    images: tf.Tensor, num_classes: int, model_name: str, **arguments: Any
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    network_fn = nets_factory.get_network_fn(model_name, num_classes, **arguments)
    # On images larger than their own size, Inception and MobileNet would leave more than one
    # feature per channel after their 7x7 pool.
    larger = max(images.shape.as_list()[1:3]) > network_fn.default_image_size
    if larger and "global_pool" in inspect.signature(network_fn).parameters:
        return network_fn(images, global_pool=True)
    return network_fn(images)


def variables_to_restore(moving_average_decay: float | None) -> dict[str, tf.Variable]:
    """Checkpoint names of the model's variables, or of their moving averages if decay is given."""
    variables = slim.get_model_variables()
    if moving_average_decay is None:
        return {variable.op.name: variable for variable in variables}
    averages = tf.train.ExponentialMovingAverage(moving_average_decay)
    return averages.variables_to_restore(variables)
