"""Ways to run a function of one image in a graph of its own."""

import numpy as np
import pytest

from core.compat import tf


@pytest.fixture
def run():
    """run(function, image, ...) evaluates function(tensor of the image, ...) once, in a session.

    Height and width are hidden from the graph, as they are after decoding a file.
    """

    def run(function, image, *args, **kwargs):
        with tf.Graph().as_default(), tf.Session() as session:
            holder = tf.placeholder(image.dtype, [None, None, *image.shape[2:]])
            return session.run(function(holder, *args, **kwargs), {holder: image})

    return run


@pytest.fixture
def run_seeds():
    """run_seeds(function, image, count) stacks function(tensor, seed) in tf.data, seeds [7, i]."""

    def run_seeds(function, image, count):
        def one(index):
            tensor = tf.placeholder_with_default(image, [None, None, image.shape[2]])
            return function(tensor, tf.stack([tf.constant(7, tf.int64), index]))

        with tf.Graph().as_default(), tf.Session() as session:
            results = tf.data.Dataset.range(count).map(one).batch(count)
            return session.run(tf.data.make_one_shot_iterator(results).get_next())

    return run_seeds


@pytest.fixture(scope="session")
def photo():
    """photo(height, width, channels) is a uint8 image of noise, always the same one."""

    def photo(height, width, channels=3):
        noise = np.random.RandomState(height * 1000 + width * 10 + channels)
        return noise.randint(0, 256, (height, width, channels)).astype(np.uint8)

    return photo


@pytest.fixture(scope="session")
def bilinear():
    """bilinear(image, height, width) resizes as TensorFlow 1 does: output i is input i * in/out."""

    def along(image, size, axis):
        source = np.arange(size) * (image.shape[axis] / size)
        low = np.floor(source).astype(int)
        high = np.minimum(low + 1, image.shape[axis] - 1)
        part = (source - low).reshape([-1 if a == axis else 1 for a in range(3)])
        return image.take(low, axis) * (1 - part) + image.take(high, axis) * part

    def bilinear(image, height, width):
        return along(along(image.astype(np.float64), height, 0), width, 1)

    return bilinear


@pytest.fixture(scope="session")
def assert_covers():
    """assert_covers(values, low, high): none outside, the outer 2 % on both sides reached, evenly.

    "Outside" begins at 1e-5 of the larger bound.
    """

    def assert_covers(values, low, high):
        margin, rounding = 0.02 * (high - low), 1e-5 * max(1, abs(low), abs(high))
        assert values.min() >= low - rounding
        assert values.max() <= high + rounding
        assert values.min() < low + margin
        assert values.max() > high - margin
        assert abs(values.mean() - (low + high) / 2) < 2 * margin

    return assert_covers


@pytest.fixture(scope="session")
def places():
    """places(height, width) is float32 [height, width, 3]: of each pixel its row, column and 0.

    In what is made of it by resampling they say where each pixel was taken from.
    """

    def places(height, width):
        rows, columns = np.indices([height, width]).astype(np.float32)
        return np.stack([rows, columns, 0 * rows], axis=-1)

    return places
