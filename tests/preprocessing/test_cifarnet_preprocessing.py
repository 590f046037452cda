import numpy as np

from preprocessing import cifarnet_preprocessing


def standardized(image):
    return (image - image.mean()) / image.std()


def test_eval_standardizes_the_middle(run, photo):
    image = photo(12, 10)
    out = run(cifarnet_preprocessing.preprocess_for_eval, image, 8, 6)
    np.testing.assert_allclose(out, standardized(image[2:10, 2:8]), atol=1e-5)


def test_eval_pads_a_smaller_image(run, photo):
    image = photo(4, 6)
    out = run(cifarnet_preprocessing.preprocess_for_eval, image, 8, 6)
    np.testing.assert_allclose(
        out, standardized(np.pad(image, [(2, 2), (0, 0), (0, 0)])), atol=1e-5
    )


def test_train_takes_every_window_of_the_padded_image(run_seeds, photo):
    # Of one channel, standardization undoes brightness and contrast: what is left is the window.
    image = photo(8, 6, 1)
    padded = np.pad(image, [(4, 4), (4, 4), (0, 0)])
    windows = {
        (top, left, flip): standardized(padded[top : top + 8, left : left + 6][:, ::flip])
        for top in range(9)
        for left in range(9)
        for flip in (1, -1)
    }
    names, values = list(windows), np.stack(list(windows.values()))
    out = run_seeds(
        lambda x, seed: cifarnet_preprocessing.preprocess_for_train(x, 8, 6, seed), image, 800
    )
    distance = np.abs(out[:, None] - values[None]).max(axis=(2, 3, 4))
    assert distance.min(axis=1).max() < 1e-3
    # 162 windows: 800 draws miss 162 * (161/162)^800 = 1.1 of them on average. Of the 9 shifts
    # along one axis they miss one with probability below 18 * (8/9)^800 < 1e-39.
    found = {names[nearest] for nearest in distance.argmin(axis=1)}
    assert {top for top, _, _ in found} == {left for _, left, _ in found} == set(range(9))
    assert len(found) > 155


def test_train_padding_can_be_set(run_seeds, photo):
    image = photo(8, 6, 1)
    out = run_seeds(
        lambda x, seed: cifarnet_preprocessing.preprocess_for_train(x, 8, 6, seed, padding=0),
        image,
        20,
    )
    kept, flipped = standardized(image), standardized(image[:, ::-1])
    distance = np.minimum(*(np.abs(out - x).max(axis=(1, 2, 3)) for x in (kept, flipped)))
    assert distance.max() < 1e-3


def test_train_changes_the_contrast_of_each_channel(run_seeds, photo):
    image = photo(16, 16) // 4 + np.array([0, 60, 120], np.uint8)
    out = run_seeds(
        lambda x, seed: cifarnet_preprocessing.preprocess_for_train(x, 16, 16, seed, padding=0),
        image,
        500,
    )

    def spread(x):
        """Of a channel, in units of the distance of two channels, which contrast leaves alone."""
        return x[..., 0].std(axis=(-2, -1)) / (x[..., 2] - x[..., 0]).mean(axis=(-2, -1))

    factors = spread(out) / spread(image.astype(np.float64))
    assert 0.199 < factors.min() < 0.23
    assert 1.77 < factors.max() < 1.801


def test_grayscale_is_taken_before_the_image_is_standardized(run, photo):
    image = photo(8, 6)
    out = run(cifarnet_preprocessing.preprocess_for_eval, image, 8, 6, use_grayscale=True)
    gray = image @ [[0.2989], [0.5870], [0.1140]]
    np.testing.assert_allclose(out, standardized(gray), atol=1e-5)
