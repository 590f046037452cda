"""Pure functions of one image, from which the recipes are composed.

An image is a uint8 or float tensor [height, width, channels] with 1 or 3 channels and values
0..255, unless a function says otherwise; height and width may be unknown until the graph runs.
Every random function takes a seed, an integer tensor [2], and gives the same result for the same
seed: none keeps a state. `split_seed` makes as many independent seeds as a recipe needs.
"""

from collections.abc import Callable, Sequence

import numpy as np

from core.compat import tf
from core.errors import FlagError

Augment = Callable[[tf.Tensor], tf.Tensor]  # of a float32 image; neither shape nor range changes

# Share of red, green and blue in the brightness of a pixel: ITU-R BT.601, as in
# tf.image.rgb_to_grayscale.
LUMA_WEIGHTS = (0.2989, 0.5870, 0.1140)


def num_channels(image: tf.Tensor) -> int:
    """The number of channels of an image, 1 or 3.

    Raises:
        FlagError: the static shape is not [height, width, 1] or [height, width, 3].
    """
    shape = image.shape
    channels = shape.as_list()[2] if shape.rank == 3 else None
    if channels not in (1, 3):
        raise FlagError(
            f"an image of shape {shape} cannot be preprocessed",
            remedy="decode to [height, width, channels] with channels=1 or channels=3",
        )
    return channels


def split_seed(seed: tf.Tensor | Sequence[int] | None, count: int) -> list[tf.Tensor]:
    """Independent seeds made of one, for the random steps of a recipe.

    The new seeds are random numbers themselves (Salmon et al. 2011, "Parallel random numbers: as
    easy as 1, 2, 3"). Adding 1, 2, 3 to the seed would give one image the seeds of the next.

    Args:
        seed: integers [2], or None to draw them from the graph's own generator.
        count: how many seeds to make.

    Returns:
        `count` int64 tensors [2].
    """
    if seed is None:
        seed = tf.random.uniform([2], maxval=tf.int64.max, dtype=tf.int64)
    seeds = tf.random.stateless_uniform([count, 2], seed, None, None, tf.int64)
    return tf.unstack(seeds)


def random_choice(branches: Sequence[Callable[[], tf.Tensor]], seed: tf.Tensor) -> tf.Tensor:
    """The result of one of the branches, each as likely; only that one is computed."""
    index = tf.random.stateless_uniform([], seed, 0, len(branches), tf.int32)
    return tf.switch_case(index, branches)


# Colours.


def to_unit_range(image: tf.Tensor) -> tf.Tensor:
    """Values 0..255 as float32 0..1."""
    return tf.cast(image, tf.float32) * (1 / 255)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Values about 0..255 as uint8, to be shown: rounded, and cut off at both ends."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def to_grayscale(image: tf.Tensor) -> tf.Tensor:
    """The brightness of every pixel, float32 [height, width, 1]; one channel stays as it is."""
    image = tf.cast(image, tf.float32)
    if num_channels(image) == 1:
        return image
    return tf.reduce_sum(image * LUMA_WEIGHTS, axis=-1, keepdims=True)


def standardize(image: tf.Tensor) -> tf.Tensor:
    """Zero mean and unit variance over the whole image, float32.

    The deviation counts as at least 1 / sqrt(number of values), so that an image of one colour
    becomes zeros (the definition of tf.image.per_image_standardization).
    """
    image = tf.cast(image, tf.float32)
    centered = image - tf.reduce_mean(image)
    deviation = tf.sqrt(tf.reduce_mean(tf.square(centered)))
    return centered / tf.maximum(deviation, tf.math.rsqrt(tf.cast(tf.size(image), tf.float32)))


def random_brightness(image: tf.Tensor, max_delta: float, seed: tf.Tensor) -> tf.Tensor:
    """Adds one number from [-max_delta, max_delta) to all values of a float image."""
    return image + tf.random.stateless_uniform([], seed, -max_delta, max_delta)


def random_contrast(image: tf.Tensor, lower: float, upper: float, seed: tf.Tensor) -> tf.Tensor:
    """Scales the distance of a float image from its mean, per channel, by one factor.

    Args:
        image: float [height, width, channels], any range of values.
        lower: the smallest factor.
        upper: the end of the range of factors.
        seed: integers [2].
    """
    return tf.image.adjust_contrast(image, tf.random.stateless_uniform([], seed, lower, upper))


def random_saturation(image: tf.Tensor, lower: float, upper: float, seed: tf.Tensor) -> tf.Tensor:
    """Multiplies the saturation (HSV) of a float image by one factor.

    Args:
        image: float [height, width, 3], values about 0..1.
        lower: the smallest factor.
        upper: the end of the range of factors.
        seed: integers [2].
    """
    return tf.image.adjust_saturation(image, tf.random.stateless_uniform([], seed, lower, upper))


