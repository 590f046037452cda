"""Inception v3: names, shapes, numbers and outputs, also against the net of tf_slim."""

import inspect

import numpy as np
import pytest
from tf_slim.nets import inception_v3 as reference

from core.compat import slim, tf
from core.errors import FlagError
from nets import inception

# Table 1 of the paper at 299x299: size of the map, channels.
SHAPES_299 = {
    "Conv2d_1a_3x3": (149, 32),
    "Conv2d_2a_3x3": (147, 32),
    "Conv2d_2b_3x3": (147, 64),
    "MaxPool_3a_3x3": (73, 64),
    "Conv2d_3b_1x1": (73, 80),
    "Conv2d_4a_3x3": (71, 192),
    "MaxPool_5a_3x3": (35, 192),
    "Mixed_5b": (35, 256),
    "Mixed_5c": (35, 288),
    "Mixed_5d": (35, 288),
    "Mixed_6a": (17, 768),
    "Mixed_6b": (17, 768),
    "Mixed_6c": (17, 768),
    "Mixed_6d": (17, 768),
    "Mixed_6e": (17, 768),
    "Mixed_7a": (8, 1280),
    "Mixed_7b": (8, 2048),
    "Mixed_7c": (8, 2048),
}
THIN = {"depth_multiplier": 0.1, "min_depth": 4}


def images(*shape):
    return tf.placeholder(tf.float32, shape)


def test_the_numbers_of_the_docstring():
    """By the paper's table and figures alone."""
    rows = [  # weights of layers that leave a map of a size
        (9 * 3 * 32, 149),
        (9 * 32 * 32 + 9 * 32 * 64, 147),
        (64 * 80, 73),
        (9 * 80 * 192, 71),
    ]
    for channels, behind in ((192, 32), (256, 64), (288, 64)):  # figure 5
        reducing = channels * (64 + 48 + 64 + behind)
        rows.append((reducing + 25 * 48 * 64 + 9 * (64 * 96 + 96 * 96), 35))
    rows += [(288 * 64 + 9 * 64 * 96, 35), (9 * (288 * 384 + 96 * 96), 17)]  # figure 10
    for n in (128, 160, 160, 192):  # figure 6
        reducing = 768 * (192 + n + n + 192)
        rows.append((reducing + 7 * (n * n + n * 192) + 7 * (3 * n * n + n * 192), 17))
    rows += [(768 * (192 + 192) + 2 * 7 * 192 * 192, 17), (9 * 192 * (320 + 192), 8)]  # figure 10
    for channels in (1280, 2048):  # figure 7
        reducing = channels * (320 + 384 + 448 + 192)
        rows.append((reducing + 2 * 3 * 384 * 384 + 9 * 448 * 384 + 2 * 3 * 384 * 384, 8))
    assert sum(weights for weights, _ in rows) == 21_751_136
    assert sum(weights * size**2 for weights, size in rows) == 5_711_168_096


def described(net, arg_scope, size, **arguments):
    """All variables of a net in their order, by name and shape, and its end points by shape."""
    with tf.Graph().as_default(), slim.arg_scope(arg_scope()):
        logits, end_points = net(images(2, size, size, 3), 11, **arguments)
        variables = [(v.op.name, v.shape.as_list()) for v in tf.global_variables()]
        penalties = len(tf.losses.get_regularization_losses())
    return variables, penalties, logits, end_points


def test_names_and_shapes_of_tf_slim():
    ours = described(inception.inception_v3, inception.inception_v3_arg_scope, 299)
    theirs = described(reference.inception_v3, reference.inception_v3_arg_scope, 299)
    assert ours[:2] == theirs[:2]
    shapes = [{k: v.shape.as_list() for k, v in found[3].items()} for found in (ours, theirs)]
    assert shapes[0].pop("AvgPool_1a") == [2, 1, 1, 2048]  # tf_slim has no end point for it
    assert list(shapes[0].items()) == list(shapes[1].items())
    assert {name: shapes[0][name] for name in SHAPES_299} == {
        name: [2, size, size, depth] for name, (size, depth) in SHAPES_299.items()
    }
    for *_, end_points in (ours, theirs):
        assert end_points["Predictions"].op.name == "InceptionV3/Predictions/Reshape_1"
        assert end_points["AuxLogits"].op.name == "InceptionV3/AuxLogits/SpatialSqueeze"
        assert end_points["Logits"].op.name == "InceptionV3/Logits/SpatialSqueeze"


