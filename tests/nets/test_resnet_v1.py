"""ResNet v1: names, shapes, numbers and the keyword arguments of its functions."""

import inspect

import numpy as np
import pytest

from core.compat import slim, tf
from core.errors import FlagError
from nets import resnet_utils, resnet_v1


def images(*shape):
    return tf.placeholder(tf.float32, shape)


TINY_UNITS = (2, 1, 1, 1)
TINY_CONVOLUTIONS = 1 + 5 * 3 + 4  # root, units, shortcuts
WITHOUT_BATCH_NORM = resnet_v1.resnet_arg_scope(use_batch_norm=False)


def tiny_blocks():
    """Blocks of 4, 8, 16 and 32 channels with strides 2, 2, 2, 1."""
    return [
        resnet_v1.resnet_v1_block(f"block{i + 1}", base_depth=2**i, num_units=units, stride=stride)
        for i, (units, stride) in enumerate(zip(TINY_UNITS, [2, 2, 2, 1], strict=True))
    ]


def tiny_basic_blocks():
    """Blocks of basic units of 4, 4, 8 and 8 channels with strides 1, 2, 2, 2."""
    return [
        resnet_v1.resnet_v1_basic_block(f"block{i}", base_depth=depth, num_units=2, stride=stride)
        for i, (depth, stride) in enumerate([(4, 1), (4, 2), (8, 2), (8, 2)], start=1)
    ]


def tiny_resnet(
    inputs,
    num_classes=None,
    scope="tiny",
    arg_scope=WITHOUT_BATCH_NORM,
    blocks=tiny_blocks,
    **arguments,
):
    with slim.arg_scope(arg_scope):
        return resnet_v1.resnet_v1(inputs, blocks(), num_classes, scope=scope, **arguments)


def end_point_names(scope, units, depth_changes=(1, 2, 3, 4)):
    """Names of the end points before the head, from the structure of the net."""
    names = {f"{scope}/conv1"}
    for block, num_units in enumerate(units, start=1):
        names.add(f"{scope}/block{block}")
        for unit in range(1, num_units + 1):
            prefix = f"{scope}/block{block}/unit_{unit}/bottleneck_v1"
            names |= {prefix, *(f"{prefix}/conv{i}" for i in (1, 2, 3))}
        if block in depth_changes:
            names.add(f"{scope}/block{block}/unit_1/bottleneck_v1/shortcut")
    return names


