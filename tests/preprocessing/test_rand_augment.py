"""RandAugment's distortions against PIL and numpy, and how they are drawn."""

import math

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import pytest

from core.compat import tf
from preprocessing import rand_augment

PAPER = (
    *("identity", "autocontrast", "equalize", "rotate", "solarize", "color", "posterize"),
    *("contrast", "brightness", "sharpness", "shear-x", "shear-y", "translate-x", "translate-y"),
)
SIGNED = set(PAPER) - {"identity", "autocontrast", "equalize", "solarize", "posterize"}


def distorted(name, strength):
    """The distortion of that name as a function of the image alone."""
    return lambda image: rand_augment.DISTORTIONS[name](image, tf.constant(strength))


def pil(image):
    return PIL.Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)


def array(image):
    found = np.asarray(image).astype(np.float32)
    return found[..., np.newaxis] if found.ndim == 2 else found


@pytest.fixture
def pictures(photo):
    """Noise of all values and of a few, a slope, one colour; each of 3 channels and of 1."""
    slope = np.add.outer(3 * np.arange(20), 4 * np.arange(30))[..., np.newaxis]
    colours = [
        photo(25, 40),
        photo(25, 40) // 5 + 90,
        np.repeat(slope + 20, 3, axis=2),
        photo(9, 9) // 100 * 80,
        np.full([6, 7, 3], 77),
        photo(2, 2),
    ]
    return [image.astype(np.uint8) for i in colours for image in (i, i[..., :1])]


def test_equalize_is_that_of_pil(run, pictures):
    for image in pictures:
        out = run(rand_augment.equalize, image.astype(np.float32))
        np.testing.assert_array_equal(out, array(PIL.ImageOps.equalize(pil(image))))


def test_autocontrast_is_that_of_pil_before_it_cuts_fractions_off(run, pictures):
    for image in pictures:
        out = run(rand_augment.autocontrast, image.astype(np.float32))
        expected = array(PIL.ImageOps.autocontrast(pil(image)))
        assert np.all(out - expected > -1e-3)
        assert np.all(out - expected < 1)


@pytest.mark.parametrize("dropped", [0, 1, 2, 4])
def test_posterize_is_that_of_pil(run, pictures, dropped):
    for image in pictures:
        out = run(rand_augment.posterize, image.astype(np.float32), dropped)
        expected = array(PIL.ImageOps.posterize(pil(image), 8 - dropped))
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("threshold", [0, 26, 128, 256])
def test_solarize_is_that_of_pil(run, pictures, threshold):
    for image in pictures:
        out = run(rand_augment.solarize, image.astype(np.float32), float(threshold))
        np.testing.assert_array_equal(out, array(PIL.ImageOps.solarize(pil(image), threshold)))


@pytest.mark.parametrize("factor", [0.1, 0.7, 1.0, 1.9])
@pytest.mark.parametrize(
    ("name", "enhancer"),
    [
        ("color", PIL.ImageEnhance.Color),
        ("contrast", PIL.ImageEnhance.Contrast),
        ("brightness", PIL.ImageEnhance.Brightness),
        ("sharpness", PIL.ImageEnhance.Sharpness),
    ],
)
def test_enhancements_are_those_of_pil_but_for_rounding(run, pictures, name, enhancer, factor):
    """PIL rounds what it scales the distance from, and cuts the fractions of the result off."""
    for image in pictures:
        if name == "color" and image.shape[-1] == 1:
            continue
        out = run(getattr(rand_augment, name), image.astype(np.float32), factor)
        expected = array(enhancer(pil(image)).enhance(factor))
        np.testing.assert_allclose(out, expected, atol=1 + abs(1 - factor))
        assert (out >= 0).all()
        assert (out <= 255).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("name", "matrix", "shift"),
    [
        ("rotate", [[3**0.5 / 2, 0.5], [-0.5, 3**0.5 / 2]], (0, 0)),
        ("shear-x", [[1, 0], [-0.3, 1]], (0, 0)),
        ("shear-y", [[1, -0.3], [0, 1]], (0, 0)),
        ("translate-x", [[1, 0], [0, 1]], (0, 0.4532)),
        ("translate-y", [[1, 0], [0, 1]], (0.4532, 0)),
    ],
)
def test_geometry_at_full_strength(run, places, name, matrix, shift, sign):
    """Where the pixels around the middle are taken from; of 41x61 it is at row 20, column 30."""
    out = run(distorted(name, sign), places(41, 61))[..., :2]
    matrix = np.array(matrix)
    matrix = np.where(np.eye(2), matrix, sign * matrix)
    for offset in ([0, 0], [1, 0], [0, 1], [-1, 1]):
        y, x = np.array([20, 30]) + offset
        expected = [20, 30] + matrix @ offset - sign * np.array(shift) * [41, 61]
        np.testing.assert_allclose(out[y, x], expected, atol=1e-2)


def test_the_paper_names_these():
    assert tuple(rand_augment.DISTORTIONS) == PAPER


@pytest.mark.parametrize("channels", [1, 3])
def test_each_is_drawn_as_often_and_goes_both_ways(run, run_seeds, photo, channels):
    # Of fewer pixels than 510 equalize leaves most as they are.
    image = (photo(32, 32, channels) // 2 + 40).astype(np.float32)
    names = [name for name in PAPER if channels == 3 or name != "color"]
    known = {
        (name, sign): run(distorted(name, 0.7 * sign), image)
        for name in names
        for sign in ((-1, 1) if name in SIGNED else (1,))
    }
    outs = run_seeds(lambda i, seed: rand_augment.rand_augment(i, seed, 1, 7.0), image, 700)
    distances = np.stack([np.abs(outs - k).max(axis=(1, 2, 3)) for k in known.values()])
    assert np.all((distances < 1e-2).sum(axis=0) == 1)
    keys = list(known)
    drawn = [keys[index] for index in distances.argmin(axis=0)]
    mean = 700 / len(names)
    for name in names:
        found = [sign for other, sign in drawn if other == name]
        assert abs(len(found) - mean) < 5 * math.sqrt(mean)
        if name in SIGNED:
            assert 0.2 < found.count(1) / len(found) < 0.8


def test_only_the_one_drawn_is_computed():
    """All of them stand in the branches of one operation for each layer."""
    with tf.Graph().as_default() as graph:
        image = tf.zeros([8, 8, 3])
        rand_augment.rand_augment(image, tf.constant([1, 2], tf.int64), layers=3, magnitude=5.0)
        cases = [op for op in graph.get_operations() if op.type.endswith("Case")]
        outside = {op.type for op in graph.get_operations()}
    assert len(cases) == 3
    assert all(len(op.get_attr("branches")) == 14 for op in cases)
    assert not outside & {"ImageProjectiveTransformV3", "DepthwiseConv2dNative", "Cumsum", "Floor"}


def test_no_magnitude_leaves_the_picture_as_it_is(run, photo):
    image = photo(12, 10).astype(np.float32)
    for name in set(PAPER) - {"autocontrast", "equalize"}:
        out = run(distorted(name, 0.0), image)
        np.testing.assert_allclose(out, image, atol=1e-3, err_msg=name)


def test_layers_follow_one_another(run_seeds, photo):
    """One layer has 5 + 2 * 9 results, two have the square of that."""
    image = photo(12, 10).astype(np.float32)
    outs = run_seeds(lambda i, seed: rand_augment.rand_augment(i, seed, 2, 9.0), image, 150)
    assert len(np.unique(outs.reshape(150, -1), axis=0)) > 2 * 23
    assert outs.min() > -1e-3
    assert outs.max() < 255 + 1e-3
