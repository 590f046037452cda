import numpy as np

from preprocessing import pad_crop_preprocessing


def test_evaluation_is_the_whole_picture_scaled(run, photo, bilinear):
    image = photo(20, 30)
    out = run(pad_crop_preprocessing.preprocess_for_eval, image, 10, 12)
    np.testing.assert_allclose(out, bilinear(image, 10, 12) / 127.5 - 1, atol=1e-5)


def test_training_shifts_by_up_to_an_eighth_and_mirrors(run_seeds, photo):
    """Each result is found in the picture with its mirror image around it; all shifts come up."""
    image = photo(16, 16)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect") / 127.5 - 1
    crops = {
        (top, left, mirrored): padded[top : top + 16, left : left + 16][:, :: -1 if mirrored else 1]
        for top in range(5)
        for left in range(5)
        for mirrored in (False, True)
    }
    found = set()
    for out in run_seeds(
        lambda image, seed: pad_crop_preprocessing.preprocess_for_train(image, 16, 16, seed),
        image,
        200,
    ):
        (match,) = [at for at, crop in crops.items() if np.allclose(out, crop, atol=1e-5)]
        found.add(match)
    # 200 draws of 50: each is missed with (1 - 1/50)^200 = 1.8 %, one of 50 on average.
    assert len(found) > 42
    assert {top for top, _, _ in found} == set(range(5)) == {left for _, left, _ in found}
