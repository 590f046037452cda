"""Inception v2: names, shapes, numbers and outputs, also against the net of tf_slim."""

import inspect

import numpy as np
import pytest
from tf_slim.nets import inception_v2 as reference

from core.compat import slim, tf
from core.errors import FlagError
from nets import inception

# Figure 5 of the paper at 224x224: size of the map, channels.
SHAPES_224 = {
    "Conv2d_1a_7x7": (112, 64),
    "MaxPool_2a_3x3": (56, 64),
    "Conv2d_2b_1x1": (56, 64),
    "Conv2d_2c_3x3": (56, 192),
    "MaxPool_3a_3x3": (28, 192),
    "Mixed_3b": (28, 256),
    "Mixed_3c": (28, 320),
    "Mixed_4a": (14, 576),
    "Mixed_4b": (14, 576),
    "Mixed_4c": (14, 576),
    "Mixed_4d": (14, 576),
    "Mixed_4e": (14, 576),
    "Mixed_5a": (7, 1024),
    "Mixed_5b": (7, 1024),
    "Mixed_5c": (7, 1024),
}
# Its columns: 1x1; 3x3 reduce, 3x3; double 3x3 reduce, double 3x3; behind the pool (0: nothing).
BLOCKS = {
    "Mixed_3b": (64, 64, 64, 64, 96, 32),
    "Mixed_3c": (64, 64, 96, 64, 96, 64),
    "Mixed_4a": (0, 128, 160, 64, 96, 0),
    "Mixed_4b": (224, 64, 96, 96, 128, 128),
    "Mixed_4c": (192, 96, 128, 96, 128, 128),
    "Mixed_4d": (160, 128, 160, 128, 160, 96),
    "Mixed_4e": (96, 128, 192, 160, 192, 96),
    "Mixed_5a": (0, 128, 192, 192, 256, 0),
    "Mixed_5b": (352, 192, 320, 160, 224, 128),
    "Mixed_5c": (352, 192, 320, 192, 224, 128),
}


def images(*shape):
    return tf.placeholder(tf.float32, shape)


def test_the_numbers_of_the_docstring():
    """By the table alone: what the blocks have and take, behind the layers of the root."""
    # 7x7 on 3 channels to 24, and 24 to 64; 64 to 64; 3x3 on 64 to 192.
    root = [(49 * 24 + 24 * 64, 112), (64 * 64, 56), (9 * 64 * 192, 56)]
    weights = sum(count for count, _ in root)
    multiply_adds = sum(count * size**2 for count, size in root)
    channels, size = 192, 28
    for name, (one, three, branch_1, double, branch_2, behind) in BLOCKS.items():
        reducing = channels * (one + three + double + behind)
        inner, last = 9 * double * branch_2, 9 * (three * branch_1 + branch_2**2)
        weights += reducing + inner + last
        multiply_adds += (reducing + inner) * size**2
        if not one:  # the last layers halve the size, and the pool keeps all channels
            size, behind = size // 2, channels
        multiply_adds += last * size**2
        channels = one + branch_1 + branch_2 + behind
        assert (size, channels) == SHAPES_224[name]
    assert (weights, multiply_adds) == (10_143_384, 1_933_833_216)


