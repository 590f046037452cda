"""LeNet and CifarNet: names, shapes and defaults."""

import numpy as np
import pytest

from core.compat import slim, tf
from nets import cifarnet, lenet


def images(*shape):
    return tf.placeholder(tf.float32, shape)


@pytest.mark.parametrize(("size", "pool2"), [(28, 7), (32, 8)])
def test_lenet(size, pool2):
    with tf.Graph().as_default():
        logits, end_points = lenet.lenet(images(None, size, size, 1))
        shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    assert {name: tensor.shape.as_list()[1:] for name, tensor in end_points.items()} == {
        "conv1": [size, size, 32],
        "pool1": [size // 2, size // 2, 32],
        "conv2": [size // 2, size // 2, 64],
        "pool2": [pool2, pool2, 64],
        "Flatten": [pool2 * pool2 * 64],
        "fc3": [1024],
        "dropout3": [1024],
        "Logits": [10],
        "Predictions": [10],
    }
    assert shapes == {
        "LeNet/conv1/weights": [5, 5, 1, 32],
        "LeNet/conv1/biases": [32],
        "LeNet/conv2/weights": [5, 5, 32, 64],
        "LeNet/conv2/biases": [64],
        "LeNet/fc3/weights": [pool2 * pool2 * 64, 1024],
        "LeNet/fc3/biases": [1024],
        "LeNet/fc4/weights": [1024, 10],
        "LeNet/fc4/biases": [10],
    }
    assert logits.op.name == "LeNet/fc4/BiasAdd"
    assert end_points["Predictions"].op.name == "Predictions/Reshape_1"


@pytest.mark.parametrize(("size", "pool2"), [(28, 7), (32, 8)])
def test_cifarnet(size, pool2):
    with tf.Graph().as_default():
        logits, end_points = cifarnet.cifarnet(images(None, size, size, 3))
        shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    assert {name: tensor.shape.as_list()[1:] for name, tensor in end_points.items()} == {
        "conv1": [size, size, 64],
        "pool1": [size // 2, size // 2, 64],
        "conv2": [size // 2, size // 2, 64],
        "pool2": [pool2, pool2, 64],
        "Flatten": [pool2 * pool2 * 64],
        "fc3": [384],
        "fc4": [192],
        "Logits": [10],
        "Predictions": [10],
    }
    assert shapes == {
        "CifarNet/conv1/weights": [5, 5, 3, 64],
        "CifarNet/conv1/biases": [64],
        "CifarNet/conv2/weights": [5, 5, 64, 64],
        "CifarNet/conv2/biases": [64],
        "CifarNet/fc3/weights": [pool2 * pool2 * 64, 384],
        "CifarNet/fc3/biases": [384],
        "CifarNet/fc4/weights": [384, 192],
        "CifarNet/fc4/biases": [192],
        "CifarNet/logits/weights": [192, 10],
        "CifarNet/logits/biases": [10],
    }
    assert logits.op.name == "CifarNet/logits/BiasAdd"
    assert end_points["Predictions"].op.name == "CifarNet/Predictions/Reshape_1"


def test_cifarnet_defaults():
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        with slim.arg_scope(cifarnet.cifarnet_arg_scope()):
            cifarnet.cifarnet(images(1, 32, 32, 3))
        losses = [loss.op.name for loss in tf.get_collection("regularization_losses")]
        session.run(tf.global_variables_initializer())
        values = {
            v.op.name.removeprefix("CifarNet/"): session.run(v) for v in tf.global_variables()
        }
        fc3_loss = session.run(tf.get_collection("regularization_losses")[0])
    assert [name.split("/")[1] for name in losses] == ["fc3", "fc4"]
    # L2 is half the sum of squares.
    assert fc3_loss == pytest.approx(0.004 * (values["fc3/weights"] ** 2).sum() / 2, rel=1e-4)
    # A normal cut at 2 standard deviations keeps 0.880 of its deviation.
    for name, stddev in {"conv2": 0.05, "fc3": 0.04, "logits": 1 / 192}.items():
        assert values[f"{name}/weights"].std() == pytest.approx(0.88 * stddev, rel=0.05)
    np.testing.assert_allclose(values["fc3/biases"], 0.1)
    np.testing.assert_allclose(values["logits/biases"], 0.0)


def test_lenet_defaults():
    with tf.Graph().as_default():
        with slim.arg_scope(lenet.lenet_arg_scope()):
            lenet.lenet(images(1, 28, 28, 1))
        assert not tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        with slim.arg_scope(lenet.lenet_arg_scope(weight_decay=0.01)):
            lenet.lenet(images(1, 28, 28, 1))
        assert len(tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)) == 4
        weights = next(v for v in tf.global_variables() if v.op.name == "LeNet/fc3/weights")
        session.run(weights.initializer)
        assert session.run(weights).std() == pytest.approx(0.088, rel=0.01)


@pytest.mark.parametrize(("net", "layer"), [(lenet.lenet, "fc4"), (cifarnet.cifarnet, "fc4")])
def test_dropout_is_on_in_training_only(net, layer):
    with tf.Graph().as_default() as graph:
        net(images(1, 32, 32, 3), is_training=True, scope="train")
        net(images(1, 32, 32, 3), is_training=False, scope="eval")

        def feeds(scope):
            return graph.get_operation_by_name(f"{scope}/{layer}/MatMul").inputs[0].op.name

        assert feeds("train").startswith("train/dropout3/")
        assert feeds("eval").startswith("eval/fc3/")
