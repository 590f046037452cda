"""Where a classifier looks when it errs: Grad-CAM.

Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", https://arxiv.org/abs/1610.02391, section 3. The map of a class shows which places of
the picture raise its logit, as coarsely as the last feature map of the net sees them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

from core import files
from core.compat import tf
from core.errors import FlagError
from datasets.spec import LoadedSplit
from engine import sessions
from engine.freezing import Freezer
from engine.report import mistakes
from engine.report.mistakes import Mistake
from engine.scores import Scores
from preprocessing import ops, preprocessing_factory

_PANEL, _MARGIN, _TITLES = 3.0, 0.1, 0.8  # inches: side of a picture, around it, above it
_PIXELS = 450  # of the side of a picture, at least, so that the map on it is smooth
_OPACITY = 0.7  # of the hottest place of a map: the picture stays to be seen
_LONGEST_NAME, _LONGEST_PATH = 24, 75  # characters that fit above one and three, be they all W
_FONT_SIZE = 9  # points


class Explained(NamedTuple):
    """A mistake, and where its two classes are seen in the picture."""

    mistake: Mistake
    label_probability: float
    image: np.ndarray  # float32 [s, s, channels], 0..1
    prediction_map: np.ndarray  # float32 [h, w], 0..1
    label_map: np.ndarray  # float32 [h, w], 0..1


def feature_map(
    end_points: Mapping[str, tf.Tensor], images: tf.Tensor, logits: tf.Tensor
) -> tf.Tensor:
    """The feature map that Grad-CAM weighs: the last one of the net that still has places.

    The paper takes the last convolutional layer, the best compromise of meaning and detail. That is
    the last end point with a height and a width above 1, as long as the picture is large enough for
    the net: where the last layers have shrunk it to one pixel, an earlier one is taken, and of
    LeNet and CifarNet it is the pool behind the last convolution. What a shortcut goes round, such
    as the layers inside a residual unit, is no choice, since its gradient is but part of the story.

    Args:
        end_points: layers by name, in their order.
        images: float32 [N, s, s, channels], what goes into the net.
        logits: float32 [N, C], what comes out of it.

    Returns:
        float32 [N, h, w, channels].

    Raises:
        FlagError: there is none.
    """
    for end_point in reversed(end_points.values()):
        sides = end_point.shape.as_list()[1:3]
        if (
            end_point.shape.rank == 4
            and min(sides) > 1
            and _is_bottleneck(end_point, images, logits)
        ):
            return end_point
    raise FlagError(
        f"pictures of {images.shape[1]} pixels leave this net no feature map of more than 1x1",
        remedy="leave out the explanation, or train on larger pictures",
    )


def _is_bottleneck(tensor: tf.Tensor, images: tf.Tensor, logits: tf.Tensor) -> bool:
    """Whether everything that the logits know of the images goes through a tensor."""
    seen, ahead = {tensor.op}, [logits.op]
    while ahead:
        op = ahead.pop()
        if op is images.op:
            return False
        if op not in seen:
            seen.add(op)
            ahead += [tensor.op for tensor in op.inputs]
    return True


def grad_cam(
    freezer: Freezer, net: tf.GraphDef, config: Any, images: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Where in each picture the logit of a class comes from.

    Args:
        freezer: of the net.
        net: what the freezer made of a checkpoint.
        config: read here: batch_size, pictures at a time, and what `sessions.session` reads.
        images: float32 [M, s, s, channels], prepared for the net.
        classes: int [M], of each picture the class that is asked for.

    Returns:
        float32 [M, h, w], each divided by its largest value: 0..1, or 0 alone where nothing speaks
        for the class.

    Raises:
        FlagError: the net has no `feature_map`.
    """
    features = feature_map(freezer.end_points, freezer.images, freezer.logits)
    names = [freezer.images.name, features.name, freezer.logits.name]
    with tf.Graph().as_default(), sessions.session(config) as session:
        fed, features, logits = tf.import_graph_def(net, {}, names, name="")
        chosen = tf.placeholder(tf.int64, [None])
        # The gradient of the sum is that of each picture's own logit: no picture sees another one.
        (gradients,) = tf.gradients(tf.gather(logits, chosen, batch_dims=1), features)
        weights = tf.reduce_mean(gradients, [1, 2], keepdims=True)  # equation 1
        maps_of = session.make_callable(
            tf.nn.relu(tf.reduce_sum(weights * features, axis=3)),  # equation 2
            [fed, chosen],
        )
        batches = [
            slice(at, at + config.batch_size) for at in range(0, len(images), config.batch_size)
        ]
        maps = np.concatenate([maps_of(images[batch], classes[batch]) for batch in batches])
    largest = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0)


def as_seen(images: np.ndarray, config: Any) -> np.ndarray:
    """Prepared pictures as ones to be shown, in the colours of the originals.

    The preparation of evaluation is linear in the colours, so black and white tell how to undo it.
    Where it makes the same of both, since it standardises each picture, its darkest value becomes 0
    and its brightest one 1.

    Args:
        images: float32 [M, s, s, channels], as `mistakes.prepared` gives them.
        config: read here: preprocessing_name, and what `sessions.session` reads.

    Returns:
        float32 of the same shape, 0..1.
    """
    preprocess = preprocessing_factory.get_preprocessing(config.preprocessing_name)
    _, *shape = images.shape
    with tf.Graph().as_default(), sessions.session(config) as session:
        plain = [tf.fill(shape, tf.constant(value, tf.uint8)) for value in (0, 255)]
        low, high = session.run([preprocess(image, *shape[:2]) for image in plain])
    if np.array_equal(low, high):
        low, high = (end(images, axis=(1, 2, 3), keepdims=True) for end in (np.min, np.max))
    span = np.where(high > low, high - low, 1)
    return np.clip((images - low) / span, 0, 1)


