"""DenseNet-121: names, shapes and numbers by Table 1 of the paper, and its keyword arguments."""

import numpy as np
import pytest

from core.compat import slim, tf
from core.errors import FlagError
from nets import densenet
from nets.nets_factory import NETS, get_network_fn

UNITS = [6, 12, 24, 16]
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


def layers_of_the_paper(growth=32):
    """(name, kernel, channels in, filters, stride until its output) of all convolutions."""
    channels, stride = 2 * growth, 4
    found = [("conv1", 7, 3, channels, 2)]
    for block, units in enumerate(UNITS, start=1):
        for unit in range(1, units + 1):
            name = f"block{block}/unit_{unit}"
            found.append((f"{name}/conv1", 1, channels, 4 * growth, stride))
            found.append((f"{name}/conv2", 3, 4 * growth, growth, stride))
            channels += growth
        if block < 4:
            found.append((f"transition{block}/conv", 1, channels, channels // 2, stride))
            channels, stride = channels // 2, 2 * stride
    return found


def expected_variables(num_classes, growth=32):
    """Shapes by name, by the rules of the naming: who has a norm behind, who one before."""
    shapes = {}
    for name, kernel, channels, filters, _ in layers_of_the_paper(growth):
        shapes[f"{name}/weights"] = (kernel, kernel, channels, filters)
        if name.endswith("conv1"):  # the root, and the first of a unit
            shapes |= {f"{name}/BatchNorm/{part}": (filters,) for part in NORM}
        if name != "conv1" and not name.endswith("conv2"):
            before = name.rpartition("/")[0]
            shapes |= {f"{before}/preact/{part}": (channels,) for part in NORM}
    last = layers_of_the_paper(growth)[-2][2] + growth
    shapes |= {f"postnorm/{part}": (last,) for part in NORM}
    shapes |= {"logits/weights": (1, 1, last, num_classes), "logits/biases": (num_classes,)}
    return {f"densenet121/{name}": shape for name, shape in shapes.items()}


def expected_end_points(size=224, strides=(2, 4)):
    """Side and channels behind each layer of Table 1; channels count 32 more with each unit."""
    conv, root = strides
    shapes = {"conv1": (size // conv, 64), "pool1": (size // root, 64)}
    for block, channels in enumerate((256, 512, 1024, 1024), start=1):
        side = size // root // 2 ** (block - 1)
        shapes[f"block{block}"] = (side, channels)
        if block < 4:
            shapes[f"transition{block}"] = (side // 2, channels // 2)
    shapes["postnorm"] = (size // root // 8, 1024)
    shapes = {name: [5, side, side, channels] for name, (side, channels) in shapes.items()}
    return shapes | {"global_pool": [5, 1, 1, 1024], "Logits": [5, 7], "Predictions": [5, 7]}


@pytest.fixture(scope="module")
def at_224():
    """Shapes of end points and of variables, and types of ops, of a net for inference."""
    with tf.Graph().as_default() as graph:
        inputs = images(5, 224, 224, 3)
        logits, end_points = get_network_fn("densenet121", 7)(inputs)
        variables = {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}
        types = ops_between(graph, inputs, logits)
    assert logits is end_points["Logits"]
    return {name: t.shape.as_list() for name, t in end_points.items()}, variables, types


def test_end_points_of_the_paper(at_224):
    shapes, _, _ = at_224
    assert shapes == expected_end_points()
    assert [shapes[f"block{i}"][1:] for i in range(1, 5)] == [
        *([56, 56, 256], [28, 28, 512], [14, 14, 1024], [7, 7, 1024])
    ]
    assert list(shapes) == [
        *("conv1", "pool1", "block1", "transition1", "block2", "transition2", "block3"),
        *("transition3", "block4", "postnorm", "global_pool", "Logits", "Predictions"),
    ]


def test_variables(at_224):
    _, variables, _ = at_224
    assert variables == expected_variables(7)


def test_numbers_of_the_paper():
    """7.98 M parameters and 2.83 G multiply-adds: 121 layers with weights."""
    layers = layers_of_the_paper()
    assert len(layers) + 1 == 121
    weights = sum(k * k * channels * filters for _, k, channels, filters, _ in layers)
    assert weights == 6_870_208
    norms = sum(
        np.prod(shape)
        for name, shape in expected_variables(1000).items()
        if name.endswith(("/gamma", "/beta"))
    )
    assert weights + norms + 1024 * 1000 + 1000 == NETS["densenet121"].parameters == 7_978_856
    multiply_adds = sum(
        k * k * channels * filters * (224 // stride) ** 2
        for _, k, channels, filters, stride in layers
    )
    assert multiply_adds + 1024 * 1000 == NETS["densenet121"].multiply_adds == 2_834_161_664


def test_nothing_but_the_layers(at_224):
    """Each unit and each ReLU once: no layout is changed, nothing is cast or added up."""
    _, _, types = at_224
    assert (types.count("Conv2D"), types.count("FusedBatchNormV3")) == (121, 121)
    assert types.count("Relu") == 121
    assert types.count("ConcatV2") == 58
    assert (types.count("MaxPool"), types.count("AvgPool")) == (1, 3)
    assert types.count("BiasAdd") == 1  # of the logits
    assert types.count("Pad") == 2  # root and its pool
    rest = {
        "Conv2D",
        "FusedBatchNormV3",
        "Relu",
        "ConcatV2",
        "MaxPool",
        "AvgPool",
        "BiasAdd",
        "Pad",
    }
    assert {*types} - rest == {"Placeholder", "Mean", "Squeeze"}


ONE_EACH = (1, 1, 1, 1)  # units of blocks: the same rules, and built at once


@pytest.mark.parametrize(
    ("stem_stride", "sides"), [(None, [32, 16]), (4, [32, 16]), (2, [32]), (1, [64])]
)
def test_stem_stride(stem_stride, sides):
    with tf.Graph().as_default():
        _, end_points = densenet.densenet(
            images(5, 64, 64, 3), ONE_EACH, 7, stem_stride=stem_stride
        )
    names = ["conv1", "pool1"][: len(sides)]
    names += ["block1", "transition1", "block2", "transition2", "block3", "transition3", "block4"]
    root = sides[-1]
    sides += [root, root // 2, root // 2, root // 4, root // 4, root // 8, root // 8]
    assert list(end_points)[: len(names)] == names
    assert [end_points[name].shape.as_list()[1] for name in names] == sides


def test_stem_stride_that_does_not_exist():
    with tf.Graph().as_default(), pytest.raises(FlagError, match=r"stem_stride 8 .* 1, 2, 4$"):
        densenet.densenet121(images(1, 64, 64, 3), 7, stem_stride=8)


@pytest.mark.parametrize(
    ("factor", "arguments", "growth"),
    [(0.5, {}, 16), (0.1, {}, 8), (0.1, {"min_depth": 2}, 3)],  # 3.2
)
def test_thinned(factor, arguments, growth):
    with tf.Graph().as_default():
        densenet.densenet(
            images(1, 32, 32, 3), (6, 2), 7, depth_multiplier=factor, scope="net", **arguments
        )
        variables = {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}
    assert variables["net/conv1/weights"] == (7, 7, 3, 2 * growth)
    assert variables["net/block1/unit_2/conv1/weights"] == (1, 1, 3 * growth, 4 * growth)
    assert variables["net/block2/unit_2/conv2/weights"] == (3, 3, 4 * growth, growth)
    assert variables["net/transition1/conv/weights"] == (1, 1, 8 * growth, 4 * growth)
    assert variables["net/postnorm/beta"] == (6 * growth,)


def test_unknown_sizes_small_ones_and_those_without_classes():
    """17 pixels leave 2x2 after the second transition, then 1x1, which no later pool takes away."""
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = images(None, None, None, 3)
        features, end_points = densenet.densenet(
            inputs, ONE_EACH, None, is_training=False, depth_multiplier=0.25
        )
        session.run(tf.global_variables_initializer())
        maps = [end_points[name] for name in ("block2", "postnorm")]
        shapes = {
            size: [
                v.shape for v in session.run([*maps, features], {inputs: np.ones([2, *size, 3])})
            ]
            for size in ((17, 17), (32, 32), (64, 96))
        }
    assert "Logits" not in end_points
    # Channels: 16, 24, 12, 20, 10, 18, 9, 17.
    assert shapes[17, 17] == [(2, 3, 3, 20), (2, 1, 1, 17), (2, 1, 1, 17)]
    assert shapes[32, 32] == [(2, 4, 4, 20), (2, 1, 1, 17), (2, 1, 1, 17)]
    assert shapes[64, 96] == [(2, 8, 12, 20), (2, 2, 3, 17), (2, 1, 1, 17)]


def test_a_unit_passes_on_all_that_was_before():
    random = np.random.RandomState(1)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = tf.constant(random.normal(size=[1, 16, 16, 3]), tf.float32)
        with slim.arg_scope(densenet.densenet_arg_scope()):
            _, end_points = densenet.densenet(inputs, (2,), None, is_training=False)
        session.run(tf.global_variables_initializer())
        pool, block, last = session.run([end_points[n] for n in ("pool1", "block1", "postnorm")])
    assert block.shape[3] == pool.shape[3] + 2 * 32
    np.testing.assert_array_equal(block[..., : pool.shape[3]], pool)
    # The norm still has its first values, mean 0 and variance 1.
    np.testing.assert_allclose(last, np.maximum(block, 0), rtol=1e-4, atol=1e-6)


def test_frozen_batch_norm():
    """Of both kinds: no norm takes the statistics of the batch, moves its own or is trained."""
    with tf.Graph().as_default() as graph:
        network_fn = get_network_fn("densenet121", 7, is_training=True, freeze_batch_norm=True)
        network_fn(images(2, 16, 16, 3), depth_multiplier=0.1)
        norms = [op for op in graph.get_operations() if op.type == "FusedBatchNormV3"]
        trained = {v.op.name.rpartition("/")[2] for v in tf.trainable_variables()}
        assert not graph.get_collection(tf.GraphKeys.UPDATE_OPS)
    assert len(norms) == 121
    assert not any(op.get_attr("is_training") for op in norms)
    assert trained == {"weights", "biases"}


def test_dense_logits_and_reuse():
    with tf.Graph().as_default():
        arguments = {"global_pool": False, "spatial_squeeze": False, "scope": "net"}
        inputs = images(1, 64, 64, 3)
        densenet.densenet(inputs, ONE_EACH, 7, **arguments)
        count = len(tf.global_variables())
        logits, end_points = densenet.densenet(
            inputs, ONE_EACH, 7, False, reuse=True, prediction_fn=None, **arguments
        )
        assert len(tf.global_variables()) == count
    assert logits.shape.as_list() == [1, 2, 2, 7]
    assert "Predictions" not in end_points


def test_arg_scope():
    with tf.Graph().as_default() as graph:
        with slim.arg_scope(densenet.densenet_arg_scope()):
            densenet.densenet(images(1, 32, 32, 3), ONE_EACH, 7)
        losses = graph.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
        updates = graph.get_collection(tf.GraphKeys.UPDATE_OPS)
        norms = [op for op in graph.get_operations() if op.type == "FusedBatchNormV3"]
        weights = [v for v in tf.trainable_variables() if v.op.name.endswith("/weights")]
    # Root, 4 x 2 in units, 3 in transitions, logits; norms as many, the last in place of logits.
    assert len(losses) == len(weights) == len(norms) == 13
    assert len(updates) == 2 * 13
    assert {round(op.get_attr("epsilon"), 9) for op in norms} == {1.001e-5}
