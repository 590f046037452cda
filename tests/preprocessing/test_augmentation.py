"""What the flags of augmentation do to one picture, against numpy and the colorsys of Python."""

import colorsys
from types import SimpleNamespace

import numpy as np
import pytest

from core.compat import tf
from preprocessing import augmentation

NONE = {
    **dict.fromkeys(("rotation_degrees", "zoom_range", "shift_fraction"), 0.0),
    **dict.fromkeys(("flip_left_right", "flip_up_down"), False),
    **dict.fromkeys(("brightness_range", "contrast_range", "saturation_range", "hue_range"), 0.0),
    **{"erasing_probability": 0.0, "randaugment_layers": 0, "randaugment_magnitude": 9.0},
}
EACH = {
    **{"rotation_degrees": 30.0, "zoom_range": 0.3, "shift_fraction": 0.2},
    **{"flip_left_right": True, "flip_up_down": True},
    **{"brightness_range": 0.3, "contrast_range": 0.5, "saturation_range": 0.5, "hue_range": 0.2},
    **{"erasing_probability": 1.0, "randaugment_layers": 2},
}
every_flag = pytest.mark.parametrize("flag", EACH)


def augmenter(**flags):
    return augmentation.augmenter(SimpleNamespace(**(NONE | flags)))


# Geometry. `places` say of each pixel of the result where it was taken from.


def sources(places, run_seeds, count=1000, side=41, **ranges):
    """Matrices [count, 2, 2] from places in the result to those in the picture, and middles."""
    out = run_seeds(
        lambda image, seed: augmentation.random_affine(image, seed, **ranges),
        places(side, side),
        count,
    )[..., :2]
    c = side // 2
    down, right = out[:, c + 1, c] - out[:, c, c], out[:, c, c + 1] - out[:, c, c]
    return np.stack([down, right], axis=-1), out[:, c, c] - c


def test_rotation_reaches_its_range_and_does_nothing_else(places, run_seeds, assert_covers):
    matrices, middles = sources(places, run_seeds, rotation_degrees=30.0)
    angles = np.degrees(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    assert_covers(angles, -30, 30)
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-3)
    np.testing.assert_allclose(middles, 0, atol=1e-4)


def test_zoom_reaches_its_range_and_does_nothing_else(places, run_seeds, assert_covers):
    matrices, middles = sources(places, run_seeds, zoom_range=0.4)
    assert_covers(1 / matrices[:, 0, 0], 0.6, 1.4)
    expected = matrices[:, :1, :1] * np.eye(2)
    np.testing.assert_allclose(matrices, expected, atol=1e-4)
    np.testing.assert_allclose(middles, 0, atol=1e-4)


def test_shifts_reach_their_range_and_do_nothing_else(places, run_seeds, assert_covers):
    matrices, middles = sources(places, run_seeds, shift_fraction=0.2)
    for axis in (0, 1):
        assert_covers(-middles[:, axis], -0.2 * 41, 0.2 * 41)
    assert abs(np.corrcoef(middles.T)[0, 1]) < 0.1
    np.testing.assert_allclose(matrices, np.broadcast_to(np.eye(2), matrices.shape), atol=1e-4)


def test_all_three_are_one_resampling(places, run_seeds):
    """The middle of the picture moves by the shift, whatever the turn and the factor."""
    ranges = {"rotation_degrees": 30.0, "zoom_range": 0.3, "shift_fraction": 0.1}
    matrices, middles = sources(places, run_seeds, 200, **ranges)
    alone = [sources(places, run_seeds, 200, **{name: ranges[name]}) for name in ranges]
    # q = c + M (p - c - t): of the middle, -M t.
    np.testing.assert_allclose(matrices, alone[0][0] @ alone[1][0], atol=1e-3)
    moved = np.einsum("nij,nj->ni", matrices, alone[2][1])
    np.testing.assert_allclose(middles, moved, atol=2e-3)


@pytest.mark.parametrize(("left_right", "up_down"), [(True, False), (False, True), (True, True)])
def test_flips(run_seeds, photo, left_right, up_down):
    image = photo(4, 5).astype(np.float32)
    augment = augmenter(flip_left_right=left_right, flip_up_down=up_down)
    outs = run_seeds(augment, image, 400)
    ways = [image[::y, ::x] for y in (1, -1)[: 1 + up_down] for x in (1, -1)[: 1 + left_right]]
    counts = [np.all(outs == way, axis=(1, 2, 3)).sum() for way in ways]
    assert sum(counts) == 400
    # Five deviations of a binomial of 400 draws.
    share = 1 / len(ways)
    assert np.all(np.abs(np.array(counts) - 400 * share) < 5 * (400 * share * (1 - share)) ** 0.5)