def test_end_points_and_variables_of_resnet_v1_50():
    with tf.Graph().as_default():
        with slim.arg_scope(resnet_v1.resnet_arg_scope()):
            logits, end_points = resnet_v1.resnet_v1_50(images(5, 224, 224, 3), 1000)
        shapes = {v.op.name: tuple(v.shape.as_list()) for v in tf.global_variables()}
        trainable = sum(int(np.prod(v.shape.as_list())) for v in tf.trainable_variables())
    head = {"global_pool", "resnet_v1_50/logits", "resnet_v1_50/spatial_squeeze", "predictions"}
    assert set(end_points) == end_point_names("resnet_v1_50", (3, 4, 6, 3)) | head
    for name, shape in {
        "resnet_v1_50/conv1": [5, 112, 112, 64],
        "resnet_v1_50/block1/unit_2/bottleneck_v1": [5, 56, 56, 256],
        "resnet_v1_50/block1/unit_3/bottleneck_v1/conv1": [5, 56, 56, 64],
        "resnet_v1_50/block1/unit_3/bottleneck_v1/conv2": [5, 28, 28, 64],  # stride in the last
        "resnet_v1_50/block1": [5, 28, 28, 256],
        "resnet_v1_50/block2": [5, 14, 14, 512],
        "resnet_v1_50/block3": [5, 7, 7, 1024],
        "resnet_v1_50/block4": [5, 7, 7, 2048],
        "global_pool": [5, 1, 1, 2048],
        "resnet_v1_50/logits": [5, 1, 1, 1000],
        "resnet_v1_50/spatial_squeeze": [5, 1000],
        "predictions": [5, 1000],
    }.items():
        assert end_points[name].shape.as_list() == shape, name
    assert logits is end_points["resnet_v1_50/spatial_squeeze"]
    assert logits.op.name == "resnet_v1_50/SpatialSqueeze"
    assert end_points["predictions"].op.name == "resnet_v1_50/predictions/Reshape_1"

    assert len(shapes) == 267
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 25_610_152
    assert trainable == 25_557_032
    for name, shape in {
        "conv1/weights": (7, 7, 3, 64),
        "block1/unit_1/bottleneck_v1/shortcut/weights": (1, 1, 64, 256),
        "block2/unit_4/bottleneck_v1/conv2/weights": (3, 3, 128, 128),
        "block4/unit_1/bottleneck_v1/conv1/weights": (1, 1, 1024, 512),
        "block4/unit_3/bottleneck_v1/conv3/BatchNorm/gamma": (2048,),
        "logits/weights": (1, 1, 2048, 1000),
        "logits/biases": (1000,),
    }.items():
        assert shapes[f"resnet_v1_50/{name}"] == shape
    assert "resnet_v1_50/block1/unit_2/bottleneck_v1/shortcut/weights" not in shapes


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "units"), [(101, (3, 4, 23, 3)), (152, (3, 8, 36, 3))])
def test_end_points_of_the_deeper_ones(depth, units):
    name = f"resnet_v1_{depth}"
    with tf.Graph().as_default(), slim.arg_scope(WITHOUT_BATCH_NORM):
        _, end_points = getattr(resnet_v1, name)(images(5, 224, 224, 3), 1000)
    head = {"global_pool", f"{name}/logits", f"{name}/spatial_squeeze", "predictions"}
    assert set(end_points) == end_point_names(name, units) | head
    maps = [end_points[f"{name}/block{block}"].shape.as_list() for block in (1, 2, 3, 4)]
    # The stride of a block is in its last unit.
    assert maps == [[5, 28, 28, 256], [5, 14, 14, 512], [5, 7, 7, 1024], [5, 7, 7, 2048]]


def test_end_points_of_resnet_v1_34():
    with tf.Graph().as_default(), slim.arg_scope(WITHOUT_BATCH_NORM):
        _, end_points = resnet_v1.resnet_v1_34(images(5, 224, 224, 3), 1000)
    for block, units, side, depth in [
        (1, 3, 56, 64),
        (2, 4, 28, 128),
        (3, 6, 14, 256),
        (4, 3, 7, 512),
    ]:
        prefix = f"resnet_v1_34/block{block}"
        found = {name for name in end_points if name.startswith(f"{prefix}/")}
        layers = ["", "/conv1", "/conv2"]
        expected = {
            f"{prefix}/unit_{unit}/basic_v1{layer}"
            for unit in range(1, units + 1)
            for layer in [*layers, *(["/shortcut"] if unit == 1 and block > 1 else [])]
        }
        assert found == expected
        assert all(
            end_points[n].shape.as_list() == [5, side, side, depth] for n in [prefix, *found]
        )


def test_end_points_and_variables_of_resnet_v1_18():
    with tf.Graph().as_default():
        with slim.arg_scope(resnet_v1.resnet_arg_scope()):
            _, end_points = resnet_v1.resnet_v1_18(images(5, 224, 224, 3), 1000)
        shapes = {v.op.name: tuple(v.shape.as_list()) for v in tf.trainable_variables()}
    convolutions = {"conv1": (112, (7, 7, 3, 64))}  # side of the map, shape of the weights
    sums = {}
    depth_in = 64
    for block, (side, depth) in enumerate([(56, 64), (28, 128), (14, 256), (7, 512)], start=1):
        sums[f"block{block}"] = (side, depth)
        for unit in (1, 2):
            name = f"block{block}/unit_{unit}/basic_v1"
            sums[name] = (side, depth)
            convolutions[f"{name}/conv1"] = (side, (3, 3, depth_in, depth))
            convolutions[f"{name}/conv2"] = (side, (3, 3, depth, depth))
            if depth_in != depth:
                convolutions[f"{name}/shortcut"] = (side, (1, 1, depth_in, depth))
            depth_in = depth
    maps = {name: [5, side, side, depth] for name, (side, depth) in sums.items()}
    maps |= {name: [5, side, side, shape[-1]] for name, (side, shape) in convolutions.items()}
    maps["logits"], maps["spatial_squeeze"] = [5, 1, 1, 1000], [5, 1000]
    expected = {f"resnet_v1_18/{name}": shape for name, shape in maps.items()}
    expected |= {"global_pool": [5, 1, 1, 512], "predictions": [5, 1000]}
    assert {name: tensor.shape.as_list() for name, tensor in end_points.items()} == expected

    variables = {"logits/weights": (1, 1, 512, 1000), "logits/biases": (1000,)}
    for name, (_, shape) in convolutions.items():
        variables[f"{name}/weights"] = shape
        variables |= {f"{name}/BatchNorm/{kind}": shape[-1:] for kind in ("gamma", "beta")}
    assert shapes == {f"resnet_v1_18/{name}": shape for name, shape in variables.items()}


