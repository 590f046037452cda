"""What TensorBoard shows of an evaluation: numbers, precision-recall curves and pictures."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from core.compat import tf
from engine import summaries
from engine.scores import Scores

# Classes that have a curve each; of more classes, TensorBoard's page would be a wall of them.
CURVES = 20
# Thresholds of a curve, evenly spaced over 0..1: the default of TensorBoard's plugin.
THRESHOLDS = 201
# Probabilities that are counted at once. Below 2**24, counts in float32 are exact.
_BLOCK = 1 << 20


def summary(
    values: Mapping[str, float | None],
    scores: Scores,
    class_names: Sequence[str],
    pictures: Mapping[str, bytes],
) -> tf.Summary:
    """Everything, as one summary.

    Args:
        values: of metrics, by name; those that are defined become numbers, tagged eval/<name>.
        scores: of N pictures and C classes.
        class_names: C names. Up to CURVES classes have a curve each, tagged pr_curves/<name>; of
            more there is one, pr_curves/all classes, which counts every pair of a picture and a
            class. A class has none if all pictures are its own, or no one.
        pictures: PNG files by tag.
    """
    defined = {f"eval/{name}": value for name, value in values.items() if value is not None}
    merged = summaries.scalars(defined)
    few = len(class_names) <= CURVES
    merged.value.extend(_curves(scores, class_names) if few else [_pooled_curve(scores)])
    merged.value.extend(_picture(tag, content) for tag, content in pictures.items())
    return merged


def _curves(scores: Scores, class_names: Sequence[str]) -> Iterator[tf.Summary.Value]:
    from tensorboard.plugins.pr_curve import summary as pr_curve

    for label, (name, score) in enumerate(zip(class_names, scores.probabilities.T, strict=True)):
        positive = scores.labels == label
        if positive.any() and not positive.all():
            yield _tagged(name, pr_curve.pb(name, positive, score, THRESHOLDS, display_name=name))


def _pooled_curve(scores: Scores) -> tf.Summary.Value:
    """The curve of all pairs of a picture and a class (the micro-average)."""
    from tensorboard.plugins.pr_curve import summary as pr_curve

    blocks = math.ceil(scores.logits.size / _BLOCK)
    classes = np.arange(scores.num_classes)
    counts = np.zeros((4, THRESHOLDS))  # true and false positives, true and false negatives
    for labels, probabilities in zip(
        np.array_split(scores.labels, blocks),
        np.array_split(scores.probabilities, blocks),
        strict=True,
    ):
        positive = labels[:, np.newaxis] == classes
        block = pr_curve.pb("", positive, probabilities, THRESHOLDS)
        counts += tf.make_ndarray(block.value[0].tensor)[:4]
    hits, false_alarms, _, misses = counts
    # Where nothing is predicted, precision is 0, as in the plugin's own curves.
    precision = hits / np.maximum(hits + false_alarms, 1)
    recall = hits / (hits + misses)
    name = "all classes"
    return _tagged(
        name, pr_curve.raw_data_pb(name, *counts, precision, recall, THRESHOLDS, display_name=name)
    )


def _tagged(name: str, curve: tf.Summary) -> tf.Summary.Value:
    """The one value of a curve's summary, under a tag without the plugin's suffix."""
    (value,) = curve.value
    value.tag = f"pr_curves/{name}"
    return value


def _picture(tag: str, content: bytes) -> tf.Summary.Value:
    width, height = Image.open(io.BytesIO(content)).size
    image = tf.Summary.Image(encoded_image_string=content, width=width, height=height, colorspace=4)
    return tf.Summary.Value(tag=tag, image=image)
