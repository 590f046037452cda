"""Mixed pictures and targets against numpy."""

from types import SimpleNamespace

import numpy as np
import pytest

from core.compat import tf
from engine import mixing


def mixed(session, alpha, seed=0, count=500):
    """Shares of the pictures 0, 1, 2, ... in what mixup makes of them, and the same of targets."""
    images = np.arange(count, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 3, 1))
    targets = np.eye(count)
    found = mixing.mixup(
        tf.constant(images, tf.float32), tf.constant(targets, tf.float32), alpha, seed
    )
    return session.run(found)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup(alpha):
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.train.create_global_step()
        step.load(3, session)
        images, targets = mixed(session, alpha)
        again, _ = mixed(session, alpha)
        other_seed, _ = mixed(session, alpha, seed=1)
        step.load(4, session)
        other_step, _ = mixed(session, alpha)
    shares = np.diag(targets)
    rest = np.roll(np.eye(500), 1, axis=0) * (1 - shares)[:, None]
    np.testing.assert_allclose(targets, np.diag(shares) + rest, atol=1e-6)
    numbers = np.arange(500)
    expected = shares * numbers + (1 - shares) * np.roll(numbers, 1)
    np.testing.assert_allclose(images, np.tile(expected[:, None, None, None], (1, 2, 3, 1)), 1e-4)
    # Beta(a, a) has variance 1 / (8 a + 4); of 500 draws the mean is off by less than 4 deviations.
    deviation = (1 / (8 * alpha + 4)) ** 0.5
    assert abs(shares.mean() - 0.5) < 4 * deviation / 500**0.5
    assert shares.std() == pytest.approx(deviation, rel=0.15)
    np.testing.assert_array_equal(again, images)
    assert not np.array_equal(other_seed, images)
    assert not np.array_equal(other_step, images)


def test_mixup_of_a_tiny_alpha_takes_one_of_two():
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.create_global_step().load(0, session)
        _, targets = mixed(session, 0.001)
    assert np.isfinite(targets).all()
    assert ((targets == 0) | (targets == 1)).mean() > 0.99


def cut(session, alpha, seed=0, count=300, sides=(6, 9)):
    """What cutmix makes of pictures of the numbers 0, 1, 2, ..., and of their targets."""
    images = np.arange(count, dtype=np.float32)[:, None, None, None] * np.ones((1, *sides, 2))
    found = mixing.cutmix(
        tf.constant(images, tf.float32), tf.constant(np.eye(count), tf.float32), alpha, seed
    )
    return session.run(found)


def pasted(images):
    """Where the pixels of each picture are those of the one before it, bool [N, height, width]."""
    own = np.arange(len(images))
    other = np.roll(own, 1)[:, None, None, None] == images
    assert np.all(other ^ (own[:, None, None, None] == images))
    np.testing.assert_array_equal(other[..., 0], other[..., 1])
    return other[..., 0]


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_cutmix(alpha):
    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.train.create_global_step()
        step.load(3, session)
        images, targets = cut(session, alpha)
        again, _ = cut(session, alpha)
        other_seed, _ = cut(session, alpha, seed=1)
        step.load(4, session)
        other_step, _ = cut(session, alpha)
    masks = pasted(images)
    rows, columns = masks.any(axis=2), masks.any(axis=1)
    np.testing.assert_array_equal(masks, rows[:, :, None] & columns[:, None, :])
    for line in (rows, columns):  # in one piece, which reaches both borders
        assert (np.abs(np.diff(line, axis=1)).sum(axis=1) <= 2).all()
        assert line[:, 0].any()
        assert line[:, -1].any()
    share = masks.mean(axis=(1, 2))
    expected = np.diag(1 - share) + np.roll(np.eye(300), 1, axis=0) * share[:, None]
    np.testing.assert_allclose(targets, expected, atol=1e-6)
    np.testing.assert_array_equal(again, images)
    assert not np.array_equal(other_seed, images)
    assert not np.array_equal(other_step, images)


def test_rectangles_of_cutmix_have_the_area_that_is_drawn():
    """Those that lie inside: of a share s, uniform for alpha 1, sides sqrt(1 - s) of the picture's.

    The middle of such a one lies so far from all borders with (1 - side)^2.
    """
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.create_global_step().load(0, session)
        images, _ = cut(session, 1.0, count=1500, sides=(40, 40))
    masks = pasted(images)
    heights, widths = masks.any(axis=2).sum(axis=1), masks.any(axis=1).sum(axis=1)
    edge = masks.any(axis=2)[:, [0, -1]].any(axis=1) | masks.any(axis=1)[:, [0, -1]].any(axis=1)
    assert np.all(np.abs(heights - widths)[~edge] <= 1)
    # Side t has the density 2 t. Clear of all borders: integral of 2 t (1 - t)^2 = 1 / 6, a little
    # less by the pixel that is kept free; a quarter of a middle's draws give each quadrant.
    assert 0.11 < np.mean(~edge) < 0.18
    middles = (masks.any(axis=2) * np.arange(40)).sum(axis=1) / np.maximum(heights, 1)
    assert abs(middles[heights > 0].mean() - 19.5) < 1


def both(session, step, seed=0):
    images = tf.reshape(tf.range(8.0), [8, 1, 1, 1]) * tf.ones([1, 4, 4, 1])
    config = SimpleNamespace(mixup_alpha=1.0, cutmix_alpha=1.0, seed=seed)
    targets = tf.eye(8)
    ways = (
        mixing.mixed(images, targets, config),
        mixing.mixup(images, targets, 1.0, seed),
        mixing.cutmix(images, targets, 1.0, seed),
    )
    for number in range(40):
        step.load(number, session)
        yield session.run(ways)


def test_each_batch_takes_one_of_two_ways():
    def same(one, other):
        return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))

    with tf.Graph().as_default(), tf.Session() as session:
        step = tf.train.create_global_step()
        chosen = [same(mixed, up) for mixed, up, cut in both(session, step)]
        again = [not same(mixed, cut) for mixed, up, cut in both(session, step)]
        other = [same(mixed, up) for mixed, up, cut in both(session, step, seed=1)]
    assert chosen == again
    assert 8 <= sum(chosen) <= 32  # 20 +- four deviations of sqrt(40 / 4)
    assert chosen != other


def test_nothing_is_mixed_unless_it_is_asked_for():
    images, targets = object(), object()
    config = SimpleNamespace(mixup_alpha=0.0, cutmix_alpha=0.0, seed=0)
    assert mixing.mixed(images, targets, config) == (images, targets)