def test_basic_unit():
    """Ones all over; 3x3 sums at the places 0, 2, 4 of 5x5: 4 6 4, 6 9 6, 4 6 4.

    Those of these, at 3x3: 4 + 6 + 6 + 9 = 25 in a corner, 35 at an edge, 49 in the middle. The
    shortcut adds 1.
    """
    with tf.Graph().as_default(), tf.Session() as session:
        with slim.arg_scope([slim.conv2d], weights_initializer=tf.constant_initializer(1.0)):
            output = resnet_v1.basic(tf.ones([1, 5, 5, 1]), 1, stride=2, nominal_stride=2)
        session.run(tf.global_variables_initializer())
        found = session.run(output)[0, :, :, 0].tolist()
    assert found == [[26, 36, 26], [36, 50, 36], [26, 36, 26]]


def test_a_basic_unit_has_a_projection_where_depth_or_stride_change():
    with tf.Graph().as_default():
        tiny_resnet(images(1, 32, 32, 3), blocks=tiny_basic_blocks)
        names = {v.op.name for v in tf.global_variables() if "shortcut/weights" in v.op.name}
    # 64 to 4 behind the root, 4 to 8 in block3; strides in blocks 2 to 4.
    assert names == {f"tiny/block{i}/unit_1/basic_v1/shortcut/weights" for i in (1, 2, 3, 4)}


@pytest.mark.parametrize(
    ("name", "stem_stride", "sizes"),
    [
        *(("resnet_v1_50", 4, [16, 4]), ("resnet_v1_50", 1, [32, 16])),
        *(("resnet_v1_18", 2, [16, 16]), ("resnet_v1_18", 1, [32, 32])),
    ],
)
def test_stem_stride(name, stem_stride, sizes):
    """Sizes behind conv1 and block1 of 32x32 pictures; below 4 there is no pool."""
    variables = []
    for stride in (stem_stride, None):
        with tf.Graph().as_default() as graph:
            _, end_points = getattr(resnet_v1, name)(
                images(5, 32, 32, 3), 10, stem_stride=stride, depth_multiplier=0.25
            )
            pools = [op for op in graph.get_operations() if "/pool1/" in op.name]
            variables.append([(v.op.name, v.shape.as_list()) for v in tf.global_variables()])
        if stride:
            assert bool(pools) == (stride == 4)
            assert [
                end_points[f"{name}/{layer}"].shape[1] for layer in ("conv1", "block1")
            ] == sizes
    assert variables[0] == variables[1]


@pytest.mark.parametrize(
    ("zero", "net", "norms", "last_one", "units"),
    [
        (True, resnet_v1.resnet_v1_50, 53, "conv3", 16),
        # Thinned, the first unit of block1 has a projection too.
        (True, resnet_v1.resnet_v1_18, 21, "conv2", 8),
        (False, resnet_v1.resnet_v1_18, 21, "conv2", 8),
    ],
)
def test_zero_init_residual(zero, net, norms, last_one, units):
    with tf.Graph().as_default(), tf.Session() as session:
        with slim.arg_scope(resnet_v1.resnet_arg_scope()):
            net(images(1, 32, 32, 3), 10, depth_multiplier=0.125, zero_init_residual=zero)
        session.run(tf.global_variables_initializer())
        variables = {v.op.name: v for v in tf.global_variables() if v.op.name.endswith("gamma")}
        gammas = {name: set(values) for name, values in session.run(variables).items()}
    assert len(gammas) == norms
    last = {name for name in gammas if f"/{last_one}/" in name}
    assert len(last) == units
    assert all(gammas[name] == {0.0 if zero else 1.0} for name in last)
    assert all(gammas[name] == {1.0} for name in gammas.keys() - last)


