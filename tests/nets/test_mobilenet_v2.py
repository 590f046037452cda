"""MobileNet v2: names, shapes, numbers and the keyword arguments of its functions."""

import inspect
import math

import numpy as np
import pytest

from core.compat import slim, tf
from nets import mobilenet_utils, mobilenet_v2
from nets.nets_factory import NETS

# Rows of bottlenecks in Table 2 of the paper: expansion, number, stride of the first.
ROWS = [(1, 1, 1), (6, 2, 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1)]
# Depths of the first convolution, of the rows and of the last convolution: Table 2, times the
# factor to the nearest multiple of 8, upwards where that is less than nine tenths.
DEPTHS = {
    "mobilenet_v2": (32, 16, 24, 32, 64, 96, 160, 320, 1280),
    "mobilenet_v2_140": (48, 24, 32, 48, 88, 136, 224, 448, 1792),
    "mobilenet_v2_075": (24, 16, 24, 24, 48, 72, 120, 240, 1280),
    "mobilenet_v2_050": (16, 8, 16, 16, 32, 48, 80, 160, 1280),
    "mobilenet_v2_035": (16, 8, 8, 16, 24, 32, 56, 112, 1280),
}


def convolutions(name, size=224):
    """By scope: shape of the weights, size of the map that is left."""
    first, *rows, last = DEPTHS[name]
    size, depth, number = -(-size // 2), first, 0
    found = {"Conv": ((3, 3, 3, first), size)}
    for (expansion, count, row_stride), out in zip(ROWS, rows, strict=True):
        for stride in (row_stride, *[1] * (count - 1)):
            scope, between = f"expanded_conv_{number}" if number else "expanded_conv", depth
            if expansion > 1:
                between = expansion * depth
                found[f"{scope}/expand"] = ((1, 1, depth, between), size)
            size = -(-size // stride)
            found[f"{scope}/depthwise"] = ((3, 3, between, 1), size)
            found[f"{scope}/project"] = ((1, 1, between, out), size)
            depth, number = out, number + 1
    return found | {"Conv_1": ((1, 1, depth, last), size)}


def expected_end_points(name="mobilenet_v2", size=224, batch=5):
    """Shapes of all end points of the base."""
    kinds = {"expand": "expansion_output", "depthwise": "depthwise_output", "project": "output"}
    shapes, layer = {}, 1
    for scope, (weights, map_size) in convolutions(name, size).items():
        part = scope.partition("/")[2]
        depth = weights[2] if part == "depthwise" else weights[3]
        shape = [batch, map_size, map_size, depth]
        if part:
            shapes[f"layer_{layer}/{kinds[part]}"] = shape
        if part in ("", "project"):
            shapes[f"layer_{layer}"] = shape
            layer += 1
    return shapes


def images(*shape):
    return tf.placeholder(tf.float32, shape)


def shapes_of(end_points):
    return {name: tensor.shape.as_list() for name, tensor in end_points.items()}


@pytest.mark.parametrize(
    ("name", "explicit"), [("mobilenet_v2", False), ("mobilenet_v2_140", True)]
)
def test_end_points_of_the_base(name, explicit):
    factor = {"mobilenet_v2": 1.0, "mobilenet_v2_140": 1.4}[name]
    with tf.Graph().as_default():
        net, end_points = mobilenet_v2.mobilenet_v2_base(
            images(5, 224, 224, 3), depth_multiplier=factor, use_explicit_padding=explicit
        )
    expected = expected_end_points(name)
    assert shapes_of(end_points) == expected
    assert list(end_points) == list(expected)
    assert len([key for key in expected if "/" not in key]) == 19
    assert net is end_points["layer_19"]
    assert net.shape.as_list()[1:3] == [7, 7]


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v2_035"])
def test_published_names_and_shapes(name):
    net = getattr(mobilenet_v2, name)
    with tf.Graph().as_default():
        with slim.arg_scope(mobilenet_v2.mobilenet_arg_scope()):
            logits, end_points = net(images(5, 32, 32, 3), 1001)
        shapes = {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}
        regularized = [t.op.name for t in tf.get_collection("regularization_losses")]
    expected = {
        "MobilenetV2/Logits/Conv2d_1c_1x1/weights": (1, 1, 1280, 1001),
        "MobilenetV2/Logits/Conv2d_1c_1x1/biases": (1001,),
    }
    for scope, (weights, _) in convolutions(name).items():
        is_depthwise = scope.endswith("depthwise")
        scope = f"MobilenetV2/{scope}"
        expected[f"{scope}/depthwise_weights" if is_depthwise else f"{scope}/weights"] = weights
        for norm in ("gamma", "beta", "moving_mean", "moving_variance"):
            expected[f"{scope}/BatchNorm/{norm}"] = (weights[2 if is_depthwise else 3],)
    assert shapes == expected
    assert not any("depthwise" in name for name in regularized)
    assert logits.op.name == "MobilenetV2/Logits/SpatialSqueeze"
    assert end_points["Predictions"].op.name == "MobilenetV2/Predictions/Reshape_1"
    assert end_points["layer_4/output"].op.name == "MobilenetV2/expanded_conv_2/output"
    assert list(end_points)[-4:] == ["layer_19", "global_pool", "Logits", "Predictions"]
    assert end_points["global_pool"].shape.as_list() == [5, 1, 1, 1280]


@pytest.mark.parametrize("name", DEPTHS)
def test_registered_cost_by_the_table(name):
    weights = [math.prod(shape) for shape, _ in convolutions(name).values()]
    norms = [shape[2 if shape[3] == 1 else 3] for shape, _ in convolutions(name).values()]
    work = [math.prod(shape) * size**2 for shape, size in convolutions(name).values()]
    head = DEPTHS[name][-1] * 1000
    assert NETS[name].parameters == sum(weights) + 2 * sum(norms) + head + 1000
    assert NETS[name].multiply_adds == sum(work) + head


def test_numbers_of_the_paper():
    """3.4 M parameters and 300 M multiply-adds (Table 4), 3.47 M without those of batch norm.

    What research/slim publishes for the others counts so, and shows that their last layer is not
    thinner: 6.06, 2.61, 1.95 and 1.66 M.
    """
    weights = {
        name: sum(math.prod(shape) for shape, _ in convolutions(name).values()) for name in DEPTHS
    }
    with_head = [weights[name] + DEPTHS[name][-1] * 1000 + 1000 for name in DEPTHS]
    assert [round(count / 1e6, 2) for count in with_head] == [3.47, 6.06, 2.61, 1.95, 1.66]
    assert weights["mobilenet_v2"] == 2_189_760
    assert NETS["mobilenet_v2"].multiply_adds == 299_494_272 + 1_280_000


def test_shortcuts():
    """A bottleneck that keeps the shape of its input adds it."""
    with tf.Graph().as_default():
        _, end_points = mobilenet_v2.mobilenet_v2_base(images(1, 64, 64, 3))
    added = [i for i in range(2, 19) if end_points[f"layer_{i}"].op.type.startswith("Add")]
    assert added == [4, 6, 7, 9, 10, 11, 13, 14, 16, 17]
    for i in added:
        assert end_points[f"layer_{i - 1}"] in list(end_points[f"layer_{i}"].op.inputs)


@pytest.mark.parametrize(("stem_stride", "explicit"), [(1, False), (2, True), (4, False)])
def test_stem_stride(stem_stride, explicit):
    """From layer_3 on maps are those of pictures 4 / stem_stride times as large."""
    with tf.Graph().as_default():
        _, end_points = mobilenet_v2.mobilenet_v2_base(
            images(5, 32, 32, 3), stem_stride=stem_stride, use_explicit_padding=explicit
        )
    shapes, expected = shapes_of(end_points), expected_end_points(size=128 // stem_stride)
    assert shapes.keys() == expected.keys()
    later = list(expected)[list(expected).index("layer_3/depthwise_output") :]
    assert {name: shapes[name] for name in later} == {name: expected[name] for name in later}
    assert shapes["layer_1"] == [5, *[32 if stem_stride == 1 else 16] * 2, 32]
    assert shapes["layer_19"] == [5, *[4 // stem_stride] * 2, 1280]


@pytest.mark.parametrize("explicit", [False, True])
def test_atrous_output_holds_the_strided_one(explicit):
    """A shortcut depends on the stride of the block, not on what an atrous rate makes of it."""
    layers = [mobilenet_utils.Conv(8, 3, stride=2)]
    layers += [mobilenet_utils.Bottleneck(8, 2, stride) for stride in (2, 2, 2, 1, 2, 1)]
    layers += [mobilenet_utils.Conv(8, 1)]
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        inputs = tf.constant(np.random.RandomState(1).uniform(-1, 1, [1, 65, 65, 3]), tf.float32)
        outputs = []
        with slim.arg_scope(mobilenet_v2.mobilenet_arg_scope(is_training=False, stddev=0.5)):
            for stride in (None, 8):
                with tf.variable_scope("net", reuse=tf.AUTO_REUSE) as scope:
                    net, _ = mobilenet_utils.mobilenet_base(
                        inputs,
                        layers,
                        output_stride=stride,
                        use_explicit_padding=explicit,
                        scope=scope,
                    )
                    outputs.append(net)
        session.run(tf.global_variables_initializer())
        strided, dense = session.run(outputs)
    # 65 = 2 x 32 + 1, so the samples of all strides fall on the same pixels.
    assert strided.shape == (1, 3, 3, 8)
    assert np.abs(strided).max() > 0
    np.testing.assert_allclose(dense[:, ::4, ::4], strided, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("final_endpoint", ["layer_1", "layer_5", "layer_18"])
def test_final_endpoint(final_endpoint):
    with tf.Graph().as_default():
        net, end_points = mobilenet_v2.mobilenet_v2_base(
            images(1, 32, 32, 3), final_endpoint=final_endpoint
        )
    assert list(end_points)[-1] == final_endpoint
    assert net is end_points[final_endpoint]


def test_depths():
    """All but the last layer are thinned, to a multiple of 8 and no less than min_depth."""
    with tf.Graph().as_default():
        _, end_points = mobilenet_v2.mobilenet_v2_base(
            images(1, 32, 32, 3), depth_multiplier=0.1, min_depth=16
        )
    shapes = shapes_of(end_points)
    depths = [shapes[f"layer_{i}"][3] for i in range(1, 20)]
    assert depths == [16] * 17 + [32, 1280]  # 0.1 x 320
    assert shapes["layer_18/depthwise_output"][3] == 96


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"final_endpoint": "layer_20"}, "Unknown final endpoint layer_20 - known: layer_1, "),
        ({"final_endpoint": "layer_2/output"}, "Unknown final endpoint layer_2/output"),
        ({"output_stride": 6}, "output_stride is not a power of 2 up to 32: 6"),
        ({"depth_multiplier": 0.0}, "depth_multiplier is not greater than zero: 0.0"),
        ({"stem_stride": 8}, "stem_stride 8 is not among those of the net - choose from 1, 2, 4"),
    ],
)
def test_errors_of_the_base(arguments, message):
    with tf.Graph().as_default(), pytest.raises(ValueError, match=message):
        mobilenet_v2.mobilenet_v2_base(images(1, 32, 32, 3), **arguments)


def test_rank_error():
    with tf.Graph().as_default(), pytest.raises(ValueError, match="expected 4, was: 3"):
        mobilenet_v2.mobilenet_v2(images(32, 32, 3))


def test_head():
    with tf.Graph().as_default():
        inputs = images(1, 300, 300, 3)
        features, end_points = mobilenet_v2.mobilenet_v2(inputs, None)
        logits, others = mobilenet_v2.mobilenet_v2(
            inputs, 3, reuse=tf.AUTO_REUSE, prediction_fn=None, spatial_squeeze=False
        )
    assert features.shape.as_list() == [1, 1, 1, 1280]
    assert features is end_points["global_pool"]
    assert not {"Logits", "Predictions"} & end_points.keys()
    assert logits.shape.as_list() == [1, 1, 1, 3]
    assert others["Logits"] is logits
    assert "Predictions" not in others


@pytest.mark.parametrize("is_training", [None, True, False])
def test_arg_scope(is_training):
    scope = mobilenet_v2.mobilenet_arg_scope(is_training=is_training)
    arguments = scope[slim.arg_scope_func_key(slim.batch_norm)]
    assert ("is_training" in arguments) == (is_training is not None)
    assert (arguments["decay"], arguments["epsilon"]) == (0.997, 0.001)
    assert (arguments["center"], arguments["scale"]) == (True, True)


def test_train_then_evaluate_with_reuse_and_unknown_sizes():
    layers = mobilenet_v2.MOBILENETV2_CONV_DEFS[:4]
    with tf.Graph().as_default(), tf.Session() as session:
        scope = mobilenet_v2.mobilenet_arg_scope()
        with slim.arg_scope(scope):
            mobilenet_v2.mobilenet_v2(images(2, 64, 64, 3), 3, conv_defs=layers)
            count = len(tf.global_variables())
            updates = len(tf.get_collection(tf.GraphKeys.UPDATE_OPS))
            inputs = images(None, None, None, 3)
            logits, end_points = mobilenet_v2.mobilenet_v2(
                inputs, 3, is_training=False, reuse=True, conv_defs=layers
            )
        assert len(tf.global_variables()) == count
        assert len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)) == updates == 2 * 9
        session.run(tf.global_variables_initializer())
        values, maps = session.run(
            [logits, end_points["layer_4"]], {inputs: np.ones([1, 65, 97, 3])}
        )
    assert logits.shape.as_list() == [None, 3]
    assert values.shape == (1, 3)
    assert maps.shape == (1, 17, 25, 24)


def test_signatures():
    parameters = inspect.signature(mobilenet_v2.mobilenet_v2).parameters.values()
    assert [(p.name, p.default) for p in parameters][1:] == [
        ("num_classes", 1000),
        ("dropout_keep_prob", 0.8),
        ("is_training", True),
        ("min_depth", 8),
        ("depth_multiplier", 1.0),
        ("conv_defs", None),
        ("prediction_fn", slim.softmax),
        ("spatial_squeeze", True),
        ("reuse", None),
        ("scope", "MobilenetV2"),
        ("stem_stride", None),
    ]
