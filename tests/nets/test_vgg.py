"""VGG-16: names, shapes and outputs, also against the net of tf_slim."""

import inspect

import numpy as np
import pytest
from tf_slim.nets import vgg as reference

from core.compat import slim, tf
from core.errors import FlagError
from nets import vgg

# Column D of Table 1 of the paper at 224x224: layers, size of the map of each, channels.
COLUMN_D = [(2, 224, 64), (2, 112, 128), (3, 56, 256), (3, 28, 512), (3, 14, 512)]
THIN = {"depth_multiplier": 0.05, "min_depth": 4}


def images(*shape):
    return tf.placeholder(tf.float32, shape)


def test_the_numbers_of_the_docstring():
    weights = multiply_adds = 0
    channels = 3
    for count, size, filters in COLUMN_D:
        for _ in range(count):
            weights += 9 * channels * filters
            multiply_adds += 9 * channels * filters * size**2
            channels = filters
    assert (weights, multiply_adds) == (14_710_464, 15_346_630_656)
    assert 49 * 512 * 4096 + 4096 * 4096 + 4096 * 1000 == 123_633_664


def test_names_and_shapes_of_tf_slim():
    found = []
    for net, arg_scope in (
        (vgg.vgg_16, vgg.vgg_arg_scope),
        (reference.vgg_16, reference.vgg_arg_scope),
    ):
        with tf.Graph().as_default(), slim.arg_scope(arg_scope()):
            logits, end_points = net(images(2, 224, 224, 3), 11)
            variables = [(v.op.name, v.shape.as_list()) for v in tf.global_variables()]
            penalties = [loss.op.name for loss in tf.losses.get_regularization_losses()]
            shapes = {name: tensor.shape.as_list() for name, tensor in end_points.items()}
        found.append((variables, len(penalties), list(shapes.items()), logits.op.name))
    assert found[0][2].pop() == ("Predictions", [2, 11])  # tf_slim has none
    assert found[0] == found[1]
    expected = {}
    for block, (count, size, filters) in enumerate(COLUMN_D, start=1):
        for layer in range(1, count + 1):
            expected[f"vgg_16/conv{block}/conv{block}_{layer}"] = [2, size, size, filters]
        expected[f"vgg_16/pool{block}"] = [2, size // 2, size // 2, filters]
    expected |= {f"vgg_16/fc{layer}": [2, 1, 1, 4096] for layer in (6, 7)}
    assert dict(found[0][2]) == expected | {"vgg_16/fc8": [2, 11]}


def test_outputs_of_plain_operations():
    """On pictures that are not square, and leave a map of 2x2."""
    pictures = np.random.RandomState(1).uniform(-1, 1, [2, 64, 70, 3]).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        with slim.arg_scope(vgg.vgg_arg_scope()):
            logits, end_points = vgg.vgg_16(tf.constant(pictures), 5, is_training=False, **THIN)
        session.run(tf.global_variables_initializer())
        weights = {v.op.name: session.run(v) for v in tf.global_variables()}
        found, probabilities = session.run((logits, end_points["Predictions"]))
    assert weights["vgg_16/fc6/weights"].shape == (2, 2, 25, 204)  # of 512 and 4096 a twentieth
    net = pictures
    with tf.Graph().as_default(), tf.Session() as session:
        for block, (count, _, _) in enumerate(COLUMN_D, start=1):
            for layer in range(1, count + 1):
                kernel = weights[f"vgg_16/conv{block}/conv{block}_{layer}/weights"]
                net = tf.nn.relu(tf.nn.conv2d(net, kernel, padding="SAME"))
            net = tf.nn.max_pool2d(net, 2, 2, "VALID")
        net = tf.nn.relu(tf.nn.conv2d(net, weights["vgg_16/fc6/weights"], padding="VALID"))
        net = tf.nn.relu(net[:, 0, 0] @ weights["vgg_16/fc7/weights"][0, 0])
        expected = session.run(net @ weights["vgg_16/fc8/weights"][0, 0])
    assert np.ptp(expected, axis=0).max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(probabilities.sum(axis=1), [1, 1], rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "kernel"), [((32, 32), [1, 1]), ((63, 128), [1, 4]), ((223, 300), [6, 7])]
)
def test_the_kernel_of_fc6_is_as_large_as_the_map(size, kernel):
    with tf.Graph().as_default():
        logits, _ = vgg.vgg_16(images(None, *size, 3), 5, global_pool=True, **THIN)
        shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    assert shapes["vgg_16/fc6/weights"][:2] == kernel
    assert logits.shape.as_list() == [None, 5]


