"""MobileNet v3: names, shapes, numbers and what it has that MobileNet v2 has not."""

import inspect
import math

import numpy as np
import pytest

from core.compat import slim, tf
from nets import mobilenet_utils, mobilenet_v3
from nets.nets_factory import NETS

# Tables 1 and 2 of the paper, bottlenecks alone: kernel, channels between, channels out, whether
# there is squeeze-and-excite, whether there is hard swish, stride.
LARGE = [
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
]
SMALL = [
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
]
# A quarter, to the nearest multiple of 8, half of it up.
SQUEEZED = {16: 8, 72: 24, 96: 24, 120: 32, 144: 40, 240: 64, 288: 72}
SQUEEZED |= {480: 120, 576: 144, 672: 168, 960: 240}
# Bottlenecks, the last convolution of maps, that of pooled features.
TABLES = {"mobilenet_v3_large": (LARGE, 960, 1280), "mobilenet_v3_small": (SMALL, 576, 1024)}


def convolutions(name, size=224):
    """By scope: shape of the weights, size of the map that is left, whether it is normalised."""
    rows, last, features = TABLES[name]
    size, depth = -(-size // 2), 16
    found = {"Conv": ((3, 3, 3, 16), size, True)}
    for number, (kernel, between, out, squeeze, _, stride) in enumerate(rows):
        scope = f"expanded_conv_{number}" if number else "expanded_conv"
        if between != depth:
            found[f"{scope}/expand"] = ((1, 1, depth, between), size, True)
        size = -(-size // stride)
        found[f"{scope}/depthwise"] = ((kernel, kernel, between, 1), size, True)
        if squeeze:
            less = SQUEEZED[between]
            found[f"{scope}/squeeze_excite/Conv"] = ((1, 1, between, less), 1, False)
            found[f"{scope}/squeeze_excite/Conv_1"] = ((1, 1, less, between), 1, False)
        found[f"{scope}/project"] = ((1, 1, between, out), size, True)
        depth = out
    found["Conv_1"] = ((1, 1, depth, last), size, True)
    found["Conv_2"] = ((1, 1, last, features), 1, False)
    return found


def images(*shape):
    return tf.placeholder(tf.float32, shape)


def shapes_of(end_points):
    return {name: tensor.shape.as_list() for name, tensor in end_points.items()}


def base_of(name, inputs, **arguments):
    conv_defs = {
        "mobilenet_v3_large": mobilenet_v3.MOBILENETV3_LARGE_CONV_DEFS,
        "mobilenet_v3_small": mobilenet_v3.MOBILENETV3_SMALL_CONV_DEFS,
    }
    return mobilenet_v3.mobilenet_v3_base(inputs, conv_defs=conv_defs[name], **arguments)


def expected_end_points(name, size=224):
    rows, last, features = TABLES[name]
    size, depth = size // 2, 16
    shapes = {"layer_1": [5, size, size, 16]}
    for layer, (_, between, out, _, _, stride) in enumerate(rows, start=2):
        if between != depth:
            shapes[f"layer_{layer}/expansion_output"] = [5, size, size, between]
        size = -(-size // stride)
        shapes[f"layer_{layer}/depthwise_output"] = [5, size, size, between]
        shapes[f"layer_{layer}/output"] = [5, size, size, out]
        shapes[f"layer_{layer}"] = [5, size, size, out]
        depth = out
    layer = len(rows) + 2
    shapes[f"layer_{layer}"] = [5, size, size, last]
    shapes[f"layer_{layer + 1}"] = [5, 1, 1, last]
    shapes[f"layer_{layer + 2}"] = [5, 1, 1, features]
    return shapes


@pytest.mark.parametrize("name", TABLES)
def test_end_points_of_the_base(name):
    with tf.Graph().as_default() as graph:
        net, end_points = base_of(name, images(5, 224, 224, 3))
        types = [op.type for op in graph.get_operations()]
    expected = expected_end_points(name)
    assert shapes_of(end_points) == expected
    assert list(end_points) == list(expected)
    assert net is list(end_points.values())[-1]
    # No work beyond that of the table: one mean per squeeze-and-excite and the pool.
    assert types.count("Mean") == sum(row[3] for row in TABLES[name][0]) + 1


@pytest.mark.parametrize("name", TABLES)
def test_published_names_and_shapes(name):
    net = getattr(mobilenet_v3, name)
    with tf.Graph().as_default() as graph:
        with slim.arg_scope(mobilenet_v3.mobilenet_arg_scope()):
            logits, end_points = net(images(5, 32, 32, 3), 1001)
        shapes = {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}
        regularized = [t.op.name for t in tf.get_collection("regularization_losses")]
        types = [op.type for op in graph.get_operations()]
    features = TABLES[name][2]
    expected = {
        "MobilenetV3/Logits/Conv2d_1c_1x1/weights": (1, 1, features, 1001),
        "MobilenetV3/Logits/Conv2d_1c_1x1/biases": (1001,),
    }
    for scope, (weights, _, normalized) in convolutions(name).items():
        is_depthwise = scope.endswith("depthwise")
        scope = f"MobilenetV3/{scope}"
        channels = (weights[2 if is_depthwise else 3],)
        expected[f"{scope}/depthwise_weights" if is_depthwise else f"{scope}/weights"] = weights
        if normalized:
            for norm in ("gamma", "beta", "moving_mean", "moving_variance"):
                expected[f"{scope}/BatchNorm/{norm}"] = channels
        else:
            expected[f"{scope}/biases"] = channels
    assert shapes == expected
    normalized = [scope for scope, (_, _, norm) in convolutions(name).items() if norm]
    assert types.count("FusedBatchNormV3") == len(normalized)
    assert types.count("Rsqrt") == 0
    assert not any("depthwise" in name for name in regularized)
    assert logits.op.name == "MobilenetV3/Logits/SpatialSqueeze"
    assert end_points["Predictions"].op.name == "MobilenetV3/Predictions/Reshape_1"
    last = f"layer_{len(TABLES[name][0]) + 4}"
    assert list(end_points)[-4:] == [last, "global_pool", "Logits", "Predictions"]
    assert end_points["global_pool"] is end_points[last]


@pytest.mark.parametrize("name", TABLES)
def test_registered_cost_by_the_table(name):
    """5.4 M parameters and 219 M multiply-adds, 2.5 M and 56 M in the paper (Table 3)."""
    found = convolutions(name).values()
    weights = sum(math.prod(shape) for shape, _, _ in found)
    channels = [(shape[2 if shape[3] == 1 else 3], norm) for shape, _, norm in found]
    others = sum(2 * count if norm else count for count, norm in channels)
    work = sum(math.prod(shape) * size**2 for shape, size, _ in found)
    head = TABLES[name][2] * 1000
    assert NETS[name].parameters == weights + others + head + 1000
    assert NETS[name].multiply_adds == work + head
    assert (weights, work) == {
        "mobilenet_v3_large": (4_171_272, 215_309_760),
        "mobilenet_v3_small": (1_501_832, 55_486_400),
    }[name]


@pytest.mark.parametrize("name", TABLES)
def test_activations(name):
    """Relu and hard swish where the tables have them, no activation behind a bottleneck."""
    with tf.Graph().as_default():
        _, end_points = base_of(name, images(1, 64, 64, 3))
    rows = TABLES[name][0]
    for layer, (_, _, _, squeeze, swish, _) in enumerate(rows, start=2):
        for part in ("expansion_output", "depthwise_output"):
            tensor = end_points.get(f"layer_{layer}/{part}")
            if tensor is not None:
                assert tensor.op.type == ("Mul" if swish else "Relu")
                assert ("hard_swish" in tensor.op.name) == swish
        assert "Relu" not in end_points[f"layer_{layer}"].op.type
        depthwise = end_points[f"layer_{layer}/depthwise_output"]
        assert any("squeeze_excite" in op.name for op in depthwise.consumers()) == squeeze
    for layer in (1, len(rows) + 2, len(rows) + 4):
        assert "hard_swish" in end_points[f"layer_{layer}"].op.name


def test_hard_functions():
    points = [-4.0, -3.0, -1.5, 0.0, 1.5, 3.0, 5.0]
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.constant(points)
        sigmoid, swish = session.run(
            [mobilenet_v3.hard_sigmoid(inputs), mobilenet_v3.hard_swish(inputs)]
        )
    np.testing.assert_allclose(sigmoid, [0, 0, 0.25, 0.5, 0.75, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(swish, [0, 0, -0.375, 0, 1.125, 3, 5], rtol=1e-6)


def test_squeeze_and_excite_weighs_channels():
    """With all weights 1, the projection sums up the channels by their gates: half the first."""
    block = mobilenet_v3.Bottleneck(1, 1, 1, 1, tf.nn.relu, mobilenet_v3.hard_sigmoid)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.constant(np.arange(1, 33).reshape([1, 2, 2, 8]), tf.float32)
        with slim.arg_scope(
            [slim.conv2d, slim.separable_conv2d], weights_initializer=tf.ones_initializer()
        ):
            net, _ = mobilenet_utils.expanded_conv(inputs, block, stride=1)
        session.run(tf.global_variables_initializer())
        gate = next(v for v in tf.global_variables() if "squeeze_excite/Conv_1/bi" in v.op.name)
        # The means of the channels are 132 in sum, which the second layer adds up 8 times: 1,056.
        gate.load(np.array([-1056, *[-2000] * 7], np.float32), session)
        values = session.run(net)
    np.testing.assert_allclose(values[0, :, :, 0], [[0.5, 4.5], [8.5, 12.5]], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "stem_stride", "size"), [("large", 1, 4), ("large", 2, 2), ("small", 1, 4)]
)
def test_stem_stride(name, stem_stride, size):
    """The stem of the large net ends with layer_3, that of the small one with layer_2."""
    name = f"mobilenet_v3_{name}"
    with tf.Graph().as_default():
        _, end_points = base_of(name, images(5, 32, 32, 3), stem_stride=stem_stride)
    shapes = shapes_of(end_points)
    assert shapes["layer_1"][1:3] == [32 if stem_stride == 1 else 16] * 2
    last_map = {"mobilenet_v3_large": "layer_17", "mobilenet_v3_small": "layer_13"}[name]
    assert shapes[last_map][1:3] == [size, size]


def test_depths_at_three_quarters():
    """What research/slim publishes as v3-large at 0.75: its last layer is not thinner."""
    with tf.Graph().as_default():
        _, end_points = base_of("mobilenet_v3_large", images(1, 32, 32, 3), depth_multiplier=0.75)
    shapes = shapes_of(end_points)
    depths = [shapes[f"layer_{i}"][3] for i in range(1, 20)]
    # 12 and 18 come out at 16 and 24, since 8 and 16 are less than nine tenths; 30, 60 and 84 are
    # rounded up half-way.
    expected = [16, 16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 88, 88, 120, 120, 120, 720, 720, 1280]
    assert depths == expected
    assert shapes["layer_10/depthwise_output"][3] == 144  # 184 / 80 x 64 = 147.2


def test_dense_maps_and_unknown_sizes():
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = images(None, None, None, 3)
        dense, _ = base_of(
            "mobilenet_v3_small",
            inputs,
            final_endpoint="layer_13",
            output_stride=16,
            use_explicit_padding=True,
            depth_multiplier=0.1,
        )
        logits, _ = mobilenet_v3.mobilenet_v3_small(
            inputs, 3, is_training=False, reuse=tf.AUTO_REUSE, depth_multiplier=0.1
        )
        session.run(tf.global_variables_initializer())
        maps, values = session.run([dense, logits], {inputs: np.ones([1, 65, 97, 3])})
    assert maps.shape == (1, 5, 7, 56)  # 57.6 filters
    assert values.shape == (1, 3)


def test_without_classes():
    with tf.Graph().as_default():
        features, end_points = mobilenet_v3.mobilenet_v3_small(images(1, 300, 300, 3), 0)
    assert features.shape.as_list() == [1, 1, 1, 1024]
    assert not {"Logits", "Predictions"} & end_points.keys()


def test_signatures():
    parameters = inspect.signature(mobilenet_v3.mobilenet_v3_small).parameters
    assert list(parameters)[1:] == [
        "num_classes",
        "dropout_keep_prob",
        "is_training",
        "min_depth",
        "depth_multiplier",
        "conv_defs",
        "prediction_fn",
        "spatial_squeeze",
        "reuse",
        "scope",
        "stem_stride",
    ]
    assert mobilenet_v3.mobilenet_v3_large.default_image_size == 224
    assert mobilenet_v3.mobilenet_v3_small.head_scopes == ("MobilenetV3/Logits",)