@pytest.mark.slow
def test_outputs_of_tf_slim():
    """At the size at which its auxiliary head has the same layers; with biases for speed."""
    pictures = np.random.RandomState(1).uniform(-1, 1, [2, 299, 299, 3]).astype(np.float32)
    found = []
    for net in (inception.inception_v3, reference.inception_v3):
        with tf.Graph().as_default(), tf.Session() as session:
            logits, end_points = net(tf.constant(pictures), 5, dropout_keep_prob=1.0, **THIN)
            variables = tf.global_variables()
            session.run([v.initializer for v in variables], drawn(variables))
            found.append(session.run([logits, end_points["AuxLogits"]]))
    for ours, theirs in zip(*found, strict=True):
        assert np.ptp(ours, axis=0).max() > 0.01  # the pictures have a part in them
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def drawn(variables):
    """Values with which a signal keeps its size, by what the initialisers assign."""
    values = {}
    for number, variable in enumerate(variables):
        random, shape = np.random.RandomState(number), variable.shape.as_list()
        scale = (2 / np.prod(shape[:-1])) ** 0.5 if len(shape) > 1 else 0.1
        values[variable.initializer.inputs[1]] = random.normal(size=shape) * scale
    return values


@pytest.mark.parametrize(
    ("size", "stem_stride", "smaller"),
    [(75, None, 37), (43, 4, 21), (23, 2, 11), (13, 1, 12)],
)
def test_pictures_that_are_padded(size, stem_stride, smaller):
    """Those below a size: of the second layer, 3x3, one sees whether a map keeps its size.

    Whatever the stem leaves, 7x7 have to come to Mixed_6a: 7 -> 3 -> 1. So 9 to Conv2d_4a, which
    are 19 before MaxPool_3a, and behind MaxPool_5a 15 + 2, which are 35 before MaxPool_3a; 2 more
    to Conv2d_2a, and twice as many and 1 to Conv2d_1a.
    """

    def sizes(height, width):
        with tf.Graph().as_default():
            _, end_points = inception.inception_v3_base(
                images(1, height, width, 3), "Conv2d_2a_3x3", stem_stride=stem_stride
            )
            return [tensor.shape.as_list()[1:3] for tensor in end_points.values()]

    assert inception.inception_v3.smallest_image_size(stem_stride) == size
    first = (size - 3) // (1 if stem_stride == 1 else 2) + 1
    assert sizes(size, size) == [[first] * 2, [first - 2] * 2]
    assert sizes(size - 1, size - 1) == [[smaller] * 2] * 2
    assert sizes(size - 1, 400)[1][0] == sizes(400, size - 1)[1][1] == smaller
    assert sizes(None, size - 1)[1] == [None, smaller]
    assert sizes(None, None) == [[None, None]] * 2


@pytest.mark.parametrize(
    ("size", "stem_stride", "sizes"),
    [
        # 1a, 3a, 5a, 6a and 7a halve and round up.
        (32, None, [16, 16, 16, 8, 8, 8, 4, 4, 4, 4, 2, 2, 2, 2, 2, 1, 1, 1]),
        # Without the pools, in VALID: 30, 28, 26 of the stem, (26 - 3) // 2 + 1, (12 - 3) // 2 + 1.
        (32, 1, [30, 28, 28, 28, 26, 26, 26, 26, 12, 12, 12, 12, 12, 5, 5, 5]),
    ],
)
def test_end_points_of_small_pictures(size, stem_stride, sizes):
    with tf.Graph().as_default():
        _, end_points = inception.inception_v3_base(
            images(1, size, size, 3), stem_stride=stem_stride
        )
    found = {name: tensor.shape.as_list()[1:] for name, tensor in end_points.items()}
    assert [shape[0] for shape in found.values()] == sizes
    pools = {"MaxPool_3a_3x3", "MaxPool_5a_3x3"} if stem_stride else set()
    assert set(SHAPES_299) - found.keys() == pools
    assert all(found[name][2] == SHAPES_299[name][1] for name in found)


