import numpy as np
import pytest

from core.errors import FlagError
from preprocessing import vgg_preprocessing

MEANS = [123.68, 116.78, 103.94]


@pytest.mark.parametrize(
    ("channels", "use_grayscale", "expected"),
    [
        (3, False, [76.32, 83.22, 96.06]),  # 200 - MEANS
        # 0.2989 * 123.68 + 0.5870 * 116.78 + 0.1140 * 103.94 = 36.968 + 68.550 + 11.849 = 117.367
        (1, False, [82.633]),
        (3, True, [82.613]),  # grey of (200, 200, 200) is 0.9999 * 200
    ],
)
@pytest.mark.parametrize("is_training", [True, False])
def test_means_are_subtracted(run, channels, use_grayscale, expected, is_training):
    out = run(
        vgg_preprocessing.preprocess_image,
        np.full([10, 12, channels], 200, np.uint8),
        4,
        6,
        is_training=is_training,
        use_grayscale=use_grayscale,
        seed=(1, 2),
    )
    np.testing.assert_allclose(out, np.broadcast_to(expected, out.shape), atol=1e-3)


def test_eval_takes_the_middle_of_the_resized_image(run, photo, bilinear):
    image = photo(56, 84)
    out = run(vgg_preprocessing.preprocess_for_eval, image, 28, 28)
    # The smaller side becomes 256 * 28 / 224 = 32, the other 48; margins are 2 and 10 pixels.
    expected = bilinear(image, 32, 48)[2:30, 10:38] - MEANS
    np.testing.assert_allclose(out, expected, atol=1e-3)


def test_eval_of_a_wide_output(run, photo, bilinear):
    image = photo(30, 30)
    out = run(vgg_preprocessing.preprocess_for_eval, image, 14, 28)
    np.testing.assert_allclose(out, bilinear(image, 32, 32)[9:23, 2:30] - MEANS, atol=1e-3)


@pytest.mark.parametrize(
    ("resize_side", "height", "width", "expected"),
    [
        (256, 224, 224, 256),
        (512, 224, 224, 512),
        (256, 32, 32, 37),  # 36.6
        (512, 32, 32, 73),  # 73.1
        (256, 24, 40, 46),  # of the longer side: 45.7
        (256, 299, 299, 342),  # 341.7
        (224, 33, 33, 33),
    ],
)
def test_resize_side_grows_with_the_output(resize_side, height, width, expected):
    assert vgg_preprocessing.scaled_side(resize_side, height, width) == expected


def test_train_uses_every_side_of_the_range(run_seeds):
    # Columns rise by 2 in 64 pixels, by 128 / side after resizing to a square of that side.
    image = np.tile(np.arange(0, 128, 2, dtype=np.uint8)[None, :, None], [64, 1, 1])
    out = run_seeds(
        lambda x, seed: vgg_preprocessing.preprocess_for_train(x, 32, 32, seed), image, 800
    )
    slope = out[:, 16, 16, 0] - out[:, 16, 15, 0]
    sides = 128 / np.abs(slope)
    np.testing.assert_allclose(sides, np.rint(sides), atol=0.02)
    # 37 sides: one is missed in 800 draws with probability below 37 * (36/37)^800 = 1e-8.
    assert set(np.rint(sides)) == set(range(37, 74))
    assert 330 <= (slope < 0).sum() <= 470  # mirrored: 400 +- 5 * sqrt(800 / 4) = 71


def test_train_crops_anywhere(run_seeds):
    image = np.arange(17 * 17, dtype=np.float32).reshape(17, 17, 1) / 2
    out = run_seeds(
        lambda x, seed: vgg_preprocessing.preprocess_for_train(
            x, 14, 14, seed, resize_side_min=272, resize_side_max=272
        ),
        image,
        300,
    )
    # The side is 272 * 14 / 224 = 17, that of the image: crops are windows of the image itself,
    # told apart by the first value of their first and last row.
    windows = {
        tuple(np.rint(2 * image[top : top + 14, left : left + 14][[0, -1]][:, ::flip][:, 0, 0]))
        for top in range(4)
        for left in range(4)
        for flip in (1, -1)
    }
    ends = np.rint(2 * (out[:, [0, -1], 0, 0] + 117.366972))
    # 32 windows: one is missed in 300 draws with probability below 32 * (31/32)^300 = 0.0024.
    assert {tuple(end) for end in ends} == windows


@pytest.mark.parametrize("is_training", [True, False])
def test_a_side_below_the_image_is_refused(run, photo, is_training):
    with pytest.raises(FlagError, match="resize side of 200 is smaller than the image of 224"):
        run(
            vgg_preprocessing.preprocess_image,
            photo(8, 8),
            32,
            32,
            is_training=is_training,
            resize_side_min=200,
        )


def test_an_empty_range_of_sides_is_refused(run, photo):
    with pytest.raises(FlagError, match="resize_side_min 300 is above resize_side_max 256"):
        run(
            vgg_preprocessing.preprocess_image,
            photo(8, 8),
            32,
            32,
            is_training=True,
            resize_side_min=300,
            resize_side_max=256,
        )
