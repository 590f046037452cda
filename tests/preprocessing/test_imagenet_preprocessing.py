import keras
import numpy as np
import pytest

from preprocessing import imagenet_preprocessing, inception_preprocessing


@pytest.mark.parametrize("is_training", [True, False])
def test_pictures_are_those_of_inception_with_the_colours_of_keras(run, photo, is_training):
    image = photo(20, 30)
    inception, imagenet = (
        run(recipe.preprocess_image, image, 12, 16, is_training, seed=(3, 4))
        for recipe in (inception_preprocessing, imagenet_preprocessing)
    )
    expected = keras.applications.densenet.preprocess_input(127.5 * (inception + 1))
    np.testing.assert_allclose(imagenet, expected, atol=5e-5)


@pytest.mark.parametrize(
    ("channels", "use_grayscale", "expected"),
    [
        # 102 / 255 = 0.4: (0.4 - 0.485) / 0.229, (0.4 - 0.456) / 0.224, (0.4 - 0.406) / 0.225
        (3, False, [-0.371179, -0.25, -0.026667]),
        # mean 0.2989 * 0.485 + 0.5870 * 0.456 + 0.1140 * 0.406 = 0.4589225, deviation likewise
        # 0.0684481 + 0.131488 + 0.02565 = 0.2255861: (0.4 - 0.4589225) / 0.2255861
        (1, False, [-0.261197]),
        (3, True, [-0.261374]),  # grey of (0.4, 0.4, 0.4) is 0.9999 * 0.4
    ],
)
@pytest.mark.parametrize("is_training", [True, False])
def test_means_and_deviations(run, channels, use_grayscale, expected, is_training):
    image = np.full([10, 12, channels], 102, np.uint8)
    out = run(
        imagenet_preprocessing.preprocess_image, image, 4, 6, is_training, use_grayscale, (1, 2)
    )
    if is_training:  # another brightness, the same for all colours where they were grey
        shift = (out - expected) * (0.2255861 if out.shape[2] == 1 else [0.229, 0.224, 0.225])
        assert np.ptp(shift) < 1e-5
        assert 1e-3 < abs(shift[0, 0, 0]) < 32 / 255 + 1e-5
    else:
        np.testing.assert_allclose(out, np.broadcast_to(expected, out.shape), atol=1e-5)


def test_options_of_inception(run, photo, bilinear):
    image = photo(20, 30)
    whole = run(imagenet_preprocessing.preprocess_image, image, 10, 12, crop_image=False)
    expected = (bilinear(image, 10, 12) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(whole, expected, atol=5e-5)
    slow, fast = (
        run(imagenet_preprocessing.preprocess_image, image, 9, 9, True, seed=(1, 2), fast_mode=fast)
        for fast in (False, True)
    )
    assert not np.allclose(slow, fast, atol=0.1)
