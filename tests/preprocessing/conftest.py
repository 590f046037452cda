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
