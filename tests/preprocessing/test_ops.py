import colorsys

import numpy as np
import pytest
from scipy import ndimage

from core.compat import tf
from core.errors import FlagError
from preprocessing import ops


@pytest.mark.parametrize("shape", [None, [8, 8], [None, None, None], [8, 8, 4], [1, 8, 8, 3]])
def test_num_channels_refuses_what_is_no_image(shape):
    with tf.Graph().as_default(), pytest.raises(FlagError, match="cannot be preprocessed - decode"):
        ops.num_channels(tf.placeholder(tf.uint8, shape))


def test_split_seed_gives_every_step_of_every_image_its_own_seed(run_seeds, photo):
    split = run_seeds(lambda _, seed: tf.stack(ops.split_seed(seed, 5)), photo(1, 1), 100)
    assert split.shape == (100, 5, 2)
    assert len({tuple(seed) for seed in split.reshape(-1, 2)}) == 500


def test_split_seed_without_a_seed_draws_a_new_one_each_time():
    with tf.Graph().as_default(), tf.Session() as session:
        seeds = tf.stack(ops.split_seed(None, 2))
        assert np.all(session.run(seeds) != session.run(seeds))


def test_random_choice_takes_each_branch_as_often(run_seeds, photo):
    branches = [lambda n=n: tf.constant(n) for n in range(4)]
    chosen = run_seeds(lambda _, seed: ops.random_choice(branches, seed), photo(1, 1), 800)
    # 800 draws at 1/4: mean 200, standard deviation sqrt(800 * 1/4 * 3/4) = 12.2; five of them.
    assert np.all(np.abs(np.bincount(chosen, minlength=4) - 200) < 61)


# Colours.


def test_to_unit_range(run):
    image = np.array([[[0], [51], [255]]], np.uint8)
    np.testing.assert_allclose(run(ops.to_unit_range, image).ravel(), [0, 0.2, 1], atol=1e-7)


def test_to_grayscale_weighs_the_channels(run):
    image = np.array([[[100, 200, 50]]], np.uint8)
    # 0.2989 * 100 + 0.5870 * 200 + 0.1140 * 50 = 29.89 + 117.4 + 5.7
    np.testing.assert_allclose(run(ops.to_grayscale, image), [[[152.99]]], rtol=1e-6)


def test_to_grayscale_leaves_one_channel(run, photo):
    gray = photo(3, 4, 1)
    np.testing.assert_array_equal(run(ops.to_grayscale, gray), gray)


def test_standardize(run, photo):
    image = photo(9, 7)
    expected = (image - image.mean()) / image.std()
    np.testing.assert_allclose(run(ops.standardize, image), expected, atol=1e-5)


def test_standardize_bounds_the_deviation_from_below(run):
    # Deviation 0.05 is below 1 / sqrt(4) = 0.5, by which the distances +-0.05 are divided instead.
    image = np.array([[[1.0], [1.1]], [[1.1], [1.0]]], np.float32)
    np.testing.assert_allclose(
        run(ops.standardize, image).ravel(), [-0.1, 0.1, 0.1, -0.1], atol=1e-6
    )
    np.testing.assert_array_equal(run(ops.standardize, np.full((4, 4, 3), 9.0, np.float32)), 0)


def test_random_brightness_adds_one_number(run_seeds, assert_covers):
    image = np.array([[[10, 20, 30], [40, 50, 60]]], np.float32)
    deltas = run_seeds(lambda x, seed: ops.random_brightness(x, 63, seed), image, 1000) - image
    assert_covers(deltas[:, 0, 0, 0], -63, 63)
    assert np.ptp(deltas, axis=(1, 2, 3)).max() < 1e-4


def test_random_contrast_scales_around_the_mean_of_each_channel(run_seeds, assert_covers):
    image = np.array([[[0, 30], [100, 30]], [[0, 40], [100, 40]]], np.float32)[..., [0, 1, 1]]
    out = run_seeds(lambda x, seed: ops.random_contrast(x, 0.2, 1.8, seed), image, 1000)
    factors = (out[:, 0, 1, 0] - 50) / 50  # channel mean 50, distance 50
    assert_covers(factors, 0.2, 1.8)
    np.testing.assert_allclose(out[:, 0, 0, 1], 35 - 5 * factors, rtol=1e-4)  # mean 35, distance 5


def test_random_saturation_scales_the_saturation(run_seeds, assert_covers):
    image = np.array([[[1.0, 0.5, 0.5]]], np.float32)  # hue 0, saturation 0.5, value 1
    out = run_seeds(lambda x, seed: ops.random_saturation(x, 0.5, 1.5, seed), image, 1000)
    assert_covers((1 - out[:, 0, 0, 1]) / 0.5, 0.5, 1.5)
    np.testing.assert_allclose(out[:, 0, 0, 0], 1, atol=1e-6)