# Colours.


def test_brightness_adds_up_to_its_part_of_white(run_seeds, assert_covers):
    image = np.array([[[120.0], [130.0], [250.0], [3.0]]], np.float32)
    outs = run_seeds(augmenter(brightness_range=0.4), image, 1000)
    deltas = outs[:, 0, 0, 0] - 120
    assert_covers(deltas, -102, 102)
    expected = np.clip(image[np.newaxis] + deltas[:, None, None, None], 0, 255)
    np.testing.assert_allclose(outs, expected, atol=1e-3)


def test_contrast_scales_the_distance_from_the_mean_of_each_channel(run_seeds, assert_covers):
    image = np.array([[[100, 10], [140, 250]]], np.float32)[..., [0, 1, 1]]
    outs = run_seeds(augmenter(contrast_range=0.8), image, 1000)
    factors = (outs[:, 0, 1, 0] - 120) / 20
    assert_covers(factors, 0.2, 1.8)
    # Mean 130, distance 120, and cut off at 0 and at 255.
    expected = np.clip(130 + 120 * factors, 0, 255)
    np.testing.assert_allclose(outs[:, 0, 1, 1], expected, atol=1e-3)


def hsv(pixels):
    return np.array([colorsys.rgb_to_hsv(*pixel) for pixel in pixels / 255])


def test_saturation_scales_that_of_every_pixel(run_seeds, assert_covers):
    image = np.array([[[200, 100, 120], [40, 60, 50]]], np.float32)  # saturations 1/2 and 1/3
    outs = run_seeds(augmenter(saturation_range=0.9), image, 1000)
    first, second = (hsv(outs[:, 0, i]) for i in (0, 1))
    assert_covers(first[:, 1] / 0.5, 0.1, 1.9)
    np.testing.assert_allclose(second[:, 1], np.minimum(first[:, 1] / 1.5, 1), atol=1e-4)
    np.testing.assert_allclose(first[:, 2], 200 / 255, atol=1e-5)
    np.testing.assert_allclose(second[:, 2], 60 / 255, atol=1e-5)


def test_hue_turns_that_of_every_pixel(run_seeds, assert_covers):
    image = np.array([[[64, 192, 192], [200, 100, 100]]], np.float32)  # hues 0.5 and 0
    outs = run_seeds(augmenter(hue_range=0.2), image, 1000)
    first, second = (hsv(outs[:, 0, i]) for i in (0, 1))
    assert_covers(first[:, 0], 0.3, 0.7)
    np.testing.assert_allclose((second[:, 0] - first[:, 0]) % 1, 0.5, atol=1e-3)
    np.testing.assert_allclose(second[:, 1:], [[0.5, 200 / 255]] * 1000, atol=1e-4)


@pytest.mark.parametrize("flag", ["saturation_range", "hue_range"])
def test_grey_has_neither_saturation_nor_hue(run_seeds, photo, flag):
    image = photo(4, 5, 1).astype(np.float32)
    for out in run_seeds(augmenter(**{flag: 0.5}), image, 5):
        np.testing.assert_array_equal(out, image)


# Parts.