@pytest.mark.parametrize("size", [32, 160, None])
def test_the_auxiliary_head_has_the_same_weights_for_every_size(size):
    with tf.Graph().as_default() as graph, tf.Session() as session:
        inputs = images(2, size, size, 3)
        tf.set_random_seed(1)
        _, end_points = inception.inception_v3(inputs, 7, **THIN)
        variables = {v.op.name: v for v in tf.global_variables() if "/AuxLogits/" in v.op.name}
        logits = variables["InceptionV3/AuxLogits/Conv2d_2b_1x1/weights"]
        features = graph.get_tensor_by_name("InceptionV3/AuxLogits/Conv2d_2a_5x5/Relu:0")
        session.run(tf.global_variables_initializer())
        pictures = np.random.RandomState(1).uniform(-1, 1, [2, size or 80, size or 80, 3])
        auxiliary, features, weights = session.run(
            (end_points["AuxLogits"], features, logits), {inputs: pictures}
        )
    # Of 768, 128 and 768 filters a tenth; biases, since there is no arg scope with batch norm.
    assert {name.split("/", 2)[2]: v.shape.as_list() for name, v in variables.items()} == {
        "Conv2d_1b_1x1/weights": [1, 1, 4 * 19, 12],
        "Conv2d_1b_1x1/biases": [12],
        "Conv2d_2a_5x5/weights": [5, 5, 12, 76],
        "Conv2d_2a_5x5/biases": [76],
        "Conv2d_2b_1x1/weights": [1, 1, 76, 7],
        "Conv2d_2b_1x1/biases": [7],
    }
    # Of 2, 8 and 3 places 1, 2 and 1 remain behind the pool, each way.
    assert features.shape[1:3] == ((2, 2) if size == 160 else (1, 1))
    assert auxiliary.shape == (2, 7)
    assert np.abs(auxiliary).max() > 0
    expected = features.mean(axis=(1, 2)) @ weights[0, 0]
    np.testing.assert_allclose(auxiliary, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("num_classes", "create", "auxiliary"), [(3, True, True), (3, False, False), (0, True, False)]
)
def test_which_graphs_have_an_auxiliary_head(num_classes, create, auxiliary):
    """Those for which training is decided when they run; those for inference have none."""
    with tf.Graph().as_default():
        is_training = tf.placeholder(tf.bool, [])
        _, end_points = inception.inception_v3(
            images(1, 32, 32, 3), num_classes, is_training, create_aux_logits=create, **THIN
        )
        variables = [v for v in tf.global_variables() if "/AuxLogits/" in v.op.name]
    assert bool(variables) == ("AuxLogits" in end_points) == auxiliary
    assert ("Logits" in end_points) == bool(num_classes)


def test_pictures_of_a_size_that_is_known_late():
    """One graph for every size, and one for 80 pixels: the same logits."""
    pictures = np.random.RandomState(1).uniform(-1, 1, [2, 80, 80, 3])
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        arguments = {"is_training": False, "global_pool": True, **THIN}
        inputs = images(None, None, None, 3), images(None, 80, 80, 3)
        late, end_points = inception.inception_v3(inputs[0], 3, **arguments)
        early, _ = inception.inception_v3(inputs[1], 3, reuse=True, **arguments)
        session.run(tf.global_variables_initializer())
        found = session.run((late, early), dict.fromkeys(inputs, pictures))
    assert late.shape.as_list() == [None, 3]
    assert "global_pool" in end_points
    assert "AuxLogits" not in end_points
    assert np.ptp(found[0], axis=0).max() > 1e-4
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_the_end_points_to_choose_from():
    with tf.Graph().as_default():
        _, end_points = inception.inception_v3_base(images(1, 32, 32, 3), "MaxPool_5a_3x3")
        assert list(end_points) == list(SHAPES_299)[:7]
        with pytest.raises(FlagError, match="Unknown final endpoint Mixed_8a - known: Conv2d_1a"):
            inception.inception_v3_base(images(1, 32, 32, 3), final_endpoint="Mixed_8a")
        with pytest.raises(FlagError, match="not greater than zero: 0"):
            inception.inception_v3_base(images(1, 32, 32, 3), depth_multiplier=0)


def test_initial_weights():
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        with slim.arg_scope(inception.inception_v3_arg_scope(use_batch_norm=False)):
            inception.inception_v3(images(1, 32, 32, 3), 50, depth_multiplier=0.25)
        variables = {v.op.name.removeprefix("InceptionV3/"): v for v in tf.global_variables()}
        # A normal cut at 2 standard deviations keeps 0.880 of its deviation; variance scaling makes
        # up for the cut.
        for name, deviation in {
            "Mixed_6e/Branch_0/Conv2d_0a_1x1/weights": (2 / 192) ** 0.5,
            "AuxLogits/Conv2d_1b_1x1/weights": (2 / 192) ** 0.5,
            "AuxLogits/Conv2d_2a_5x5/weights": 0.01 * 0.880,
            "AuxLogits/Conv2d_2b_1x1/weights": 0.001 * 0.880,
            "Logits/Conv2d_1c_1x1/weights": (2 / 512) ** 0.5,
        }.items():
            session.run(variables[name].initializer)
            assert session.run(variables[name]).std() == pytest.approx(deviation, rel=0.04), name


def test_signature():
    assert [
        (p.name, p.default) for p in inspect.signature(inception.inception_v3).parameters.values()
    ][1:] == [
        ("num_classes", 1000),
        ("is_training", True),
        ("dropout_keep_prob", 0.8),
        ("min_depth", 16),
        ("depth_multiplier", 1.0),
        ("prediction_fn", slim.softmax),
        ("spatial_squeeze", True),
        ("reuse", None),
        ("create_aux_logits", True),
        ("scope", "InceptionV3"),
        ("global_pool", False),
        ("stem_stride", None),
    ]
