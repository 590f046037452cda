"""ResNet v2 beside that of tf_slim.nets, and the keyword arguments that are ours."""

import importlib
import inspect

import numpy as np
import pytest

from core.compat import slim, tf
from core.errors import FlagError
from nets import resnet_v2

theirs = importlib.import_module("tf_slim.nets.resnet_v2")  # behind core.compat


def images(*shape):
    return tf.placeholder(tf.float32, shape)


def noise(*shape):
    return np.random.RandomState(1).uniform(-1, 1, shape).astype(np.float32)


def tiny_blocks(module=resnet_v2):
    """Blocks of 8, 16, 16 and 32 channels; units with strides, with projections, with neither."""
    table = [(2, 2, 2), (4, 1, 2), (4, 1, 2), (8, 1, 1)]  # base depth, units, stride
    return [
        module.resnet_v2_block(f"block{i}", base_depth=depth, num_units=units, stride=stride)
        for i, (depth, units, stride) in enumerate(table, start=1)
    ]


def tiny_resnet(inputs, num_classes=None, scope="tiny", **arguments):
    with slim.arg_scope(resnet_v2.resnet_arg_scope()):
        return resnet_v2.resnet_v2(inputs, tiny_blocks(), num_classes, scope=scope, **arguments)


def randomised(session):
    """Gives every variable a value with which the signal keeps its size."""
    for number, variable in enumerate(tf.global_variables()):
        shape, kind = variable.shape.as_list(), variable.op.name.rpartition("/")[2]
        value = np.random.RandomState(number).normal(0, np.prod(shape[:-1]) ** -0.5, shape)
        if kind in ("gamma", "moving_variance"):
            value = np.random.RandomState(number).uniform(0.5, 1.5, shape)
        variable.load(value, session)


def test_names_and_shapes_are_those_of_tf_slim():
    found = {}
    for module in (resnet_v2, theirs):
        with tf.Graph().as_default(), slim.arg_scope(module.resnet_arg_scope()):
            logits, end_points = module.resnet_v2_50(
                images(5, 224, 224, 3), 1000, is_training=False
            )
            variables = [(v.op.name, v.shape.as_list()) for v in tf.global_variables()]
            regularised = [loss.op.name for loss in tf.losses.get_regularization_losses()]
        shapes = {name: point.shape.as_list() for name, point in end_points.items()}
        found[module] = variables, regularised, shapes
    assert found[resnet_v2][:2] == found[theirs][:2]
    squeezed = {"resnet_v2_50/spatial_squeeze": [5, 1000], "predictions": [5, 1000]}
    expected = found[theirs][2] | squeezed | {"global_pool": [5, 1, 1, 2048]}
    expected["resnet_v2_50/postnorm"] = [5, 7, 7, 2048]
    assert found[resnet_v2][2] == expected
    assert list(found[resnet_v2][2])[-5:] == [
        *("resnet_v2_50/postnorm", "global_pool", "resnet_v2_50/logits"),
        *("resnet_v2_50/spatial_squeeze", "predictions"),
    ]
    assert logits.op.type == "BiasAdd"  # theirs are not squeezed


@pytest.mark.parametrize(
    ("size", "arguments"),
    [(32, {}), (33, {"output_stride": 8, "global_pool": False, "is_training": True})],
)
def test_outputs_are_those_of_tf_slim(size, arguments):
    arguments = {"is_training": False} | arguments
    inputs = noise(2, size, size, 3)
    with tf.Graph().as_default(), tf.Session() as session:
        ours, end_points = tiny_resnet(tf.constant(inputs), 5, spatial_squeeze=False, **arguments)
        with slim.arg_scope(theirs.resnet_arg_scope()):
            expected, of_theirs = theirs.resnet_v2(
                tf.constant(inputs), tiny_blocks(theirs), 5, reuse=True, scope="tiny", **arguments
            )
        randomised(session)
        names = sorted(of_theirs.keys() & end_points.keys())
        found, points, expected, expected_points = session.run(
            [
                *(ours, [end_points[name] for name in names]),
                *(expected, [of_theirs[name] for name in names]),
            ]
        )
    # Root, blocks, units, shortcuts, logits, predictions.
    assert len(names) == 1 + 4 + 5 * 4 + 3 + 2
    assert np.ptp(found, axis=0).max() > 0.1  # the pictures have a part in them
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for name, point, other in zip(names, points, expected_points, strict=True):
        np.testing.assert_allclose(point, other, rtol=1e-5, atol=1e-5, err_msg=name)


