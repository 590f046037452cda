"""EfficientNet: names, shapes and numbers by Table 1 of the paper, stochastic depth, arguments."""

import math

import numpy as np
import pytest

from core.compat import slim, tf
from core.errors import FlagError
from nets import efficientnet
from nets.nets_factory import NETS, get_network_fn

# Kernel, stride, expansion, filters and number of units of each stage.
TABLE = [
    *((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3)),
    *((5, 2, 6, 192, 4), (3, 1, 6, 320, 1)),
]
UNITS = {"efficientnet_b0": [1, 2, 2, 3, 3, 4, 1], "efficientnet_b1": [2, 3, 3, 4, 4, 5, 2]}
SIZES = {"efficientnet_b0": 224, "efficientnet_b1": 240}
NORM = ("beta", "gamma", "moving_mean", "moving_variance")


def images(*shape):
    return tf.placeholder(tf.float32, shape)


def ops_between(graph, inputs, outputs):
    """Types of the ops on the way from one tensor to another, but for what reads variables."""
    behind, ahead = {inputs.op}, {outputs.op}
    for op in graph.get_operations():  # in their order
        if behind & {tensor.op for tensor in op.inputs}:
            behind.add(op)
    for op in reversed(graph.get_operations()):
        if op in ahead:
            ahead |= {tensor.op for tensor in op.inputs}
    return [op.type for op in behind & ahead]


def units_of_the_paper(name):
    """(name, kernel, stride, filters in, expanded, filters out) of each unit."""
    found, channels = [], 32
    for stage, (row, count) in enumerate(zip(TABLE, UNITS[name], strict=True), start=1):
        kernel, stride, expansion, filters, _ = row
        for letter in "abcdefg"[:count]:
            expanded = expansion * channels
            found.append((f"block{stage}{letter}", kernel, stride, channels, expanded, filters))
            channels, stride = filters, 1
    return found