def test_stem_stride_and_output_stride():
    with tf.Graph().as_default():
        net, _ = tiny_resnet(
            images(1, 32, 32, 3), global_pool=False, stem_stride=1, output_stride=2
        )
        assert net.shape.as_list()[1:3] == [16, 16]
        with pytest.raises(FlagError, match="multiple of 2"):
            tiny_resnet(images(1, 32, 32, 3), stem_stride=2, output_stride=3, scope="other")


def test_32x32_images():
    with tf.Graph().as_default():
        logits, end_points = tiny_resnet(images(None, 32, 32, 3), 10)
    # 32 -> 16 (conv1) -> 8 (pool1) -> 4 -> 2 -> 1.
    assert [end_points[f"tiny/block{i}"].shape.as_list()[1:] for i in (1, 2, 3, 4)] == [
        [4, 4, 4],
        [2, 2, 8],
        [1, 1, 16],
        [1, 1, 32],
    ]
    assert logits.shape.as_list() == [None, 10]


@pytest.mark.parametrize("size", [3, 4])
def test_subsample_keeps_every_second_pixel(size):
    with tf.Graph().as_default(), tf.Session() as session:
        mesh = tf.reshape(tf.range(float(size * size)), [1, size, size, 1])
        assert resnet_utils.subsample(mesh, 1) is mesh
        values = session.run(resnet_utils.subsample(mesh, 2))
    # Corners of 3x3: 0, 2, 6, 8. Rows 0 and 2 of 4x4, columns 0 and 2: 0, 2, 8, 10.
    assert values[0, :, :, 0].tolist() == [[0, 2], [6, 8] if size == 3 else [8, 10]]