def explain(
    chosen: Sequence[Mistake],
    scores: Scores,
    dataset: LoadedSplit,
    freezer: Freezer,
    net: tf.GraphDef,
    config: Any,
) -> list[Explained]:
    """Explains mistakes: where the net sees the class that it names, and where the right one.

    Args:
        chosen: the mistakes.
        scores: that they were made in.
        dataset: the split.
        freezer: of the net.
        net: that made them, frozen.
        config: what `mistakes.prepared` and `grad_cam` read.

    Raises:
        FlagError: as `grad_cam`.
        DataError: a record is damaged or missing.
    """
    if not chosen:
        return []
    indices = [mistake.index for mistake in chosen]
    labels = [mistake.label for mistake in chosen]
    predictions = [mistake.prediction for mistake in chosen]
    images = mistakes.prepared(dataset, indices, config)
    maps = grad_cam(
        freezer,
        net,
        config,
        np.concatenate([images, images]),
        np.array(predictions + labels),
    )
    probabilities = scores.probabilities[indices, labels].tolist()
    shown = as_seen(images, config)
    return list(map(Explained, chosen, probabilities, shown, *np.split(maps, 2)))


def write(directory: Path, explained: Sequence[Explained], class_names: Sequence[str]) -> None:
    """Draws each mistake as a PNG file: the picture as the net saw it, and its two maps on it.

    The files 001.png, ... take the place of those of an earlier explanation all at once.

    Args:
        directory: where to; made if it is not there.
        explained: in the order of their numbers.
        class_names: of the net's outputs.

    Raises:
        LockedError: another process writes there.
        MachineError: the directory cannot be written to.
    """
    directory = files.make_directory(directory)
    names = [f"{number:03}.png" for number in range(1, len(explained) + 1)]
    with files.locked(directory):
        files.sweep(directory)
        with files.staging(directory) as stage:
            for name, one in zip(names, explained, strict=True):
                _draw(stage / name, one, class_names)
            for path in directory.glob("*.png"):
                if path.stem.isdecimal() and path.name not in names:
                    path.unlink()
            files.commit(stage, names, directory)


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A map on a picture: in colours that cover the more, the hotter it is, on the picture in grey.

    On a picture in colours one could not tell the colours of the map from those of the picture.

    Args:
        image: float32 [height, width, 3], 0..1.
        heat: float32 [h, w], 0..1, which is enlarged bilinearly.

    Returns:
        float [height, width, 3], 0..1.
    """
    import matplotlib

    size = image.shape[1::-1]
    heat = np.asarray(PIL.Image.fromarray(heat).resize(size, PIL.Image.Resampling.BILINEAR))
    colours = matplotlib.colormaps["viridis"](heat)[:, :, :3]
    grey = image @ np.reshape(ops.LUMA_WEIGHTS, (3, 1))
    opacity = _OPACITY * heat[:, :, np.newaxis]
    return opacity * colours + (1 - opacity) * grey


def _draw(path: Path, explained: Explained, class_names: Sequence[str]) -> None:
    """One mistake as a PNG file."""
    from matplotlib.figure import Figure

    from engine.report import plots

    mistake, image = explained.mistake, _enlarged(explained.image)
    prediction, label = (class_names[number] for number in (mistake.prediction, mistake.label))
    panels = [
        (image, "as the net saw it"),
        (
            overlay(image, explained.prediction_map),
            _caption(prediction, "predicted", mistake.probability),
        ),
        (
            overlay(image, explained.label_map),
            _caption(label, "label", explained.label_probability),
        ),
    ]
    width, height = 3 * _PANEL + 4 * _MARGIN, _PANEL + _MARGIN + _TITLES
    figure = Figure(figsize=(width, height))
    for column, (picture, caption) in enumerate(panels):
        left = _MARGIN + column * (_PANEL + _MARGIN)
        box = (left / width, _MARGIN / height, _PANEL / width, _PANEL / height)
        axes = figure.add_axes(box, xticks=[], yticks=[])
        axes.imshow(picture)
        axes.set_title(caption, fontsize=_FONT_SIZE, parse_math=False)
    title = plots.elided(mistake.name, _LONGEST_PATH)
    figure.suptitle(title, y=1 - _MARGIN / height, fontsize=_FONT_SIZE, parse_math=False)
    path.write_bytes(plots.png(figure))


def _enlarged(image: np.ndarray) -> np.ndarray:
    """A square picture in three channels, of _PIXELS or more; its own pixels stay to be seen."""
    factor = -(-_PIXELS // image.shape[0])
    image = np.repeat(image, 3 // image.shape[2], axis=2)
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def _caption(class_name: str, role: str, probability: float) -> str:
    from engine.report import plots

    return f"{plots.elided(class_name, _LONGEST_NAME)}\n{role}, {100 * probability:.1f} %"