@pytest.mark.parametrize("sides", [(80, 80), (50, 150)])
def test_erased_rectangles(run_seeds, assert_covers, sides):
    image = np.full([*sides, 3], -1.0, np.float32)  # noise is from 0 on
    outs = run_seeds(augmenter(erasing_probability=0.75), image, 300)
    noise = outs.min(axis=3) >= 0
    assert np.all((outs >= 0) == noise[..., np.newaxis])
    drawn = noise.any(axis=(1, 2))
    # 225 of 300, five deviations of sqrt(300 * 3/4 * 1/4) = 7.5.
    assert abs(drawn.sum() - 225) < 38
    rows, columns = noise[drawn].any(axis=2), noise[drawn].any(axis=1)
    heights, widths = rows.sum(axis=1), columns.sum(axis=1)
    np.testing.assert_array_equal(noise[drawn], rows[:, :, None] & columns[:, None, :])
    areas = heights * widths
    np.testing.assert_array_equal(noise[drawn].sum(axis=(1, 2)), areas)  # all in one piece
    # Sides are rounded to whole pixels: the shortest, sqrt(0.02 * 0.3 * 6400) = 6.2, by 8 %.
    shares = areas / (sides[0] * sides[1])
    assert 0.02 * 0.92 < shares.min() < 0.03
    assert 0.39 < shares.max() < 0.4 * 1.03
    assert abs(shares.mean() - 0.21) < 0.03
    aspects = heights / widths
    assert 0.3 * 0.85 < aspects.min() < 0.36
    assert 2.9 < aspects.max() < 3.34 * 1.15
    for begins, lengths, side in ((rows, heights, sides[0]), (columns, widths, sides[1])):
        first = begins.argmax(axis=1)
        assert first.min() == 0  # both borders are reached
        assert (first + lengths).max() == side
    values = outs[outs >= 0]
    assert_covers(values, 0, 255)


# All together.


def test_nothing_asked_for_is_nothing_done():
    assert augmenter() is None
    assert augmenter(randaugment_magnitude=3.0) is None


@every_flag
def test_each_is_a_function_of_the_seed(run_seeds, photo, flag):
    image = photo(12, 12).astype(np.float32)
    augment = augmenter(**{flag: EACH[flag]})
    first, again = (run_seeds(augment, image, 12) for _ in range(2))
    np.testing.assert_array_equal(again, first)
    distinct = len(np.unique(first.reshape(12, -1), axis=0))
    # 12 coins; RandAugment may draw the same among few.
    assert distinct >= (2 if flag.startswith("flip") else 8)
    assert first.min() > -1e-3
    assert first.max() < 255 + 1e-3


def test_each_draws_the_same_whichever_others_are_on(run_seeds):
    """Of a picture of one colour, all that a flip leaves is what the brightness adds."""
    image = np.full([6, 6, 3], 100, np.float32)
    alone = run_seeds(augmenter(brightness_range=0.2), image, 10)
    others = {"flip_up_down": True, "rotation_degrees": 10.0, "contrast_range": 0.5}
    together = run_seeds(augmenter(brightness_range=0.2, **others), image, 10)
    np.testing.assert_allclose(together, alone, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (9, 1, 1)])
def test_extreme_shapes(run_seeds, photo, shape):
    outs = run_seeds(augmenter(**EACH), photo(*shape).astype(np.float32), 20)
    assert outs.shape == (20, *shape)
    assert np.isfinite(outs).all()
    assert outs.min() > -1e-3
    assert outs.max() < 255 + 1e-3


@pytest.mark.parametrize("channels", [1, 3])
def test_shape_is_static_and_no_state_is_kept(channels):
    with tf.Graph().as_default() as graph:
        image = tf.placeholder(tf.float32, [8, 9, channels])
        out = augmenter(**EACH)(image, tf.constant([1, 2], tf.int64))
        assert out.shape.as_list() == [8, 9, channels]
        assert out.dtype == tf.float32
    nodes = [*graph.as_graph_def().node]
    for function in graph.as_graph_def().library.function:
        nodes.extend(function.node_def)
    random = {node.op for node in nodes if "Random" in node.op}
    assert random
    assert all(op.startswith("Stateless") for op in random)


@every_flag
def test_nothing_else_is_computed(flag):
    """Each flag builds what it needs, and the resampling is built once at most."""
    with tf.Graph().as_default() as graph:
        augmenter(**{flag: EACH[flag]})(tf.zeros([8, 8, 3]), tf.constant([1, 2], tf.int64))
    kinds = [op.type for op in graph.get_operations()]
    geometry = flag in ("rotation_degrees", "zoom_range", "shift_fraction")
    assert kinds.count("ImageProjectiveTransformV3") == geometry
    assert kinds.count("Reverse") == flag.startswith("flip")
    assert kinds.count("AdjustSaturation") == (flag == "saturation_range")
    assert kinds.count("AdjustHue") == (flag == "hue_range")
    assert kinds.count("AdjustContrastv2") == (flag == "contrast_range")
    branches = [kind for kind in kinds if kind.endswith("Case")]
    assert len(branches) == (2 if flag == "randaugment_layers" else 0)