@pytest.mark.parametrize("size", [224, 32])
def test_end_points_of_the_base(size):
    with tf.Graph().as_default():
        net, end_points = inception.inception_v2_base(images(5, size, size, 3))
    # Every halving rounds up: 224 -> 112 -> .. -> 7, 32 -> 16 -> 8 -> 4 -> 2 -> 1.
    assert {name: tensor.shape.as_list() for name, tensor in end_points.items()} == {
        name: [5, -(-size * full // 224), -(-size * full // 224), depth]
        for name, (full, depth) in SHAPES_224.items()
    }
    assert net is end_points["Mixed_5c"]


def described(net, arg_scope, size, **arguments):
    """All variables of a net in their order, by name and shape, and its end points by shape."""
    with tf.Graph().as_default(), slim.arg_scope(arg_scope()):
        logits, end_points = net(images(2, size, size, 3), 11, **arguments)
        variables = [(v.op.name, v.shape.as_list()) for v in tf.global_variables()]
        penalties = len(tf.losses.get_regularization_losses())
    return variables, penalties, logits, end_points


def test_names_and_shapes_of_tf_slim():
    ours = described(inception.inception_v2, inception.inception_v2_arg_scope, 224)
    theirs = described(reference.inception_v2, reference.inception_v2_arg_scope, 224)
    assert ours[:2] == theirs[:2]
    shapes = [{k: v.shape.as_list() for k, v in found[3].items()} for found in (ours, theirs)]
    assert shapes[0].pop("AvgPool_1a") == [2, 1, 1, 1024]  # tf_slim has no end point for it
    assert list(shapes[0].items()) == list(shapes[1].items())
    assert [end_points["Predictions"].op.name for *_, end_points in (ours, theirs)] == [
        "InceptionV2/Predictions/Reshape_1"
    ] * 2
    assert ours[2].op.name == theirs[2].op.name == "InceptionV2/Logits/SpatialSqueeze"


@pytest.mark.slow
def test_outputs_of_tf_slim():
    pictures = np.random.RandomState(1).uniform(-1, 1, [2, 49, 49, 3]).astype(np.float32)
    found = []
    for net, arg_scope in (
        (inception.inception_v2, inception.inception_v2_arg_scope),
        (reference.inception_v2, reference.inception_v2_arg_scope),
    ):
        with tf.Graph().as_default(), tf.Session() as session, slim.arg_scope(arg_scope()):
            logits, _ = net(tf.constant(pictures), 5, is_training=False, depth_multiplier=0.25)
            variables = tf.global_variables()
            session.run([v.initializer for v in variables], drawn(variables))
            found.append(session.run(logits))
    assert np.ptp(found[0], axis=0).max() > 0.01  # the pictures have a part in them
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)


def drawn(variables):
    """Values with which a signal keeps its size, by what the initialisers assign."""
    values = {}
    for number, variable in enumerate(variables):
        random, shape = np.random.RandomState(number), variable.shape.as_list()
        inputs = np.prod(shape[:2] if "depthwise" in variable.op.name else shape[:-1])
        scale = (2 / inputs) ** 0.5 if len(shape) > 1 else 0.1
        is_variance = variable.op.name.endswith("variance")
        values[variable.initializer.inputs[1]] = random.normal(size=shape) * scale + is_variance
        if is_variance:
            values[variable.initializer.inputs[1]] = random.uniform(0.5, 1.5, shape)
    return values


@pytest.mark.parametrize(
    ("stem_stride", "pools"),
    [(8, ["MaxPool_2a_3x3", "MaxPool_3a_3x3"]), (4, ["MaxPool_2a_3x3"]), (2, []), (1, [])],
)
def test_stem_stride(stem_stride, pools):
    with tf.Graph().as_default():
        _, end_points = inception.inception_v2_base(
            images(5, 32, 32, 3), "Mixed_4a", stem_stride=stem_stride
        )
    sizes = {name: tensor.shape.as_list()[1] for name, tensor in end_points.items()}
    assert [name for name in sizes if name.startswith("MaxPool")] == pools
    assert sizes["Mixed_3b"] == 32 // stem_stride
    assert sizes["Mixed_4a"] == 16 // stem_stride


def test_depth_multiplier_and_the_channels_of_the_first_layer():
    found = {}
    for factor in (1.0, 0.25, 0.5):
        with tf.Graph().as_default():
            inception.inception_v2_base(
                images(1, 32, 32, 3), "Mixed_3b", depth_multiplier=factor, min_depth=16
            )
            found[factor] = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    first = "InceptionV2/Conv2d_1a_7x7/depthwise_weights"
    # 8 for each channel, or as many as make no more than there are to be: 16 / 3.
    assert [found[factor][first] for factor in found] == [[7, 7, 3, n] for n in (8, 5, 8)]
    narrow = "InceptionV2/Mixed_3b/Branch_3/Conv2d_0b_1x1/weights"
    assert [found[factor][narrow][3] for factor in found] == [32, 16, 16]
    with tf.Graph().as_default(), pytest.raises(FlagError, match="not greater than zero: 0"):
        inception.inception_v2_base(images(5, 32, 32, 3), depth_multiplier=0)


def test_a_first_layer_that_is_not_separable():
    with tf.Graph().as_default(), slim.arg_scope(inception.inception_v2_arg_scope()):
        inception.inception_v2_base(images(1, 32, 32, 3), "Conv2d_1a_7x7", use_separable_conv=False)
        shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    scope = "InceptionV2/Conv2d_1a_7x7"
    assert shapes == {
        f"{scope}/weights": [7, 7, 3, 64],
        **{f"{scope}/BatchNorm/{n}": [64] for n in ("beta", "moving_mean", "moving_variance")},
    }


def test_the_end_points_to_choose_from():
    with tf.Graph().as_default():
        _, end_points = inception.inception_v2_base(images(1, 32, 32, 3), "MaxPool_3a_3x3")
        assert list(end_points) == list(SHAPES_224)[:5]
        _, end_points = inception.inception_v2_base(
            images(1, 4, 4, 192), "Mixed_3c", include_root_block=False, scope="rest"
        )
        assert list(end_points) == ["Mixed_3b", "Mixed_3c"]
        with pytest.raises(FlagError, match="Unknown final endpoint Mixed_6a - known: Conv2d_1a"):
            inception.inception_v2_base(images(1, 32, 32, 3), final_endpoint="Mixed_6a")


def test_initial_weights():
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        with slim.arg_scope(inception.inception_v2_arg_scope()):
            inception.inception_v2_base(images(1, 32, 32, 3), "Mixed_3b")
        variables = {v.op.name.removeprefix("InceptionV2/"): v for v in tf.global_variables()}
        session.run(tf.global_variables_initializer())
        # A normal cut at 2 standard deviations keeps 0.880 of its deviation; variance scaling makes
        # up for the cut.
        for name, deviation in {
            "Conv2d_1a_7x7/depthwise_weights": 0.880,
            "Conv2d_1a_7x7/pointwise_weights": 0.880,
            "Conv2d_2b_1x1/weights": 0.1 * 0.880,
            "Conv2d_2c_3x3/weights": (2 / (9 * 64)) ** 0.5,
            "Mixed_3b/Branch_0/Conv2d_0a_1x1/weights": (2 / 192) ** 0.5,
            "Mixed_3b/Branch_1/Conv2d_0a_1x1/weights": 0.09 * 0.880,
            "Mixed_3b/Branch_2/Conv2d_0a_1x1/weights": 0.09 * 0.880,
            "Mixed_3b/Branch_3/Conv2d_0b_1x1/weights": 0.1 * 0.880,
        }.items():
            found = session.run(variables[name]).std()
            assert found == pytest.approx(deviation, rel=0.06), name


def test_features_and_pictures_of_any_size():
    with tf.Graph().as_default(), tf.Session() as session:
        small = {"depth_multiplier": 0.1, "is_training": False}
        features, end_points = inception.inception_v2(images(2, 64, 64, 3), None, **small)
        assert features is end_points["AvgPool_1a"]
        assert features.shape.as_list() == [2, 1, 1, 35 + 32 + 22 + 16]  # of 352, 320, 224, 128
        assert not {"Logits", "Predictions"} & end_points.keys()
        inputs = images(None, None, None, 3)
        logits, end_points = inception.inception_v2(
            inputs, 3, reuse=tf.AUTO_REUSE, global_pool=True, **small
        )
        session.run(tf.global_variables_initializer())
        values, maps = session.run(
            [logits, end_points["Mixed_5c"]], {inputs: np.ones([1, 65, 96, 3])}
        )
    assert logits.shape.as_list() == [None, 3]
    assert values.shape == (1, 3)
    assert maps.shape[:3] == (1, 3, 3)  # 65 / 32 and 96 / 32, rounded up


def test_signature():
    assert [
        (p.name, p.default) for p in inspect.signature(inception.inception_v2).parameters.values()
    ][1:] == [
        ("num_classes", 1000),
        ("is_training", True),
        ("dropout_keep_prob", 0.8),
        ("min_depth", 16),
        ("depth_multiplier", 1.0),
        ("prediction_fn", slim.softmax),
        ("spatial_squeeze", True),
        ("reuse", None),
        ("scope", "InceptionV2"),
        ("global_pool", False),
        ("stem_stride", None),
    ]
