"""A large matrix product through TensorFlow: the most that a net's convolutions could reach."""

from collections.abc import Mapping
from typing import Any

from benchmarks.contestants import serving
from core.compat import tf


def make(spec: Mapping[str, Any]) -> serving.Contestant:
    """Builds the product in the default graph; the task "step" computes it.

    Args:
        spec: side, of the square float32 matrices.
    """
    side = spec["side"]
    left, right = (
        tf.get_variable(name, [side, side], initializer=tf.random_uniform_initializer())
        for name in ("left", "right")
    )
    product = tf.matmul(left, right)
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    multiply = session.make_callable(product.op)
    tasks = {"step": lambda count: serving.timed(multiply, count)}
    return serving.Contestant(tasks, {"flop": 2 * side**3})


if __name__ == "__main__":
    with tf.Graph().as_default():
        serving.serve(make)
