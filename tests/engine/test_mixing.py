"""Mixed pictures and targets against numpy."""

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