def test_random_hue_turns_the_hue(run_seeds, assert_covers):
    image = np.array([[[0.25, 0.75, 0.75]]], np.float32)  # hue 0.5
    out = run_seeds(lambda x, seed: ops.random_hue(x, 0.2, seed), image, 1000)
    hsv = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in out[:, 0, 0]])
    assert_covers(hsv[:, 0], 0.3, 0.7)
    np.testing.assert_allclose(hsv[:, 2], 0.75, atol=1e-5)


# Geometry.


def test_random_flip_mirrors_half_of_the_images(run_seeds, photo):
    image = photo(3, 4)
    out = run_seeds(ops.random_flip_left_right, image, 1000)
    flipped = np.all(out == image[:, ::-1], axis=(1, 2, 3))
    kept = np.all(out == image, axis=(1, 2, 3))
    assert out.dtype == np.uint8
    assert np.all(flipped ^ kept)
    assert 421 <= flipped.sum() <= 579  # 500 +- 5 standard deviations of sqrt(1000 / 4) = 15.8


def test_random_crop_reaches_every_window(run_seeds):
    image = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8, 1)
    crops = run_seeds(lambda x, seed: ops.random_crop(x, 4, 5, seed), image, 400)
    windows = {image[y : y + 4, x : x + 5].tobytes() for y in range(3) for x in range(4)}
    # 12 windows; one of them is missed in 400 draws with probability 12 * (11/12)^400 < 1e-14.
    assert {crop.tobytes() for crop in crops} == windows


def test_random_bounding_box_crop_keeps_to_area_and_aspect(run_seeds):
    image = np.stack(np.indices([120, 160]), axis=-1).astype(np.float32)
    image = np.concatenate([image, image[..., :1]], axis=-1)  # (row, column, row)

    def corners(x, seed):
        crop = ops.random_bounding_box_crop(x, seed)
        assert crop.shape.as_list() == [None, None, 3]
        return tf.stack([crop[0, 0, :2], crop[-1, -1, :2]])

    first, last = np.moveaxis(run_seeds(corners, image, 1000), 1, 0)
    height, width = (last - first + 1).T
    area, aspect = height * width / (120 * 160), width / height
    # The whole image is the object, of which a tenth must be seen. Sides are rounded to pixels:
    # the smallest, sqrt(0.1 * 19200 / 1.33) = 38.0, by 1.3 %.
    assert 0.1 <= area.min() < 0.11
    assert 0.9 < area.max() <= 1
    assert 0.75 * 0.98 < aspect.min() < 0.78
    assert 1.29 < aspect.max() < 1.33 * 1.02
    # As much is cut off before as behind, on average.
    np.testing.assert_allclose(((first + last) / 2).mean(axis=0), [59.5, 79.5], atol=3)


def test_random_bounding_box_crop_shows_a_part_of_the_object(run_seeds):
    image = np.zeros([100, 100, 1], np.float32)
    image[80:100, 60:80] = 1  # 400 pixels
    box = np.array([[[0.8, 0.6, 1.0, 0.8]]], np.float32)
    seen = run_seeds(
        lambda x, seed: tf.reduce_sum(ops.random_bounding_box_crop(x, seed, box)), image, 300
    )
    blind = run_seeds(
        lambda x, seed: tf.reduce_sum(ops.random_bounding_box_crop(x, seed)), image, 300
    )
    assert seen.min() >= 0.1 * 400
    assert blind.min() == 0


@pytest.mark.parametrize(
    ("sides", "top", "left", "height", "width"),
    [
        ((100, 80), 6, 5, 88, 70),  # margins 6.25 and 5
        ((32, 32), 2, 2, 28, 28),
        ((1, 7), 0, 0, 1, 7),  # margins 0.06 and 0.44
    ],
)
def test_central_crop_box(run, photo, sides, top, left, height, width):
    image = photo(*sides)
    crop = run(ops.central_crop, image, 0.875)
    np.testing.assert_array_equal(crop, image[top : top + height, left : left + width])


def test_crop_or_pad_crops_and_pads_around_the_middle(run, photo):
    image = photo(9, 4)
    out = run(ops.crop_or_pad, image, 6, 7)
    expected = np.zeros([6, 7, 3], np.uint8)
    expected[:, 1:5] = image[1:7]  # 9 - 6 = 3: 1 above, 2 below; 7 - 4 = 3: 1 left, 2 right
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("target", "rows", "columns"),
    [
        ((8, 6), 2, 2),  # the padding asked for
        ((13, 6), 4, 2),  # 13 rows from 5 need 8 more
        ((8, 16), 2, 5),  # 16 columns from 7 need 9 more: 5 on each side
    ],
)
def test_pad_for_crop_leaves_room_for_the_crop(run, photo, target, rows, columns):
    image = photo(5, 7)
    out = run(ops.pad_for_crop, image, *target, padding=2)
    expected = np.pad(image, [(rows, rows), (columns, columns), (0, 0)])
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ((3, 100), (3, 48)),  # 16 * 3
        ((65, 4), (64, 4)),
        ((30, 480), (30, 480)),
        ((1, 2), (1, 2)),
    ],
)
def test_limit_aspect_cuts_the_ends_of_strips(run, photo, sides, expected):
    image = photo(*sides)
    top, left = (sides[0] - expected[0]) // 2, (sides[1] - expected[1]) // 2
    np.testing.assert_array_equal(
        run(ops.limit_aspect, image),
        image[top : top + expected[0], left : left + expected[1]],
    )