def test_larger_pictures():
    """Of 288 pixels 9x9 are left, and 3x3 by the 7x7 kernel, or 9x9 if it is padded."""
    found = {}
    for arguments in (
        {"global_pool": True},
        {"spatial_squeeze": False},
        {"spatial_squeeze": False, "fc_conv_padding": "SAME"},
        {"num_classes": None, "global_pool": True},
    ):
        with tf.Graph().as_default():
            net, end_points = vgg.vgg_16(images(1, 288, 288, 3), **arguments, **THIN)
            found[tuple(arguments)] = net.shape.as_list()
            fc7 = end_points["vgg_16/fc7"].shape.as_list()
        assert fc7[1:3] == ([9, 9] if "fc_conv_padding" in arguments else [3, 3])
    assert list(found.values()) == [[1, 1000], [1, 3, 3, 1000], [1, 9, 9, 1000], [1, 1, 1, 204]]
    with tf.Graph().as_default(), pytest.raises(FlagError, match="logits are 3x3 and cannot be"):
        vgg.vgg_16(images(1, 288, 288, 3), **THIN)


def test_pictures_that_it_does_not_take():
    with tf.Graph().as_default():
        with pytest.raises(FlagError, match="Height and width of the pictures should be def"):
            vgg.vgg_16(images(1, 32, None, 3), **THIN)
        with pytest.raises(ValueError, match="Negative dimension size"):
            vgg.vgg_16(images(1, 31, 32, 3), **THIN)
        with pytest.raises(FlagError, match="not greater than zero: 0"):
            vgg.vgg_16(images(1, 32, 32, 3), depth_multiplier=0)


def test_dropout_of_both_layers():
    """Half of the features of fc6 and of fc7 by default, and none for inference."""
    for is_training, arguments, layers in (
        (True, {}, ["dropout6", "dropout7"]),
        (True, {"dropout_keep_prob": 1.0}, []),
        (True, {"num_classes": None}, ["dropout6"]),
        (False, {}, []),
    ):
        with tf.Graph().as_default() as graph:
            vgg.vgg_16(images(1, 32, 32, 3), is_training=is_training, **arguments, **THIN)
            scopes = {op.name.split("/")[1] for op in graph.get_operations() if "/" in op.name}
        assert sorted(scope for scope in scopes if scope.startswith("dropout")) == layers


def test_training_with_reuse():
    with tf.Graph().as_default():
        vgg.vgg_16(images(1, 32, 32, 3), 3, **THIN)
        count = len(tf.global_variables())
        _, end_points = vgg.vgg_16(images(4, 32, 32, 3), 3, is_training=False, reuse=True, **THIN)
        assert len(tf.global_variables()) == count == 32
    assert next(iter(end_points)) == "vgg_16/conv1/conv1_1"


def test_signature():
    assert [(p.name, p.default) for p in inspect.signature(vgg.vgg_16).parameters.values()][1:] == [
        ("num_classes", 1000),
        ("is_training", True),
        ("dropout_keep_prob", 0.5),
        ("spatial_squeeze", True),
        ("reuse", None),
        ("scope", "vgg_16"),
        ("fc_conv_padding", "VALID"),
        ("global_pool", False),
        ("prediction_fn", slim.softmax),
        ("min_depth", 8),
        ("depth_multiplier", 1.0),
    ]