def random_hue(image: tf.Tensor, max_delta: float, seed: tf.Tensor) -> tf.Tensor:
    """Turns the hue (HSV) of a float image [height, width, 3] by a part of the colour circle.

    Args:
        image: float [height, width, 3], values about 0..1.
        max_delta: the largest turn, at most 0.5; the turn is from [-max_delta, max_delta).
        seed: integers [2].
    """
    return tf.image.adjust_hue(image, tf.random.stateless_uniform([], seed, -max_delta, max_delta))


# Geometry. These keep the type of the image, so that bytes are moved rather than floats.


def random_flip_left_right(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors the image left to right, half the time."""
    return random_flip(image, seed, left_right=True)


def random_flip(
    image: tf.Tensor, seed: tf.Tensor, left_right: bool = False, up_down: bool = False
) -> tf.Tensor:
    """Mirrors the image along each of the axes that are asked for, half the time."""
    # A coin for every axis; those of the others never fall on their other side.
    flipped = tf.random.stateless_uniform([3], seed) < [0.5 * up_down, 0.5 * left_right, 0.0]
    return tf.raw_ops.Reverse(tensor=image, dims=flipped)


def random_crop(image: tf.Tensor, height: int, width: int, seed: tf.Tensor) -> tf.Tensor:
    """Cuts [height, width, channels] out of an image at least as large, anywhere in it."""
    size = [height, width, num_channels(image)]
    places = tf.shape(image) - size + 1  # possible offsets along each axis
    offset = tf.random.stateless_uniform([3], seed, None, None, tf.int32) % places
    return tf.slice(image, offset, size)


def random_bounding_box_crop(
    image: tf.Tensor,
    seed: tf.Tensor,
    bbox: tf.Tensor | None = None,
    min_object_covered: float = 0.1,
    aspect_ratio_range: tuple[float, float] = (0.75, 1.33),
    area_range: tuple[float, float] = (0.05, 1.0),
    max_attempts: int = 100,
) -> tf.Tensor:
    """Cuts a rectangle of random place, area and aspect out of the image.

    The method is that of Szegedy et al. 2014, "Going deeper with convolutions", section 6: patches
    of varied size and of aspect 3/4 to 4/3. The defaults are those of research/slim.

    Args:
        image: [height, width, channels].
        seed: integers [2].
        bbox: float [1, boxes, 4], the objects of which the crop must show a part, each
            (ymin, xmin, ymax, xmax) as fractions of the image; None for the whole image.
        min_object_covered: the fraction of some object that the crop must contain. Where the
            object is the whole image, no crop has a smaller area than this.
        aspect_ratio_range: width / height.
        area_range: fraction of the area of the image.
        max_attempts: after so many crops that miss the objects, the whole image is taken.

    Returns:
        [crop height, crop width, channels], of a size only known when the graph runs.
    """
    begin, size, _ = tf.raw_ops.StatelessSampleDistortedBoundingBox(
        image_size=tf.shape(image),
        bounding_boxes=tf.zeros([1, 0, 4]) if bbox is None else bbox,
        min_object_covered=min_object_covered,
        seed=seed,
        aspect_ratio_range=aspect_ratio_range,
        area_range=area_range,
        max_attempts=max_attempts,
        use_image_if_no_bounding_boxes=True,
    )
    crop = tf.slice(image, begin, size)
    crop.set_shape([None, None, num_channels(image)])
    return crop


def central_crop(image: tf.Tensor, fraction: float) -> tf.Tensor:
    """The middle of the image, `fraction` of each side: of 100x80 and 0.875, 88x70.

    Equal margins are cut off, so a side can be one pixel longer than the fraction says.
    """
    channels = num_channels(image)
    sides = tf.shape(image)[:2]
    margins = tf.cast(tf.cast(sides, tf.float64) * ((1 - fraction) / 2), tf.int32)
    crop = tf.slice(
        image, tf.concat([margins, [0]], 0), tf.concat([sides - 2 * margins, [channels]], 0)
    )
    crop.set_shape([None, None, channels])
    return crop


def crop_or_pad(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """The middle [height, width, channels] of the image; zeros around where it is smaller."""
    target = [height, width, num_channels(image)]
    shape = tf.shape(image)
    kept = tf.minimum(shape, target)
    before = (target - kept) // 2
    image = tf.slice(image, (shape - kept) // 2, kept)
    image = tf.pad(image, tf.stack([before, target - kept - before], axis=1))
    image.set_shape(target)
    return image


def pad_for_crop(image: tf.Tensor, height: int, width: int, padding: int) -> tf.Tensor:
    """Zeros around the image: `padding` on each side, or more if [height, width] needs more."""
    channels = num_channels(image)
    missing = [height, width, channels] - tf.shape(image)
    each_side = tf.maximum((missing + 1) // 2, [padding, padding, 0])
    image = tf.pad(image, tf.stack([each_side, each_side], axis=1))
    image.set_shape([None, None, channels])
    return image


def pad_reflected(image: tf.Tensor, padding: int) -> tf.Tensor:
    """The image with its own mirror image around it, `padding` pixels on each side.

    There have to be more than `padding` rows and columns.
    """
    channels = num_channels(image)
    image = tf.pad(image, [[padding, padding], [padding, padding], [0, 0]], mode="REFLECT")
    image.set_shape([None, None, channels])
    return image


def affine(
    image: tf.Tensor,
    matrix: Sequence[Sequence[float | tf.Tensor]] = ((1.0, 0.0), (0.0, 1.0)),
    shift: Sequence[float | tf.Tensor] = (0.0, 0.0),
) -> tf.Tensor:
    """Moves every pixel of a float image linearly, in one bilinear resampling.

    What comes in from outside is the image mirrored at its edges, the outermost pixels repeated.

    Args:
        image: float [height, width, channels].
        matrix: 2x2, from a place (y, x) of the result to the place in the image that is seen there,
            pixels from the middle. ((cos a, sin a), (-sin a, cos a)) turns counterclockwise by a.
        shift: pixels down and to the right, by which the result is then moved.

    Returns:
        float of the same shape.
    """
    (yy, yx), (xy, xx) = matrix
    middle_y, middle_x = tf.unstack((tf.cast(tf.shape(image)[:2], tf.float32) - 1) / 2)
    to_y, to_x = middle_y + shift[0], middle_x + shift[1]
    x_of_result = (xx, xy, middle_x - xx * to_x - xy * to_y)
    y_of_result = (yx, yy, middle_y - yx * to_x - yy * to_y)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=tf.stack([*x_of_result, *y_of_result, 0.0, 0.0])[tf.newaxis],
        output_shape=tf.shape(image)[:2],
        fill_value=0.0,  # none is left to fill
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
    moved = tf.squeeze(moved, 0)
    moved.set_shape(image.shape)
    return moved


def cutout(image: tf.Tensor, side: int, seed: tf.Tensor) -> tf.Tensor:
    """Blanks a square: DeVries and Taylor 2017, "Improved regularization of CNNs with Cutout".

    Its middle is any pixel of the image, so that part of the square can lie outside.

    Args:
        image: float [height, width, channels], preprocessed, so that 0 is the mean.
        side: pixels.
        seed: integers [2].

    Returns:
        The same shape.
    """
    sides = tf.shape(image)[:2]
    begin = tf.cast(tf.random.stateless_uniform([2], seed) * tf.cast(sides, tf.float32), tf.int32)
    begin -= side // 2
    blank = rectangle(sides, begin, begin + side)
    return image * tf.cast(~blank, image.dtype)[:, :, tf.newaxis]


def rectangle(sides: tf.Tensor, begin: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    """Which pixels of an image lie in a rectangle; parts of it may lie outside of the image.

    Args:
        sides: int32 [2], height and width of the image, pixels.
        begin: int32 [..., 2], the first row and the first column of each rectangle.
        end: int32 [..., 2], those behind the last ones.

    Returns:
        bool [..., height, width].
    """
    rows, columns = (
        (tf.range(sides[axis]) >= begin[..., axis, tf.newaxis])
        & (tf.range(sides[axis]) < end[..., axis, tf.newaxis])
        for axis in (0, 1)
    )
    return rows[..., :, tf.newaxis] & columns[..., tf.newaxis, :]


# Resizing, to float32.


def resize(
    image: tf.Tensor,
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    method: Callable[..., tf.Tensor] = tf.raw_ops.ResizeBilinear,
) -> tf.Tensor:
    """The image as float32 [height, width, channels], stretched if the aspect differs.

    Pixel centres follow TensorFlow 1 (align_corners and half_pixel_centers False), as in the
    preprocessing with which the published checkpoints were trained.
    """
    resized = method(images=tf.expand_dims(image, 0), size=[height, width])
    return tf.cast(tf.squeeze(resized, 0), tf.float32)


def limit_aspect(image: tf.Tensor, max_aspect: int = 16) -> tf.Tensor:
    """The middle of an image whose longer side is more than `max_aspect` times the shorter one.

    Scaled up to a shorter side of 512 pixels, a strip of 1x65535 would take 200 GB. No picture
    worth learning from reaches the default, and those below it stay as they are.
    """
    channels = num_channels(image)
    shape = tf.shape(image)
    longest = tf.reduce_min(shape[:2]) * max_aspect
    kept = tf.minimum(shape, tf.stack([longest, longest, channels]))
    image = tf.slice(image, (shape - kept) // 2, kept)
    image.set_shape([None, None, channels])
    return image


def resize_smaller_side(image: tf.Tensor, smaller_side: int | tf.Tensor) -> tf.Tensor:
    """The image as float32 with its smaller side of that length, and its aspect kept."""
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    scale = tf.cast(smaller_side, tf.float32) / tf.reduce_min(sides)
    height, width = tf.unstack(tf.cast(tf.rint(sides * scale), tf.int32))
    return resize(image, height, width)
