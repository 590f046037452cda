"""The generated pictures: reproducible, balanced, and not to be told apart by their colours."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from datasets import boson_mean_field, phase_diagrams
from datasets.phase_diagrams import Region


def regions_of(drawn: phase_diagrams.Figure, cells: int = 64) -> np.ndarray:
    """The regions of a figure, seen without textures, lines and axes."""
    share = (np.arange(cells) + 0.5) / cells
    filling, temperature = (
        low + share * (high - low) for low, high in (drawn.filling, drawn.temperature)
    )
    return phase_diagrams.region_map(drawn.label, drawn.coupling, filling, temperature)


def test_classes():
    assert phase_diagrams.CLASS_NAMES == ("homogeneous", "phase_separated")
    assert phase_diagrams.NUM_IMAGES == 1200
    labels = [phase_diagrams.figure(i, 0).label for i in range(phase_diagrams.NUM_IMAGES)]
    assert np.bincount(labels).tolist() == [600, 600]


@pytest.mark.parametrize("size", [64, 128])
def test_a_picture_is_rgb_of_the_size_asked_for(size):
    for index in range(8):
        image, label = phase_diagrams.picture(index, 0, size)
        assert image.shape == (size, size, 3)
        assert image.dtype == np.uint8
        assert label == index % 2
        assert image.std() > 5


def test_the_two_sizes_show_the_same_figure():
    for index in range(6):
        small, large = (
            phase_diagrams.picture(index, 0, size)[0].astype(float) for size in (64, 128)
        )
        shrunk = large.reshape(64, 2, 64, 2, 3).mean((1, 3))
        blocks = (small - shrunk).reshape(8, 8, 8, 8, 3).mean((1, 3))
        assert np.abs(blocks).max() < 25  # of 255, at the resolution of 8 x 8


def test_a_picture_is_a_function_of_seed_and_index():
    first = [phase_diagrams.picture(index, 3)[0] for index in range(12)]
    for index in reversed(range(12)):  # no matter in which order they are asked for
        image, _ = phase_diagrams.picture(index, 3)
        np.testing.assert_array_equal(image, first[index])
    assert len({image.tobytes() for image in first}) == 12
    assert not np.array_equal(phase_diagrams.picture(0, 4)[0], first[0])


def test_coexistence_is_drawn_in_the_phase_separated_class_only():
    shares = {0: [], 1: []}
    for index in range(200):
        drawn = phase_diagrams.figure(index, 0)
        regions = regions_of(drawn)
        shares[drawn.label].append((regions == Region.COEXISTENCE).mean())
        assert (Region.COEXISTENCE in drawn.patterns) == bool(drawn.label)
        present = set(np.unique(regions))
        assert present >= {Region.SUPERFLUID, Region.CHARGE_ORDERED}
    assert max(shares[0]) == 0
    assert min(shares[1]) > 0.08  # of the area of the axes


def test_regions_follow_the_free_energy():
    """Each point of a map against the physics at that point, away from the boundaries."""
    filling, temperature = np.linspace(0.02, 0.98, 49), np.linspace(0.1, 2.5, 40)
    for coupling in phase_diagrams.COUPLINGS[::15]:
        maps = [phase_diagrams.region_map(k, coupling, filling, temperature) for k in (0, 1)]
        phase = boson_mean_field.homogeneous(filling, temperature[:, None], coupling).phase
        names = np.array([Region.DISORDERED, Region.SUPERFLUID, Region.CHARGE_ORDERED])
        assert (maps[0] == names[phase]).mean() > 0.99
        parts = boson_mean_field.coexistence(temperature, coupling)
        n = np.minimum(filling, 1 - filling)
        apart = (n > parts.superfluid[:, None]) & (n < parts.charge_ordered[:, None])
        assert ((maps[1] == Region.COEXISTENCE) == apart).mean() > 0.99
        np.testing.assert_array_equal(maps[0][~apart], maps[1][~apart])


def test_the_texture_is_drawn_where_the_phases_coexist():
    """Inside the coexistence region neighbouring pixels differ more than elsewhere."""
    ratios = []
    for index in range(1, 41, 2):
        drawn = phase_diagrams.figure(index, 0)
        image = phase_diagrams.picture(index, 0)[0].astype(float)
        left, top, right, bottom = (round(side) for side in drawn.box)
        plot = image[top:bottom, left:right].mean(2)
        rows, columns = plot.shape
        regions = regions_of(drawn, 256)[::-1]
        regions = regions[np.arange(rows) * 256 // rows][:, np.arange(columns) * 256 // columns]
        rough = np.hypot(*np.gradient(plot))
        inside = regions == Region.COEXISTENCE
        ratios.append(rough[inside].mean() / rough[~inside].mean())
    assert np.mean(np.array(ratios) > 1.5) > 0.8


def test_colours_do_not_tell_the_classes():
    """A linear classifier on 8 x 8 thumbnails stays under 80 %, trained on 700, tested on 300."""
    drawn = (phase_diagrams.picture(index, seed=0, size=64) for index in range(1000))
    images, labels = zip(*drawn, strict=True)
    thumbnails = np.stack(images).reshape(-1, 8, 8, 8, 8, 3).mean((2, 4)).reshape(1000, -1)
    for strength in (0.01, 0.1):
        classifier = make_pipeline(
            StandardScaler(), LogisticRegression(C=strength, max_iter=1000)
        ).fit(thumbnails[:700], labels[:700])
        assert classifier.score(thumbnails[700:], labels[700:]) < 0.8
