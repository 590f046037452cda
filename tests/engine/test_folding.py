"""A net with its batch norm folded against the same net with it."""

import collections

import numpy as np
import pytest

from core.compat import slim, tf
from engine import folding
from nets import nets_factory


def kinds(graph_def):
    return collections.Counter(node.op for node in graph_def.node)


def randomised(session):
    """Gives every variable a value, the averages of batch norm too."""
    random = np.random.RandomState(0)
    for variable in tf.global_variables():
        shape, name = variable.shape.as_list(), variable.op.name.rsplit("/", 1)[1]
        if "weights" in name:
            inputs = shape[:2] if name == "depthwise_weights" else shape[:-1]
            value = random.normal(0, (2 / np.prod(inputs)) ** 0.5, shape)
        else:
            value = random.uniform(0.5, 1.5, shape)
            value -= {"beta": 1.0, "moving_mean": 1.0, "moving_variance": 0.4}.get(name, 0.0)
        variable.load(value, session)


@pytest.mark.parametrize(
    "name",
    [
        *("mobilenet_v1_025", "mobilenet_v3_small", "lenet"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("inception_v1", "resnet_v1_50")),
    ],
)
def test_folded_nets_give_the_same(name):
    images = np.random.RandomState(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [None, 32, 32, 3], name="images")
        logits, _ = nets_factory.get_network_fn(name, 4)(inputs)
        randomised(session)
        expected = session.run(logits, {inputs: images})
        before = kinds(session.graph.as_graph_def())
        frozen = folding.frozen(session, logits)
    found = kinds(frozen)
    assert "FusedBatchNormV3" not in found
    assert not {"VarHandleOp", "ReadVariableOp", "VariableV2"} & found.keys()
    assert found["Conv2D"] == before["Conv2D"]
    with tf.Graph().as_default(), tf.Session() as session:
        pictures = {"images:0": tf.constant(images)}
        (output,) = tf.import_graph_def(frozen, pictures, [logits.name], name="")
        np.testing.assert_allclose(session.run(output), expected, rtol=2e-4, atol=2e-4)
    assert np.ptp(expected, axis=0).min() > 1e-2  # pictures make a difference


def test_the_arithmetic():
    """One weight: gamma 3, variance 4 - epsilon, mean 5, beta 7: 3 / 2 (w x - 5) + 7."""
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [1, 1, 1, 1], name="images")
        net = slim.conv2d(
            inputs, 1, 1, activation_fn=None, normalizer_fn=slim.batch_norm,
            normalizer_params={"is_training": False, "scale": True, "epsilon": 0.5},
            scope="conv",
        )  # fmt: skip
        values = {"gamma": 3, "moving_variance": 3.5, "moving_mean": 5, "beta": 7, "weights": 2}
        for variable in tf.global_variables():
            value = values[variable.op.name.rsplit("/", 1)[1]]
            variable.load(np.full(variable.shape.as_list(), value, np.float32), session)
        frozen = folding.frozen(session, net)
    constants = {
        node.name.rsplit("/", 1)[1]: tf.make_ndarray(node.attr["value"].tensor).item()
        for node in frozen.node
        if "folded" in node.name
    }
    assert constants == {"folded_weights": 3.0, "folded_offset": -0.5}
    assert [node.op for node in frozen.node].count("Const") == 2  # nothing else is left


def test_batch_norm_without_a_convolution_before_it_stays():
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [1, 2, 2, 3], name="images")
        of_relu = slim.batch_norm(tf.nn.relu(inputs), is_training=False)
        of_split = slim.batch_norm(tf.split(inputs, 3, axis=3)[1], is_training=False)
        session.run(tf.global_variables_initializer())
        assert kinds(folding.frozen(session, of_relu + of_split))["FusedBatchNormV3"] == 2


def test_a_convolution_that_is_read_beside_its_batch_norm_stays():
    images = np.random.RandomState(1).normal(size=(2, 6, 6, 3)).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.placeholder(tf.float32, [2, 6, 6, 3], name="images")
        convolved = slim.conv2d(inputs, 4, 3, activation_fn=None, biases_initializer=None)
        normed = slim.batch_norm(convolved, is_training=False, scale=True)
        net = tf.concat([convolved, normed], axis=3)
        randomised(session)
        expected = session.run(net, {inputs: images})
        frozen = folding.frozen(session, net)
    assert kinds(frozen)["FusedBatchNormV3"] == 1
    with tf.Graph().as_default(), tf.Session() as session:
        pictures = {"images:0": tf.constant(images)}
        (output,) = tf.import_graph_def(frozen, pictures, [net.name], name="")
        np.testing.assert_allclose(session.run(output), expected, rtol=1e-5, atol=1e-5)
