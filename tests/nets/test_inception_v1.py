"""Inception v1: names, shapes, numbers and the keyword arguments of its functions."""

import inspect

import numpy as np
import pytest

from core.compat import slim, tf
from core.errors import FlagError
from nets import inception

# Table 1 of the paper at 224x224: size of the map, channels.
SHAPES_224 = {
    "Conv2d_1a_7x7": (112, 64),
    "MaxPool_2a_3x3": (56, 64),
    "Conv2d_2b_1x1": (56, 64),
    "Conv2d_2c_3x3": (56, 192),
    "MaxPool_3a_3x3": (28, 192),
    "Mixed_3b": (28, 256),
    "Mixed_3c": (28, 480),
    "MaxPool_4a_3x3": (14, 480),
    "Mixed_4b": (14, 512),
    "Mixed_4c": (14, 512),
    "Mixed_4d": (14, 512),
    "Mixed_4e": (14, 528),
    "Mixed_4f": (14, 832),
    "MaxPool_5a_2x2": (7, 832),
    "Mixed_5b": (7, 832),
    "Mixed_5c": (7, 1024),
}


def images(*shape):
    return tf.placeholder(tf.float32, shape)


@pytest.mark.parametrize("size", [224, 32])
def test_end_points_of_the_base(size):
    with tf.Graph().as_default():
        net, end_points = inception.inception_v1_base(images(5, size, size, 3))
    # Every halving rounds up: 224 -> 112 -> .. -> 7, 32 -> 16 -> 8 -> 4 -> 2 -> 1.
    assert {name: tensor.shape.as_list() for name, tensor in end_points.items()} == {
        name: [5, -(-size * full // 224), -(-size * full // 224), depth]
        for name, (full, depth) in SHAPES_224.items()
    }
    assert net is end_points["Mixed_5c"]


@pytest.mark.parametrize(
    ("stem_stride", "sizes", "pools"),
    [
        (8, [16, 8, 8, 8, 4], ["MaxPool_2a_3x3", "MaxPool_3a_3x3"]),
        (4, [16, 8, 8, 8], ["MaxPool_2a_3x3"]),
        (2, [16, 16, 16], []),
        (1, [32, 32, 32], []),
    ],
)
def test_stem_stride(stem_stride, sizes, pools):
    """The root of 32x32 pictures: the pools behind the stride are gone, no variable is."""
    variables = []
    for stride in (stem_stride, None):
        with tf.Graph().as_default():
            _, end_points = inception.inception_v1_base(images(5, 32, 32, 3), stem_stride=stride)
            variables.append([(v.op.name, v.shape.as_list()) for v in tf.global_variables()])
        if stride:
            found = {name: tensor.shape.as_list()[1] for name, tensor in end_points.items()}
    assert variables[0] == variables[1]
    assert list(found.values())[: len(sizes)] == sizes
    assert [name for name in found if name in ("MaxPool_2a_3x3", "MaxPool_3a_3x3")] == pools
    assert found["Mixed_3b"] == 32 // stem_stride
    assert found["Mixed_5c"] == 32 // stem_stride // 4


def test_depth_multiplier():
    with tf.Graph().as_default():
        _, end_points = inception.inception_v1_base(images(5, 224, 224, 3), depth_multiplier=0.5)
        shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    depths = {name: tensor.shape.as_list()[3] for name, tensor in end_points.items()}
    # Halves, but no layer has fewer than 16: in 3b to 4f branch 2 reduces to 16 at least.
    assert depths == {name: depth // 2 for name, (_, depth) in SHAPES_224.items()}
    assert shapes["InceptionV1/Mixed_3b/Branch_2/Conv2d_0a_1x1/weights"][3] == 16  # not 8
    with tf.Graph().as_default(), pytest.raises(FlagError, match="not greater than zero: 0"):
        inception.inception_v1_base(images(5, 32, 32, 3), depth_multiplier=0)


def test_every_final_endpoint():
    names = list(SHAPES_224)
    with tf.Graph().as_default():
        for i, name in enumerate(names):
            with tf.variable_scope("net", reuse=tf.AUTO_REUSE) as scope:
                net, end_points = inception.inception_v1_base(
                    images(1, 32, 32, 3), final_endpoint=name, scope=scope
                )
            assert list(end_points) == names[: i + 1]
            assert f"/net/{name}/" in f"{net.op.name}/"


def test_unknown_final_endpoint():
    with tf.Graph().as_default():
        with pytest.raises(ValueError, match="Unknown final endpoint Mixed_6a - known: Conv2d_1a"):
            inception.inception_v1_base(images(1, 32, 32, 3), final_endpoint="Mixed_6a")
        with pytest.raises(ValueError, match="Unknown final endpoint Conv2d_1a_7x7"):
            inception.inception_v1_base(
                images(1, 32, 32, 3), final_endpoint="Conv2d_1a_7x7", include_root_block=False
            )


def test_without_the_root_block():
    with tf.Graph().as_default():
        _, end_points = inception.inception_v1_base(
            images(5, 28, 28, 192), final_endpoint="MaxPool_4a_3x3", include_root_block=False
        )
    assert {name: tensor.shape.as_list() for name, tensor in end_points.items()} == {
        "Mixed_3b": [5, 28, 28, 256],
        "Mixed_3c": [5, 28, 28, 480],
        "MaxPool_4a_3x3": [5, 14, 14, 480],
    }


def test_published_names_and_numbers():
    with tf.Graph().as_default():
        with slim.arg_scope(inception.inception_v1_arg_scope()):
            logits, end_points = inception.inception_v1(images(5, 224, 224, 3), 1001)
        shapes = {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}
        trainable = sum(int(np.prod(v.shape.as_list())) for v in tf.trainable_variables())
    assert len(shapes) == 230
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 6_633_209
    assert trainable == 6_618_649
    base = {name: shape for name, shape in shapes.items() if "/Logits/" not in name}
    assert sum(int(np.prod(shape)) for shape in base.values()) == 5_607_184
    # The published checkpoint has one misnamed layer.
    assert "InceptionV1/Mixed_5b/Branch_2/Conv2d_0b_3x3/weights" not in shapes
    assert not any("gamma" in name for name in shapes)
    weights = {
        "Conv2d_1a_7x7/weights": (7, 7, 3, 64),
        "Conv2d_2c_3x3/weights": (3, 3, 64, 192),
        "Mixed_3b/Branch_1/Conv2d_0b_3x3/weights": (3, 3, 96, 128),
        "Mixed_4e/Branch_3/Conv2d_0b_1x1/weights": (1, 1, 512, 64),
        "Mixed_5b/Branch_2/Conv2d_0a_3x3/weights": (3, 3, 32, 128),
        "Mixed_5c/Branch_0/Conv2d_0a_1x1/weights": (1, 1, 832, 384),
        "Mixed_5c/Branch_2/Conv2d_0b_3x3/BatchNorm/moving_variance": (128,),
        "Logits/Conv2d_0c_1x1/weights": (1, 1, 1024, 1001),
        "Logits/Conv2d_0c_1x1/biases": (1001,),
    }
    for name, shape in weights.items():
        assert shapes[f"InceptionV1/{name}"] == shape

    assert logits.op.name == "InceptionV1/Logits/SpatialSqueeze"
    assert end_points["Predictions"].op.name == "InceptionV1/Logits/Predictions/Reshape_1"
    assert end_points["AvgPool_0a_7x7"].shape.as_list() == [5, 1, 1, 1024]
    assert end_points["AvgPool_0a_7x7"].op.name.startswith("InceptionV1/Logits/AvgPool_0a_7x7")
    assert end_points["Mixed_5c"].op.name == "InceptionV1/InceptionV1/Mixed_5c/concat"
    assert list(end_points)[-3:] == ["AvgPool_0a_7x7", "Logits", "Predictions"]


def test_arg_scope_options():
    with (
        tf.Graph().as_default(),
        slim.arg_scope(
            inception.inception_v1_arg_scope(
                batch_norm_scale=True, batch_norm_updates_collections="up"
            )
        ),
    ):
        inception.inception_v1_base(images(2, 32, 32, 3), final_endpoint="Mixed_3b")
        names = [v.op.name for v in tf.global_variables()]
        assert sum(name.endswith("/gamma") for name in names) == 9  # 3 + 6 convolutions
        assert len(tf.get_collection("up")) == 18  # mean and variance each
    with (
        tf.Graph().as_default(),
        slim.arg_scope(
            inception.inception_v1_arg_scope(use_batch_norm=False, activation_fn=tf.nn.tanh)
        ),
    ):
        net, _ = inception.inception_v1_base(images(2, 32, 32, 3), final_endpoint="Conv2d_1a_7x7")
        assert [v.op.name for v in tf.global_variables()] == [
            "InceptionV1/Conv2d_1a_7x7/weights",
            "InceptionV1/Conv2d_1a_7x7/biases",
        ]
        assert net.op.type == "Tanh"


def test_initial_weights():
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        with slim.arg_scope(inception.inception_v1_arg_scope(use_batch_norm=False)):
            inception.inception_v1(images(1, 32, 32, 3), 100)
        variables = {v.op.name: v for v in tf.global_variables()}
        body = variables["InceptionV1/Mixed_5c/Branch_0/Conv2d_0a_1x1/weights"]
        head = variables["InceptionV1/Logits/Conv2d_0c_1x1/weights"]
        session.run([body.initializer, head.initializer])
        body, head = session.run([body, head])
    # A normal cut at 2 standard deviations keeps 0.880 of its deviation. The head scales variance
    # to 2 / fan in, and makes up for the cut.
    assert body.std() == pytest.approx(0.01 * 0.880, rel=0.02)
    assert np.abs(body).max() <= 0.02
    assert head.std() == pytest.approx((2 / 1024) ** 0.5, rel=0.02)


def test_train_then_evaluate_with_reuse_and_unknown_sizes():
    with tf.Graph().as_default(), tf.Session() as session:
        inception.inception_v1(images(2, 64, 64, 3), 3)
        count = len(tf.global_variables())
        inputs = images(None, None, None, 3)
        logits, end_points = inception.inception_v1(
            inputs, 3, is_training=False, reuse=True, global_pool=True
        )
        assert len(tf.global_variables()) == count
        session.run(tf.global_variables_initializer())
        values, maps = session.run(
            [logits, end_points["Mixed_5c"]], {inputs: np.ones([1, 65, 96, 3])}
        )
    assert logits.shape.as_list() == [None, 3]
    assert values.shape == (1, 3)
    assert maps.shape == (1, 3, 3, 1024)  # 65 / 32 and 96 / 32, rounded up


def test_signatures():
    assert [
        (p.name, p.default) for p in inspect.signature(inception.inception_v1).parameters.values()
    ][1:] == [
        ("num_classes", 1000),
        ("is_training", True),
        ("dropout_keep_prob", 0.8),
        ("prediction_fn", slim.softmax),
        ("spatial_squeeze", True),
        ("reuse", None),
        ("scope", "InceptionV1"),
        ("global_pool", False),
        ("min_depth", 16),
        ("depth_multiplier", 1.0),
        ("stem_stride", None),
    ]
    assert [
        (p.name, p.default)
        for p in inspect.signature(inception.inception_v1_arg_scope).parameters.values()
    ] == [
        ("weight_decay", 0.00004),
        ("use_batch_norm", True),
        ("batch_norm_decay", 0.9997),
        ("batch_norm_epsilon", 0.001),
        ("activation_fn", tf.nn.relu),
        ("batch_norm_updates_collections", tf.GraphKeys.UPDATE_OPS),
        ("batch_norm_scale", False),
    ]