# Resizing.


@pytest.mark.parametrize("size", [(5, 9), (24, 40), (12, 20)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_resize_is_bilinear(run, photo, bilinear, size, dtype):
    image = photo(12, 20).astype(dtype)
    out = run(ops.resize, image, *size)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, bilinear(image, *size), atol=1e-3)


@pytest.mark.parametrize(
    ("sides", "side", "expected"),
    [
        ((60, 90), 40, (40, 60)),
        ((90, 60), 120, (180, 120)),
        ((37, 50), 64, (64, 86)),  # 50 * 64 / 37 = 86.49
        ((37, 51), 64, (64, 88)),  # 88.2
    ],
)
def test_resize_smaller_side_keeps_the_aspect(run, photo, sides, side, expected):
    assert run(ops.resize_smaller_side, photo(*sides), side).shape == (*expected, 3)


def test_pad_reflected(run):
    image = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    out = run(ops.pad_reflected, image, 2)
    np.testing.assert_array_equal(out, np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect"))
    assert out.dtype == np.uint8


@pytest.mark.parametrize("side", [0, 1, 4, 5])
def test_cutout(run_seeds, side):
    """A square around each pixel, cut off at the border, comes up; the rest stays as it is."""
    image = np.ones((6, 5, 2), np.float32)
    outs = run_seeds(lambda image, seed: ops.cutout(image, side, seed), image, 600)
    expected = {}
    for y in range(6):
        for x in range(5):
            cut = image.copy()
            top, left = y - side // 2, x - side // 2
            cut[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = 0
            expected[cut.tobytes()] = expected.get(cut.tobytes(), 0) + 1
    counts = {}
    for out in outs:
        counts[out.tobytes()] = counts.get(out.tobytes(), 0) + 1
    assert set(counts) == set(expected)
    for cut, places in expected.items():
        # Binomial with mean 20 for one place of 30: six deviations of the square root at most.
        assert abs(counts[cut] - 20 * places) <= 6 * (20 * places) ** 0.5


@pytest.mark.parametrize("shape", [(5, 5, 1), (6, 6, 3)])
def test_affine_turns_counterclockwise(run, photo, shape):
    image = photo(*shape).astype(np.float32)
    quarter = ((0.0, 1.0), (-1.0, 0.0))
    np.testing.assert_array_equal(run(ops.affine, image, quarter), np.rot90(image))


@pytest.mark.parametrize(("down", "right"), [(2, 0), (-1, 0), (0, 3), (1, -2), (-5, 6)])
def test_affine_shifts_in_the_mirrored_picture(run, photo, down, right):
    image = photo(5, 7).astype(np.float32)
    shifted = np.pad(image, ((8, 8), (8, 8), (0, 0)), "symmetric")[8 - down :, 8 - right :]
    out = run(ops.affine, image, shift=(float(down), float(right)))
    np.testing.assert_array_equal(out, shifted[:5, :7])


@pytest.mark.parametrize("sides", [(9, 9), (8, 13), (1, 6)])
def test_affine_is_bilinear(run, photo, sides):
    image = photo(*sides).astype(np.float32)
    matrix, shift = np.array([[0.9, 0.3], [-0.4, 1.2]]), np.array([1.3, -0.7])
    middle = (np.array(sides) - 1) / 2
    expected = [
        ndimage.affine_transform(
            channel, matrix, middle - matrix @ (middle + shift), order=1, mode="reflect"
        )
        for channel in np.moveaxis(image, -1, 0).astype(np.float64)
    ]
    out = run(ops.affine, image, matrix.tolist(), shift.tolist())
    np.testing.assert_allclose(out, np.stack(expected, axis=-1), atol=2e-3)


def test_rectangle(run, photo):
    """Of several, inside of the picture, across its border, outside of it and empty."""
    boxes = np.array([[1, 2, 3, 5], [-2, 1, 2, 9], [6, 0, 8, 2], [2, 2, 2, 4]])
    found = run(
        lambda image: ops.rectangle(
            tf.shape(image)[:2],
            tf.constant(boxes[:, :2], tf.int32),
            tf.constant(boxes[:, 2:], tf.int32),
        ),
        photo(4, 6),
    )
    expected = np.zeros([4, 4, 6], bool)
    expected[0, 1:3, 2:5] = True
    expected[1, 0:2, 1:6] = True
    np.testing.assert_array_equal(found, expected)


def test_to_bytes():
    values = np.array([-3.0, 0.4, 0.6, 254.7, 260.0], np.float32)
    np.testing.assert_array_equal(ops.to_bytes(values), np.array([0, 0, 1, 255, 255], np.uint8))
