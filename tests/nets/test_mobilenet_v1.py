"""MobileNet v1: names, shapes, numbers and the keyword arguments of its functions."""

import inspect

import numpy as np
import pytest

from core.compat import slim, tf
from nets import mobilenet_v1

# Table 1 of the paper at 224x224: size of the map and channels behind each layer pair.
PAIRS_224 = [
    (112, 64),
    (56, 128),
    (56, 128),
    (28, 256),
    (28, 256),
    (14, 512),
    (14, 512),
    (14, 512),
    (14, 512),
    (14, 512),
    (14, 512),
    (7, 1024),
    (7, 1024),
]
NAMES = ["Conv2d_0"] + [
    f"Conv2d_{i}_{part}" for i in range(1, 14) for part in ("depthwise", "pointwise")
]


def expected_shapes(min_size=0, factor=1.0, image_size=224):
    """Shapes of all end points, batch 5; sizes below min_size are held there."""
    shapes, depth = {"Conv2d_0": (112, 32)}, 32
    for i, (size, out_depth) in enumerate(PAIRS_224, start=1):
        shapes[f"Conv2d_{i}_depthwise"] = (size, depth)
        shapes[f"Conv2d_{i}_pointwise"] = (size, out_depth)
        depth = out_depth
    return {
        name: [5, *[max(-(-size * image_size // 224), min_size)] * 2, int(depth * factor)]
        for name, (size, depth) in shapes.items()
    }


def images(*shape):
    return tf.placeholder(tf.float32, shape)


def shapes_of(end_points):
    return {name: tensor.shape.as_list() for name, tensor in end_points.items()}


@pytest.mark.parametrize(
    ("image_size", "output_stride", "factor", "min_size", "explicit"),
    [
        (224, None, 1.0, 0, False),
        (224, 32, 1.0, 0, True),
        (224, 16, 1.0, 14, False),
        (224, 8, 1.0, 28, True),
        (128, None, 0.75, 0, True),
        (32, None, 0.5, 0, False),
    ],
)
def test_end_points_of_the_base(image_size, output_stride, factor, min_size, explicit):
    with tf.Graph().as_default():
        net, end_points = mobilenet_v1.mobilenet_v1_base(
            images(5, image_size, image_size, 3),
            output_stride=output_stride,
            depth_multiplier=factor,
            use_explicit_padding=explicit,
        )
    assert shapes_of(end_points) == expected_shapes(min_size, factor, image_size)
    assert list(end_points) == NAMES
    assert net is end_points["Conv2d_13_pointwise"]


@pytest.mark.parametrize(("stem_stride", "explicit"), [(1, False), (1, True), (2, False)])
def test_stem_stride(stem_stride, explicit):
    """Stride 1 leaves the maps that pictures of twice the size have otherwise."""
    with tf.Graph().as_default():
        _, end_points = mobilenet_v1.mobilenet_v1_base(
            images(5, 64, 64, 3), stem_stride=stem_stride, use_explicit_padding=explicit
        )
    assert shapes_of(end_points) == expected_shapes(image_size=128 // stem_stride)


@pytest.mark.parametrize(("output_stride", "explicit"), [(8, False), (8, True)])
def test_atrous_output_holds_the_strided_one(output_stride, explicit):
    layers = [mobilenet_v1.Conv([3, 3], 2, 8)]
    layers += [mobilenet_v1.DepthSepConv([3, 3], stride, 8) for stride in (2, 2, 2, 1, 2, 1)]
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        inputs = tf.constant(np.random.RandomState(1).uniform(-1, 1, [1, 65, 65, 3]), tf.float32)
        outputs = []
        with slim.arg_scope(mobilenet_v1.mobilenet_v1_arg_scope(is_training=False, stddev=0.5)):
            for stride in (None, output_stride):
                with tf.variable_scope("net", reuse=tf.AUTO_REUSE) as scope:
                    outputs.append(
                        mobilenet_v1.mobilenet_v1_base(
                            inputs,
                            final_endpoint="Conv2d_6_pointwise",
                            conv_defs=layers,
                            output_stride=stride,
                            use_explicit_padding=explicit,
                            scope=scope,
                        )[0]
                    )
        session.run(tf.global_variables_initializer())
        strided, dense = session.run(outputs)
    # 65 = 2 x 32 + 1, so the samples of all strides fall on the same pixels.
    step = 32 // output_stride
    assert strided.shape == (1, 3, 3, 8)
    assert np.abs(strided).max() > 0
    np.testing.assert_allclose(dense[:, ::step, ::step], strided, rtol=1e-3, atol=1e-4)


def test_every_final_endpoint():
    with tf.Graph().as_default():
        for i, name in enumerate(NAMES):
            with tf.variable_scope("net", reuse=tf.AUTO_REUSE) as scope:
                net, end_points = mobilenet_v1.mobilenet_v1_base(
                    images(1, 32, 32, 3), final_endpoint=name, scope=scope
                )
            assert list(end_points) == NAMES[: i + 1]
            assert f"/net/{name}/" in f"{net.op.name}/"


def test_own_conv_defs():
    conv_defs = [
        mobilenet_v1.Conv(kernel=[3, 3], stride=2, depth=32),
        mobilenet_v1.DepthSepConv(kernel=[3, 3], stride=2, depth=128),
        mobilenet_v1.DepthSepConv(kernel=[5, 5], stride=1, depth=4),
    ]
    with tf.Graph().as_default():
        net, end_points = mobilenet_v1.mobilenet_v1_base(
            images(5, 224, 224, 3),
            final_endpoint="Conv2d_2_pointwise",
            conv_defs=conv_defs,
            use_explicit_padding=True,
        )
        kernel = next(v for v in tf.global_variables() if "Conv2d_2_depthwise" in v.op.name)
    assert net.shape.as_list() == [5, 56, 56, 8]  # min_depth
    assert list(end_points) == NAMES[:5]
    assert kernel.shape.as_list() == [5, 5, 128, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"final_endpoint": "Conv2d_14"}, "Unknown final endpoint Conv2d_14 - known: Conv2d_0, "),
        ({"output_stride": 4}, "Only allowed output_stride values are 8, 16, 32: got 4"),
        ({"depth_multiplier": 0.0}, "depth_multiplier is not greater than zero: 0.0"),
        ({"depth_multiplier": -0.1}, "depth_multiplier is not greater than zero: -0.1"),
    ],
)
def test_errors_of_the_base(arguments, message):
    with tf.Graph().as_default(), pytest.raises(ValueError, match=message):
        mobilenet_v1.mobilenet_v1_base(images(1, 32, 32, 3), **arguments)


def test_rank_error():
    with tf.Graph().as_default(), pytest.raises(ValueError, match="expected 4, was: 3"):
        mobilenet_v1.mobilenet_v1(images(32, 32, 3))


def test_too_large_images_are_an_error_with_a_remedy():
    # 416 / 32 = 13; (13 - 7) // 2 + 1 = 4.
    with tf.Graph().as_default(), pytest.raises(ValueError, match=r"4x4 .* use smaller images"):
        mobilenet_v1.mobilenet_v1(images(1, 416, 416, 3), 10)


def test_published_names_and_numbers():
    with tf.Graph().as_default():
        with slim.arg_scope(mobilenet_v1.mobilenet_v1_arg_scope()):
            logits, end_points = mobilenet_v1.mobilenet_v1(images(5, 224, 224, 3), 1001)
        shapes = {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}
        trainable = sum(int(np.prod(v.shape.as_list())) for v in tf.trainable_variables())
        regularized = [t.op.name for t in tf.get_collection("regularization_losses")]
    assert len(shapes) == 137
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 4_254_889
    assert trainable == 4_233_001
    base = {name: shape for name, shape in shapes.items() if "/Logits/" not in name}
    assert sum(int(np.prod(shape)) for shape in base.values()) == 3_228_864
    assert len(regularized) == 15  # Conv2d_0, 13 pointwise, the logits
    assert not any("depthwise" in name for name in regularized)
    spots = {
        "Conv2d_0/weights": (3, 3, 3, 32),
        "Conv2d_1_depthwise/depthwise_weights": (3, 3, 32, 1),
        "Conv2d_1_pointwise/weights": (1, 1, 32, 64),
        "Conv2d_12_pointwise/weights": (1, 1, 512, 1024),
        "Conv2d_13_depthwise/BatchNorm/gamma": (1024,),
        "Conv2d_13_pointwise/BatchNorm/moving_mean": (1024,),
        "Logits/Conv2d_1c_1x1/weights": (1, 1, 1024, 1001),
        "Logits/Conv2d_1c_1x1/biases": (1001,),
    }
    for name, shape in spots.items():
        assert shapes[f"MobilenetV1/{name}"] == shape

    assert logits.op.name == "MobilenetV1/Logits/SpatialSqueeze"
    assert end_points["Predictions"].op.name == "MobilenetV1/Predictions/Reshape_1"
    assert end_points["AvgPool_1a"].shape.as_list() == [5, 1, 1, 1024]
    assert end_points["Conv2d_5_depthwise"].op.name.startswith(
        "MobilenetV1/MobilenetV1/Conv2d_5_depthwise/"
    )
    assert list(end_points) == [*NAMES, "AvgPool_1a", "Logits", "Predictions"]


def test_base_without_gamma_has_the_published_number_of_parameters():
    with tf.Graph().as_default():
        with slim.arg_scope([slim.conv2d, slim.separable_conv2d], normalizer_fn=slim.batch_norm):
            mobilenet_v1.mobilenet_v1_base(images(5, 224, 224, 3))
        values = sum(int(np.prod(v.shape.as_list())) for v in slim.get_model_variables())
    assert values == 3_217_920


def test_prediction_fn():
    with tf.Graph().as_default():
        inputs = images(1, 32, 32, 3)
        _, none = mobilenet_v1.mobilenet_v1(inputs, 3, prediction_fn=None)
        _, own = mobilenet_v1.mobilenet_v1(
            inputs,
            3,
            reuse=True,
            prediction_fn=lambda logits, scope: tf.sigmoid(logits, name=scope),
        )
    assert "Predictions" not in none
    assert own["Predictions"].op.type == "Sigmoid"


def test_regularize_depthwise():
    with (
        tf.Graph().as_default(),
        slim.arg_scope(mobilenet_v1.mobilenet_v1_arg_scope(regularize_depthwise=True)),
    ):
        mobilenet_v1.mobilenet_v1_base(images(1, 32, 32, 3), final_endpoint="Conv2d_3_pointwise")
        assert len(tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)) == 1 + 3 + 3


def test_arg_scope_without_normalizer():
    with (
        tf.Graph().as_default(),
        slim.arg_scope(mobilenet_v1.mobilenet_v1_arg_scope(normalizer_fn=None)),
    ):
        net, _ = mobilenet_v1.mobilenet_v1_base(images(1, 32, 32, 3), final_endpoint="Conv2d_0")
        names = [v.op.name for v in tf.global_variables()]
    assert names == ["MobilenetV1/Conv2d_0/weights", "MobilenetV1/Conv2d_0/biases"]
    assert net.op.type == "Relu6"


@pytest.mark.parametrize("is_training", [None, True, False])
def test_arg_scope_leaves_is_training_open_when_none(is_training):
    scope = mobilenet_v1.mobilenet_v1_arg_scope(is_training=is_training)
    arguments = scope[slim.arg_scope_func_key(slim.batch_norm)]
    assert arguments.get("is_training") is is_training
    assert ("is_training" in arguments) == (is_training is not None)
    assert (arguments["decay"], arguments["epsilon"]) == (0.9997, 0.001)
    assert (arguments["center"], arguments["scale"]) == (True, True)


def test_train_then_evaluate_with_reuse_and_unknown_sizes():
    with tf.Graph().as_default(), tf.Session() as session:
        mobilenet_v1.mobilenet_v1_025(images(2, 64, 64, 3), 3)
        count = len(tf.global_variables())
        inputs = images(None, None, None, 3)
        logits, end_points = mobilenet_v1.mobilenet_v1_025(
            inputs, 3, is_training=False, reuse=True, global_pool=True
        )
        assert len(tf.global_variables()) == count
        session.run(tf.global_variables_initializer())
        values, maps = session.run(
            [logits, end_points["Conv2d_13_pointwise"]], {inputs: np.ones([1, 65, 96, 3])}
        )
    assert logits.shape.as_list() == [None, 3]
    assert values.shape == (1, 3)
    assert maps.shape == (1, 3, 3, 256)


@pytest.mark.parametrize(("name", "depth"), [("075", 768), ("050", 512), ("025", 256)])
def test_thinned_nets(name, depth):
    net = getattr(mobilenet_v1, f"mobilenet_v1_{name}")
    assert net.default_image_size == 224
    with tf.Graph().as_default():
        features, _ = net(images(1, 32, 32, 3), num_classes=0)
    assert features.shape.as_list() == [1, 1, 1, depth]


def test_signatures():
    assert [
        (p.name, p.default)
        for p in inspect.signature(mobilenet_v1.mobilenet_v1).parameters.values()
    ][1:] == [
        ("num_classes", 1000),
        ("dropout_keep_prob", 0.999),
        ("is_training", True),
        ("min_depth", 8),
        ("depth_multiplier", 1.0),
        ("conv_defs", None),
        ("prediction_fn", slim.softmax),
        ("spatial_squeeze", True),
        ("reuse", None),
        ("scope", "MobilenetV1"),
        ("global_pool", False),
        ("stem_stride", None),
    ]
    assert list(inspect.signature(mobilenet_v1.mobilenet_v1_arg_scope).parameters) == [
        "is_training",
        "weight_decay",
        "stddev",
        "regularize_depthwise",
        "batch_norm_decay",
        "batch_norm_epsilon",
        "batch_norm_updates_collections",
        "normalizer_fn",
    ]