def test_every_norm_is_fused_and_switched():
    with tf.Graph().as_default() as graph:
        tiny_resnet(images(1, 32, 32, 3), is_training=True)
        norms = [op for op in graph.get_operations() if op.type == "FusedBatchNormV3"]
        assert all(op.get_attr("is_training") for op in norms)
        assert len(norms) == 5 * 3 + 1  # of the units, and the last one
        assert not any(op.type == "Rsqrt" for op in graph.get_operations())
        assert len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)) == 2 * len(norms)


@pytest.mark.parametrize(("is_training", "updates"), [(False, 0), (True, 2 * 16)])
def test_is_training_none_leaves_batch_norm_to_the_caller(is_training, updates):
    with tf.Graph().as_default(), slim.arg_scope(resnet_v2.resnet_arg_scope()):
        with slim.arg_scope([slim.batch_norm], is_training=is_training):
            resnet_v2.resnet_v2(images(1, 32, 32, 3), tiny_blocks(), is_training=None)
        assert len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)) == updates


def test_is_training_as_a_tensor():
    with tf.Graph().as_default(), tf.Session() as session:
        is_training = tf.placeholder(tf.bool, [])
        net, _ = tiny_resnet(tf.constant(noise(2, 32, 32, 3)), is_training=is_training)
        session.run(tf.global_variables_initializer())
        trained, inferred = (session.run(net, {is_training: value}) for value in (True, False))
    assert np.abs(trained - inferred).max() > 1e-2


@pytest.mark.parametrize(("stem_stride", "size"), [(None, 8), (4, 8), (2, 16), (1, 32)])
def test_stem_stride(stem_stride, size):
    with tf.Graph().as_default() as graph:
        _, end_points = tiny_resnet(images(2, 32, 32, 3), stem_stride=stem_stride)
        pools = [op for op in graph.get_operations() if "/pool1/" in op.name]
    first_unit = end_points["tiny/block1/unit_1/bottleneck_v2"]
    assert first_unit.shape.as_list() == [2, size, size, 8]
    assert bool(pools) == (size == 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_stride": 6}, "The output_stride needs to be a multiple of 4."),
        ({"output_stride": 64}, "The target output_stride cannot be reached."),
        ({"stem_stride": 8}, "stem_stride 8 is not among those of the net"),
    ],
)
def test_errors(arguments, message):
    with tf.Graph().as_default(), pytest.raises(FlagError, match=message):
        tiny_resnet(images(1, 32, 32, 3), **arguments)


def test_without_root_block():
    with tf.Graph().as_default():
        net, end_points = tiny_resnet(
            images(2, 32, 16, 3), include_root_block=False, global_pool=False
        )
    assert "tiny/conv1" not in end_points
    assert net.shape.as_list() == [2, 4, 2, 32]


@pytest.mark.parametrize("num_classes", [None, 0])
def test_features_without_classes(num_classes):
    with tf.Graph().as_default():
        features, end_points = tiny_resnet(images(2, 64, 64, 3), num_classes)
    assert features is end_points["global_pool"]
    assert features.shape.as_list() == [2, 1, 1, 32]
    assert not {"predictions", "tiny/logits"} & end_points.keys()


def test_unknown_sizes_and_reuse():
    with tf.Graph().as_default(), tf.Session() as session:
        tiny_resnet(images(2, 65, 65, 3), 3)
        count = len(tf.global_variables())
        inputs = images(None, None, None, 3)
        logits, _ = tiny_resnet(inputs, 3, is_training=False, reuse=True)
        assert len(tf.global_variables()) == count
        session.run(tf.global_variables_initializer())
        values = session.run(logits, {inputs: np.ones([2, 33, 70, 3])})
    assert logits.shape.as_list() == [None, 3]
    assert values.shape == (2, 3)


def test_depth_multiplier_and_min_base_depth():
    with tf.Graph().as_default(), slim.arg_scope(resnet_v2.resnet_arg_scope()):
        _, end_points = resnet_v2.resnet_v2_50(
            images(1, 32, 32, 3), depth_multiplier=0.05, min_base_depth=5
        )
    depths = [end_points[f"resnet_v2_50/block{i}"].shape.as_list()[3] for i in (1, 2, 3, 4)]
    # 4 x max(int(0.05 x (64, 128, 256, 512)), 5) = 4 x (5, 6, 12, 25).
    assert depths == [20, 24, 48, 100]


def test_signature():
    signature = inspect.signature(resnet_v2.resnet_v2_50)
    assert [(p.name, p.default) for p in signature.parameters.values()][1:] == [
        ("num_classes", None),
        ("is_training", True),
        ("global_pool", True),
        ("output_stride", None),
        ("spatial_squeeze", True),
        ("reuse", None),
        ("scope", "resnet_v2_50"),
        ("min_base_depth", 8),
        ("depth_multiplier", 1),
        ("stem_stride", None),
    ]