def layers_of_the_paper(name):
    """Of each convolution its name, the shape of its weights and the side of its output; a side
    of 1 stands for squeeze-and-excite, which has biases and no norm."""
    side = -(-SIZES[name] // 2)
    found = [("Conv", (3, 3, 3, 32), side)]
    for unit, kernel, stride, channels, expanded, filters in units_of_the_paper(name):
        if expanded > channels:
            found.append((f"{unit}/expand", (1, 1, channels, expanded), side))
        side = -(-side // stride)
        squeezed = channels // 4
        found += [
            (f"{unit}/depthwise", (kernel, kernel, expanded, 1), side),
            (f"{unit}/squeeze_excite/Conv", (1, 1, expanded, squeezed), 1),
            (f"{unit}/squeeze_excite/Conv_1", (1, 1, squeezed, expanded), 1),
            (f"{unit}/project", (1, 1, expanded, filters), side),
        ]
    return [*found, ("Conv_1", (1, 1, 320, 1280), side)]


def expected_variables(name, num_classes):
    shapes = {
        "Logits/Conv2d_1c_1x1/weights": (1, 1, 1280, num_classes),
        "Logits/Conv2d_1c_1x1/biases": (num_classes,),
    }
    for layer, weights, _ in layers_of_the_paper(name):
        is_depthwise = layer.endswith("depthwise")
        shapes[f"{layer}/{'depthwise_' * is_depthwise}weights"] = weights
        channels = weights[2] if is_depthwise else weights[3]
        if "squeeze_excite" in layer:
            shapes[f"{layer}/biases"] = (channels,)
        else:
            shapes |= {f"{layer}/BatchNorm/{part}": (channels,) for part in NORM}
    return {f"{name}/{variable}": shape for variable, shape in shapes.items()}


@pytest.fixture(scope="module", params=UNITS)
def built(request):
    """Name, shapes of end points and of variables, and types of ops, for inference."""
    name = request.param
    with tf.Graph().as_default() as graph:
        size = SIZES[name]
        inputs = images(5, size, size, 3)
        logits, end_points = get_network_fn(name, 7)(inputs)
        types = ops_between(graph, inputs, logits)
        variables = {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}
    return name, {key: t.shape.as_list() for key, t in end_points.items()}, variables, types


def test_end_points_of_the_paper(built):
    name, shapes, _, _ = built
    side = SIZES[name] // 2
    expected = {"Conv": [5, side, side, 32]}
    for unit, _, stride, _, _, filters in units_of_the_paper(name):
        side = -(-side // stride)
        expected[unit] = [5, side, side, filters]
    expected |= {"Conv_1": [5, side, side, 1280], "global_pool": [5, 1, 1, 1280]}
    expected |= {"Logits": [5, 7], "Predictions": [5, 7]}
    assert shapes == expected
    assert list(shapes) == list(expected)
    assert side == {"efficientnet_b0": 7, "efficientnet_b1": 8}[name]


def test_variables(built):
    name, _, variables, _ = built
    assert variables == expected_variables(name, 7)


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    # Table 2 of the paper: 5.3 M and 0.39 G, 7.8 M and 0.70 G (0.687 counted so).
    [("efficientnet_b0", 5_288_548, 385_814_752), ("efficientnet_b1", 7_794_184, 686_802_832)],
)
def test_numbers_of_the_paper(name, parameters, multiply_adds):
    trainable = sum(
        math.prod(shape)
        for variable, shape in expected_variables(name, 1000).items()
        if "moving" not in variable
    )
    work = 1280 * 1000
    for _, (height, width, channels, filters), side in layers_of_the_paper(name):
        work += height * width * channels * filters * side**2
    assert trainable == NETS[name].parameters == parameters
    assert work == NETS[name].multiply_adds == multiply_adds


def test_nothing_but_the_layers(built):
    """In inference: no layout is changed, nothing is cast, and no unit can be dropped."""
    name, _, _, types = built
    units = len(units_of_the_paper(name))
    expands = units - UNITS[name][0]
    norms = 2 + expands + 2 * units
    assert types.count("FusedBatchNormV3") == norms
    assert types.count("DepthwiseConv2dNative") == units
    assert types.count("Conv2D") == norms - units + 2 * units + 1
    assert types.count("Sigmoid") == norms - units + units + units  # swish and gates
    assert types.count("Mean") == units + 1
    # One shortcut for all units of a stage but its first.
    assert types.count("AddV2") == units - len(TABLE)
    forbidden = ("Transpose", "Cast", "Pad", "Dropout", "Random", "Switch", "If")
    assert not [kind for kind in types if any(part in kind for part in forbidden)]


def test_swish_and_its_gradient():
    """Of x s it is s + x s (1 - s), s being the sigmoid, times what comes from above."""
    x = np.linspace(-30, 30, 61)
    sigmoid = 1 / (1 + np.exp(-x))
    above = np.cos(x)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.constant(x, tf.float32)
        outputs = efficientnet.swish(inputs)
        (gradient,) = tf.gradients(outputs, inputs, tf.constant(above, tf.float32))
        outputs, gradient = session.run([outputs, gradient])
    np.testing.assert_allclose(outputs, x * sigmoid, rtol=1e-5, atol=1e-6)
    expected = above * (sigmoid + x * sigmoid * (1 - sigmoid))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stem_stride", [None, 2, 1])
def test_stem_stride(stem_stride):
    with tf.Graph().as_default():
        _, end_points = efficientnet.efficientnet_base(
            images(1, 32, 32, 3), unit_multiplier=0.1, stem_stride=stem_stride
        )
    sides = {name: t.shape.as_list()[1] for name, t in end_points.items()}
    first = 32 if stem_stride == 1 else 16
    assert (sides["Conv"], sides["block2a"], sides["Conv_1"]) == (first, first // 2, first // 16)


def test_stem_stride_that_does_not_exist():
    with tf.Graph().as_default(), pytest.raises(FlagError, match=r"stem_stride 4 .* from 1, 2$"):
        efficientnet.efficientnet_b0(images(1, 32, 32, 3), 7, stem_stride=4)


@pytest.mark.parametrize(
    ("factor", "arguments", "expected"),
    [
        # 1.1 x: 35.2, 17.6, 26.4, 44, 88, 123.2, 211.2, 352, 1408, to the nearest multiple of 8.
        (1.1, {}, [32, 16, 24, 48, 88, 120, 208, 352, 1408]),
        # 0.25 x: 8, 4, 6, 10, 20, 28, 48, 80, 320. 8 is a fifth less than 10, so it is 16.
        (0.25, {}, [8, 8, 8, 16, 24, 32, 48, 80, 320]),
        (0.25, {"min_depth": 16}, [16, 16, 16, 16, 24, 32, 48, 80, 320]),
    ],
)
def test_widths(factor, arguments, expected):
    with tf.Graph().as_default():
        _, end_points = efficientnet.efficientnet_base(
            images(1, 32, 32, 3), unit_multiplier=0.1, depth_multiplier=factor, **arguments
        )
        first = next(v for v in tf.global_variables() if "block2a/squeeze_excite" in v.op.name)
    ends = ["Conv", *(f"block{i}a" for i in range(1, 8)), "Conv_1"]
    assert [end_points[name].shape.as_list()[3] for name in ends] == expected
    assert first.shape.as_list() == [1, 1, 6 * expected[1], expected[1] // 4]


def test_units_are_dropped_more_often_towards_the_end():
    """Of 16 units, the i-th from 0 with probability 0.2 i / 16, if it has a shortcut."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(1)
        tf.train.get_or_create_global_step()
        efficientnet.efficientnet_base(images(None, 32, 32, 3))
        operations = graph.get_operations()
    # Dropout compares a uniform number with its rate.
    rates = {
        op.name.split("/drop_connect")[0].rpartition("/")[2]: tf.get_static_value(op.inputs[1])
        for op in operations
        if "/drop_connect/" in op.name and op.type == "GreaterEqual"
    }
    names = [name for name, *_ in units_of_the_paper("efficientnet_b0")]
    expected = {name: 0.2 * i / 16 for i, name in enumerate(names) if not name.endswith("a") and i}
    assert rates == pytest.approx(expected, abs=1e-6)


def test_dropped_units_are_their_shortcuts_picture_by_picture():
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.set_random_seed(1)
        step = tf.train.get_or_create_global_step()
        inputs = tf.constant(np.random.RandomState(0).uniform(-1, 1, [64, 32, 32, 3]), tf.float32)
        with slim.arg_scope(efficientnet.efficientnet_arg_scope()):
            _, end_points = efficientnet.efficientnet_base(
                inputs, depth_multiplier=0.25, drop_connect=0.9
            )
        session.run(tf.global_variables_initializer())
        step.load(3, session)
        before, after = (end_points[name] for name in ("block6c", "block6d"))
        unit = next(
            op.outputs[0]
            for op in graph.get_operations()
            if "/block6d/project/" in op.name and op.type == "FusedBatchNormV3"
        )
        first = session.run([before, unit, after])
        again = session.run([before, unit, after])
    np.testing.assert_array_equal(first[2], again[2])  # the same step, the same units
    before, unit, after = first
    dropped = (after == before).all(axis=(1, 2, 3))
    # It is the 14th of 16 from 0, so dropped by 0.9 x 14 / 16 = 0.7875: 50.4 of 64, give or take
    # 3.3 (one standard deviation).
    assert 37 < dropped.sum() < 64
    kept = before + unit / (1 - 0.7875)
    np.testing.assert_allclose(after[~dropped], kept[~dropped], rtol=1e-4, atol=1e-4)


def test_drop_connect_off_and_training_decided_at_run_time():
    with tf.Graph().as_default(), tf.Session() as session:
        training = tf.placeholder(tf.bool, [])
        inputs = tf.constant(np.random.RandomState(0).uniform(-1, 1, [4, 32, 32, 3]), tf.float32)
        arguments = {"depth_multiplier": 0.1, "dropout_keep_prob": 1.0}
        plain, _ = efficientnet.efficientnet_b0(inputs, 7, is_training=False, **arguments)
        chosen, _ = efficientnet.efficientnet_b0(
            inputs, 7, is_training=training, reuse=True, **arguments
        )
        whole, _ = efficientnet.efficientnet_b0(
            inputs, 7, reuse=True, drop_connect=0.0, **arguments
        )
        session.run(tf.global_variables_initializer())
        of_inference, same = session.run([plain, chosen], {training: False})
        np.testing.assert_allclose(same, of_inference, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(session.run(whole), session.run(whole))


def test_pools_unknown_sizes_and_keeps_windows():
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = images(None, None, None, 3)
        arguments = {"depth_multiplier": 0.1, "is_training": False}
        logits, end_points = efficientnet.efficientnet_b0(inputs, 7, **arguments)
        session.run(tf.global_variables_initializer())
        fetched = session.run(
            [logits, end_points["Conv_1"]], {inputs: np.ones([2, 65, 96, 3], np.float32)}
        )
        assert [value.shape for value in fetched] == [(2, 7), (2, 3, 3, 128)]
        _, windows = efficientnet.efficientnet_b0(
            images(1, 64, 64, 3), 7, reuse=True, global_pool=False, prediction_fn=None, **arguments
        )
        assert windows["AvgPool_1a"].shape.as_list() == [1, 1, 1, 128]
        assert "Predictions" not in windows
        with pytest.raises(FlagError, match=r"2x2 after the pool .* global_pool=True"):
            efficientnet.efficientnet_b0(
                images(1, 256, 256, 3), 7, reuse=True, global_pool=False, **arguments
            )


def test_arg_scope():
    with tf.Graph().as_default():
        with slim.arg_scope(efficientnet.efficientnet_arg_scope()):
            efficientnet.efficientnet_b0(images(1, 32, 32, 3), 7, depth_multiplier=0.1)
        losses = tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
        norms = [op for op in tf.get_default_graph().get_operations() if "BatchNormV3" in op.type]
        weights = [v for v in tf.trainable_variables() if v.op.name.endswith("weights")]
        head = [v for v in tf.global_variables() if "Conv2d_1c_1x1/weights" in v.op.name]
        stem = [v for v in tf.global_variables() if "Conv/weights" in v.op.name]
        with tf.Session() as session:
            session.run([v.initializer for v in head + stem])
            head, stem = session.run([head[0], stem[0]])
    assert len(losses) == 82
    assert len(losses) == len(weights)
    assert {round(op.get_attr("epsilon"), 6) for op in norms} == {0.001}
    limit = (6 / (128 + 7)) ** 0.5  # 128 features, 7 classes
    assert 0.95 * limit < np.abs(head).max() <= limit
    assert stem.std() == pytest.approx((2 / (9 * 8)) ** 0.5, rel=0.3)  # fan out 3 x 3 x 8 filters