@pytest.mark.parametrize(
    ("size", "expected", "expected_same"),
    [
        # Image i + j, kernel i + j, zeros outside. Value at (0, 0): the lower right 2x2 of the
        # kernel, 2 3 3 4, meets 0 1 1 2: 3 + 3 + 8 = 14. At (0, 2): kernel rows 1 and 2 on columns
        # 1 to 3: 1x1 + 2x2 + 3x3 + 2x2 + 3x3 + 4x4 = 43. At (2, 2) of the 4x4: centre 4,
        # sum of (i + j)(i' + j') over 3x3 = 9 x mean 2 x mean 4 + 9 x (2/3 + 2/3) = 84.
        # SAME pads the 4x4 on the right only, and so samples (1, 1), (1, 3), (3, 1), (3, 3).
        (4, [[14, 43], [43, 84]], [[48, 37], [37, 22]]),
        (5, [[14, 43, 34], [43, 84, 55], [34, 55, 30]], [[14, 43, 34], [43, 84, 55], [34, 55, 30]]),
    ],
)
def test_conv2d_same(size, expected, expected_same):
    with tf.Graph().as_default(), tf.Session() as session:
        index = tf.range(float(size))
        mesh = tf.reshape(index[:, None] + index[None], [1, size, size, 1])
        kernel = np.add.outer(np.arange(3.0), np.arange(3.0)).reshape(3, 3, 1, 1)
        scope = {
            "scope": "conv",
            "weights_initializer": tf.constant_initializer(kernel),
            "activation_fn": None,
            "reuse": tf.AUTO_REUSE,
        }
        with slim.arg_scope([slim.conv2d], **scope):
            strided = resnet_utils.conv2d_same(mesh, 1, 3, stride=2, scope="conv")
            plain = resnet_utils.conv2d_same(mesh, 1, 3, stride=1, scope="conv")
            subsampled = resnet_utils.subsample(plain, 2)
            same = slim.conv2d(mesh, 1, 3, stride=2)
        session.run(tf.global_variables_initializer())
        values = session.run([strided, subsampled, same])
    for value, wanted in zip(values, (expected, expected, expected_same), strict=True):
        np.testing.assert_allclose(value[0, :, :, 0], wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("blocks", "output_stride", "store"),
    [
        *((tiny_blocks, 4, False), (tiny_blocks, 8, True), (tiny_blocks, 16, True)),
        *((tiny_basic_blocks, 4, False), (tiny_basic_blocks, 8, True)),
    ],
)
def test_atrous_output_holds_the_strided_one(blocks, output_stride, store):
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(1)
        inputs = tf.constant(np.random.RandomState(1).uniform(-1, 1, [1, 65, 65, 3]), tf.float32)
        dense, _ = tiny_resnet(
            inputs,
            blocks=blocks,
            global_pool=False,
            output_stride=output_stride,
            store_non_strided_activations=store,
        )
        strided, _ = tiny_resnet(inputs, blocks=blocks, global_pool=False, reuse=True)
        subsampled = resnet_utils.subsample(dense, 32 // output_stride)
        session.run(tf.global_variables_initializer())
        subsampled, strided = session.run([subsampled, strided])
    # 65 / output_stride, rounded up.
    assert dense.shape.as_list()[1:3] == [-(-65 // output_stride)] * 2
    assert np.abs(strided).max() > 0
    np.testing.assert_allclose(subsampled, strided, rtol=1e-4, atol=1e-4)


def test_store_non_strided_activations():
    with tf.Graph().as_default():
        _, end_points = tiny_resnet(images(1, 64, 64, 3), store_non_strided_activations=True)
    # 64 / 4 = 16 at the root; each block is collected before its stride.
    sizes = [end_points[f"tiny/block{i}"].shape.as_list()[1] for i in (1, 2, 3, 4)]
    assert sizes == [16, 8, 4, 2 * 1]


@pytest.mark.parametrize(
    ("output_stride", "message"),
    [
        (6, "The output_stride needs to be a multiple of 4."),
        (12, "The target output_stride cannot be reached."),
        (64, "The target output_stride cannot be reached."),
    ],
)
def test_output_stride_errors(output_stride, message):
    with tf.Graph().as_default(), pytest.raises(ValueError, match=message):
        tiny_resnet(images(1, 32, 32, 3), output_stride=output_stride)


def test_without_root_block():
    with tf.Graph().as_default():
        net, end_points = tiny_resnet(
            images(2, 32, 16, 3), include_root_block=False, global_pool=False
        )
    assert set(end_points) == end_point_names("tiny", TINY_UNITS) - {"tiny/conv1"}
    assert end_points["tiny/block1"].shape.as_list() == [2, 16, 8, 4]
    assert net.shape.as_list() == [2, 4, 2, 32]


@pytest.mark.parametrize("num_classes", [None, 0])
def test_features_without_classes(num_classes):
    with tf.Graph().as_default():
        features, end_points = tiny_resnet(images(2, 64, 64, 3), num_classes)
    assert features.shape.as_list() == [2, 1, 1, 32]
    assert "predictions" not in end_points


def test_logits_not_squeezed_and_dense_logits():
    with tf.Graph().as_default():
        logits, end_points = tiny_resnet(images(2, 64, 64, 3), 5, spatial_squeeze=False)
        assert logits.shape.as_list() == [2, 1, 1, 5]
        assert logits is end_points["tiny/logits"]
        dense, _ = tiny_resnet(
            images(2, 65, 65, 3),
            5,
            spatial_squeeze=False,
            global_pool=False,
            output_stride=8,
            reuse=True,
        )
        assert dense.shape.as_list() == [2, 9, 9, 5]  # 64 / 8 + 1


def test_unknown_sizes_and_reuse():
    with tf.Graph().as_default(), tf.Session() as session:
        arg_scope = resnet_v1.resnet_arg_scope()
        tiny_resnet(images(2, 65, 65, 3), 3, arg_scope=arg_scope)
        count = len(tf.global_variables())
        inputs = images(None, None, None, 3)
        logits, _ = tiny_resnet(inputs, 3, is_training=False, reuse=True, arg_scope=arg_scope)
        assert len(tf.global_variables()) == count
        session.run(tf.global_variables_initializer())
        values = session.run(logits, {inputs: np.ones([2, 33, 70, 3])})
    assert logits.shape.as_list() == [None, 3]
    assert values.shape == (2, 3)


@pytest.mark.parametrize(("is_training", "updates"), [(False, 0), (True, 2 * TINY_CONVOLUTIONS)])
def test_is_training_none_leaves_batch_norm_to_the_caller(is_training, updates):
    with (
        tf.Graph().as_default(),
        slim.arg_scope(resnet_v1.resnet_arg_scope()),
        slim.arg_scope([slim.batch_norm], is_training=is_training),
    ):
        resnet_v1.resnet_v1(images(1, 32, 32, 3), tiny_blocks(), is_training=None)
        # One update of the mean and one of the variance each.
        assert len(tf.get_collection(tf.GraphKeys.UPDATE_OPS)) == updates


def test_arg_scope_options():
    with tf.Graph().as_default():
        tiny_resnet(images(1, 32, 32, 3), 2, arg_scope=WITHOUT_BATCH_NORM)
        names = [v.op.name for v in tf.global_variables()]
        assert sum(name.endswith("/biases") for name in names) == TINY_CONVOLUTIONS + 1
        assert not any("BatchNorm" in name for name in names)
        # Convolutions and the logits, not the biases.
        losses = tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
        assert len(losses) == TINY_CONVOLUTIONS + 1
    with tf.Graph().as_default():
        scope = resnet_v1.resnet_arg_scope(
            batch_norm_scale=False, batch_norm_updates_collections="up"
        )
        tiny_resnet(images(1, 32, 32, 3), arg_scope=scope)
        assert not any("gamma" in v.op.name for v in tf.global_variables())
        assert len(tf.get_collection("up")) == 2 * TINY_CONVOLUTIONS


def test_bounded_activations():
    with tf.Graph().as_default(), tf.Session() as session:
        with slim.arg_scope([slim.conv2d], weights_initializer=tf.constant_initializer(1.0)):
            output = resnet_v1.bottleneck(
                tf.ones([1, 4, 4, 2]), 8, 2, stride=2, use_bounded_activations=True
            )
        session.run(tf.global_variables_initializer())
        # Inner values grow beyond 6 (2, then 2 x 2 x 4 and more), so both terms and the sum clip.
        assert session.run(output).tolist() == np.full([1, 2, 2, 8], 6.0).tolist()


# max(int(0.05 x (64, 128, 256, 512)), 5) = (5, 6, 12, 25), of bottlenecks 4 times that.
@pytest.mark.parametrize(
    ("name", "expected"), [("resnet_v1_50", [20, 24, 48, 100]), ("resnet_v1_18", [5, 6, 12, 25])]
)
def test_depth_multiplier_and_min_base_depth(name, expected):
    with tf.Graph().as_default(), slim.arg_scope(WITHOUT_BATCH_NORM):
        _, end_points = getattr(resnet_v1, name)(
            images(1, 32, 32, 3), depth_multiplier=0.05, min_base_depth=5
        )
    depths = [end_points[f"{name}/block{i}"].shape.as_list()[3] for i in (1, 2, 3, 4)]
    assert depths == expected


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152, 200])
def test_signatures(depth):
    net = getattr(resnet_v1, f"resnet_v1_{depth}")
    assert net.__name__ == f"resnet_v1_{depth}"
    assert [(p.name, p.default) for p in inspect.signature(net).parameters.values()][1:] == [
        ("num_classes", None),
        ("is_training", True),
        ("global_pool", True),
        ("output_stride", None),
        ("spatial_squeeze", True),
        ("store_non_strided_activations", False),
        ("min_base_depth", 8),
        ("depth_multiplier", 1),
        ("reuse", None),
        ("scope", f"resnet_v1_{depth}"),
        ("stem_stride", None),
        ("zero_init_residual", False),
    ]
