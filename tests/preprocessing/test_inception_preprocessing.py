import colorsys

import numpy as np
import pytest

from core.compat import tf
from preprocessing import inception_preprocessing


def test_eval_resizes_the_middle(run, photo, bilinear):
    image = photo(100, 80)
    out = run(inception_preprocessing.preprocess_for_eval, image, 24, 40)
    expected = bilinear(image[6:94, 5:75], 24, 40) / 255 * 2 - 1  # 88x70
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_eval_without_crop_resizes_the_whole(run, photo, bilinear):
    image = photo(20, 30)
    out = run(inception_preprocessing.preprocess_image, image, 24, 40, crop_image=False)
    np.testing.assert_allclose(out, bilinear(image, 24, 40) / 255 * 2 - 1, atol=1e-5)


def test_train_brightness_and_saturation(run_seeds):
    # One colour, so that cropping and mirroring change nothing. Brighter or darker by 32, its
    # largest value stays below 255, and 1.5 times its saturation below 1.
    image = np.full([8, 8, 3], [200, 150, 120], np.uint8)
    out = run_seeds(
        lambda x, seed: inception_preprocessing.preprocess_for_train(x, 4, 6, seed), image, 1000
    )
    assert np.ptp(out, axis=(1, 2)).max() < 1e-5
    pixels = (out[:, 0, 0] + 1) / 2
    deltas = pixels.max(axis=1) - 200 / 255  # saturation leaves the largest channel alone
    assert -32 / 255 - 1e-5 < deltas.min() < -31 / 255
    assert 31 / 255 < deltas.max() < 32 / 255 + 1e-5
    hue, saturation, _ = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in pixels]).T
    factors = saturation / ((80 / 255) / (200 / 255 + deltas))
    assert 0.5 - 1e-4 < factors.min() < 0.52
    assert 1.48 < factors.max() < 1.5 + 1e-4
    # Green is 30 above blue, red 80: 30 / 80 of the way from red to yellow, a sixth of the circle.
    np.testing.assert_allclose(hue, 0.0625, atol=1e-4)


def test_train_without_crop_shows_the_whole_image_or_its_mirror(run_seeds, photo, bilinear):
    image = photo(8, 10, 1) // 2 + 64  # 64..191: 32 more or less stays inside 0..255
    out = run_seeds(
        lambda x, seed: inception_preprocessing.preprocess_for_train(
            x, 12, 14, seed, crop_image=False
        ),
        image,
        50,
    )
    resized = bilinear(image, 12, 14) / 255 * 2 - 1
    shifts = [
        np.ptp(out - expected, axis=(1, 2, 3)) for expected in (resized, resized[:, ::-1])
    ]  # 0 where the brightness is all that differs
    kept, flipped = (shift < 1e-5 for shift in shifts)
    assert np.all(kept ^ flipped)
    assert 0 < flipped.sum() < 50


def test_train_crops_show_the_object_of_a_box(run_seeds):
    image = np.zeros([40, 40, 1], np.uint8)
    image[30:, 30:] = 255
    box = np.array([[[0.75, 0.75, 1.0, 1.0]]], np.float32)
    brightest = run_seeds(
        lambda x, seed: tf.reduce_max(
            inception_preprocessing.preprocess_for_train(x, 20, 20, seed, bbox=box)
        ),
        image,
        100,
    )
    assert brightest.min() > 0.5  # white, at least 1 - 2 * 32 / 255 = 0.75 in the middle of the box


@pytest.mark.parametrize("channels", [1, 3])
def test_slow_mode_stays_in_range_and_changes_more(run_seeds, photo, channels):
    image = photo(12, 12, channels)

    def slow(x, seed):
        return inception_preprocessing.preprocess_for_train(
            x, 12, 12, seed, fast_mode=False, crop_image=False
        )

    out = run_seeds(slow, image, 60)
    assert out.shape == (60, 12, 12, channels)
    assert out.min() >= -1
    assert out.max() <= 1
    # Uncropped and at the same size, one channel would keep its deviation but for the contrast.
    if channels == 1:
        deviations = out.std(axis=(1, 2, 3)) / (image / 127.5).std()
        assert deviations.min() < 0.7
        assert deviations.max() > 1.1


@pytest.mark.parametrize("order", inception_preprocessing.COLOR_ORDERS)
def test_every_colour_order_changes_hue_contrast_and_saturation(run, photo, order):
    image = photo(6, 6).astype(np.float32) / 255
    assert sorted(order) == ["brightness", "contrast", "hue", "saturation"]
    out = run(inception_preprocessing.distort_color, image, (5, 6), order)
    assert out.min() >= 0
    assert out.max() <= 1
    assert np.abs(out - image).max() > 0.05


def test_grayscale_of_training_is_that_of_the_distorted_colours(run, photo):
    image = photo(12, 12)
    colour = run(inception_preprocessing.preprocess_for_train, image, 8, 8, (1, 2))
    gray = run(inception_preprocessing.preprocess_for_train, image, 8, 8, (1, 2), True)
    expected = (colour + 1) / 2 @ [[0.2989], [0.5870], [0.1140]] * 2 - 1
    np.testing.assert_allclose(gray, expected, atol=1e-5)
