import numpy as np
import pytest

from preprocessing import lenet_preprocessing


@pytest.mark.parametrize("is_training", [True, False])
def test_digits_are_centred_and_scaled(run, is_training):
    image = np.zeros([2, 4, 1], np.uint8)
    image[0] = [[0], [64], [128], [255]]
    out = run(lenet_preprocessing.preprocess_image, image, 4, 2, is_training=is_training)
    expected = np.full([4, 2], -1.0)  # zeros around: (0 - 128) / 128
    expected[1] = [-0.5, 0.0]  # the middle columns: 64 and 128
    np.testing.assert_allclose(out[..., 0], expected)


def test_white_stays_below_one(run):
    out = run(lenet_preprocessing.preprocess_for_eval, np.full([28, 28, 1], 255, np.uint8), 28, 28)
    np.testing.assert_allclose(out, 127 / 128)
