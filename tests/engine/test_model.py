"""Losses, accuracy and batch norm of the training model against numpy."""

import numpy as np
import pytest

from core.compat import slim, tf
from core.errors import FlagError
from engine import model
from engine.input_pipeline import Batch

LABELS = np.array([0, 2, 1, 1])


@pytest.fixture
def build(configured):
    """build(session, "--flag=value", ...) is a Classifier of 3 classes on 4 images of noise."""

    def build(*arguments, size=8):
        config = configured(*arguments)
        images = np.random.RandomState(0).normal(size=(4, size, size, 3)).astype(np.float32)
        tf.set_random_seed(1)
        tf.train.create_global_step()
        batch = Batch(tf.constant(images), tf.constant(LABELS), tf.range(4), tf.no_op())
        return model.build(batch, 3, config)

    return build


@pytest.mark.parametrize(("smoothing", "decay"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.01), (0.3, 0.02)])
def test_losses_and_accuracy(build, smoothing, decay):
    with tf.Graph().as_default(), tf.Session() as session:
        found = build(f"--label_smoothing={smoothing}", f"--weight_decay={decay}")
        weights = [v for v in tf.trainable_variables() if v.op.name.endswith("/weights")]
        session.run(tf.global_variables_initializer())
        # In one run: dropout is on, and each run would have masks of its own.
        logits, cross_entropy, total_loss, accuracy, weights = session.run(
            (found.logits, found.cross_entropy, found.total_loss, found.accuracy, weights)
        )
    assert logits.shape == (4, 3)
    logits = logits.astype(np.float64)
    log_shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    targets = np.eye(3)[LABELS] * (1 - smoothing) + smoothing / 3
    expected = -(targets * log_shares).sum(axis=1).mean()
    assert cross_entropy == pytest.approx(expected, rel=1e-5)
    assert len(weights) == 4  # two convolutions, two fully connected
    penalty = sum(decay * (w.astype(np.float64) ** 2).sum() / 2 for w in weights)
    assert total_loss == pytest.approx(expected + penalty, rel=1e-5)
    assert accuracy == np.mean(logits.argmax(axis=1) == LABELS)


def test_the_loss_of_an_auxiliary_head(build):
    """Inception v3 has one; the cross entropy stays that of the head alone."""
    flags = ("--model_name=inception_v3", "--depth_multiplier=0.05", "--weight_decay=0.01")
    with tf.Graph().as_default(), tf.Session() as session:
        found = build(*flags, "--label_smoothing=0.1", size=32)
        weights = [v for v in tf.trainable_variables() if v.op.name.endswith("/weights")]
        session.run(tf.global_variables_initializer())
        # Its own logits begin so near to 0 that any would cost the same.
        logits = next(v for v in weights if v.op.name.endswith("AuxLogits/Conv2d_2b_1x1/weights"))
        logits.load(np.random.RandomState(1).normal(0, 1, logits.shape.as_list()), session)
        heads = [found.logits, found.end_points["AuxLogits"]]
        heads, cross_entropy, auxiliary, total, weights = session.run(
            (heads, found.cross_entropy, found.auxiliary_loss, found.total_loss, weights)
        )
    expected = []
    for logits in heads:
        assert logits.shape == (4, 3)
        assert np.ptp(logits) > 0.1
        logits = logits.astype(np.float64)
        log_shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        targets = np.eye(3)[LABELS] * 0.9 + 0.1 / 3
        expected.append(-(targets * log_shares).sum(axis=1).mean())
    assert cross_entropy == pytest.approx(expected[0], rel=1e-5)
    assert auxiliary == pytest.approx(0.4 * expected[1], rel=1e-5)
    penalty = sum(0.01 * (w.astype(np.float64) ** 2).sum() / 2 for w in weights)
    assert total == pytest.approx(expected[0] + 0.4 * expected[1] + penalty, rel=1e-5)


def test_pictures_that_a_net_would_shrink_to_nothing_are_told(build):
    """LeNet halves them twice."""
    with tf.Graph().as_default():
        assert build(size=4).logits.shape == (4, 3)
    with (
        tf.Graph().as_default(),
        pytest.raises(FlagError, match="of 3 pixels are too small for the net lenet - use larger"),
    ):
        build(size=3)


@pytest.mark.parametrize(("size", "stride", "smallest"), [(74, 8, 75), (22, 2, 23)])
def test_a_schedule_of_pictures_that_inception_v3_would_shrink_to_nothing(
    configured, size, stride, smallest
):
    """It pads small pictures only where it knows their size."""
    net = ("--model_name=inception_v3", f"--stem_stride={stride}")
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [2, None, None, 3])
        for sizes in (
            ("--train_image_size=96", f"--image_size_schedule=80:1,{size}:2"),
            (f"--train_image_size={size}", "--image_size_schedule=80:1"),
        ):
            with pytest.raises(FlagError, match=rf"of {size} pixels .* use {smallest} or more"):
                model.build_net(images, 4, configured(*net, *sizes), is_training=True)


def test_batch_norm_decay_reaches_the_moving_averages(build):
    """After one step an average that started at 0 is (1 - decay) of the batch's mean."""
    found = {}
    for decay in (0.5, 0.9):
        with tf.Graph().as_default() as graph, tf.Session() as session:
            build("--model_name=mobilenet_v1_025", f"--batch_norm_decay={decay}", size=16)
            # The first layer's inputs do not depend on the updates of the others.
            scope = "MobilenetV1/Conv2d_0/BatchNorm"
            updates = [
                op
                for op in graph.get_collection(tf.GraphKeys.UPDATE_OPS)
                if op.name.startswith("MobilenetV1/MobilenetV1/Conv2d_0/BatchNorm")
            ]
            mean = next(v for v in tf.global_variables() if v.op.name == f"{scope}/moving_mean")
            session.run(tf.global_variables_initializer())
            session.run(updates)
            found[decay] = session.run(mean)
    assert np.abs(found[0.5]).max() > 0
    np.testing.assert_allclose(found[0.5], 5 * found[0.9], rtol=1e-4, atol=1e-7)


def test_batch_norm_decay_of_a_net_without_batch_norm(build):
    with tf.Graph().as_default(), pytest.raises(FlagError, match="lenet has no batch_norm_decay"):
        build("--batch_norm_decay=0.9")


def test_evaluation_has_no_dropout(build, configured):
    images = np.random.RandomState(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        logits, _ = model.build_net(tf.constant(images), 3, configured(), is_training=False)
        session.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(session.run(logits), session.run(logits))
        assert not tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    with tf.Graph().as_default(), tf.Session() as session:
        found, step = build(), tf.train.get_global_step()
        session.run(tf.global_variables_initializer())
        first = session.run(found.logits)
        step.load(1, session)
        assert not np.array_equal(session.run(found.logits), first)


def test_variables_to_restore(configured):
    with tf.Graph().as_default():
        tf.train.create_global_step()
        model.build_net(tf.zeros([1, 8, 8, 3]), 3, configured(), is_training=False)
        names = {
            f"LeNet/{layer}/{kind}"
            for layer in ("conv1", "conv2", "fc3", "fc4")
            for kind in ("weights", "biases")
        }
        assert set(model.variables_to_restore(None)) == names
        averages = {f"{name}/ExponentialMovingAverage" for name in names}
        assert set(model.variables_to_restore(0.9)) == averages | {"global_step"}


@pytest.mark.parametrize(
    ("net", "size"), [("lenet", 28), ("cifarnet", 32), ("mobilenet_v1_025", 224)]
)
def test_default_image_size(net, size):
    assert model.default_image_size(net) == size


@pytest.mark.parametrize("name", ["inception_v1", "mobilenet_v1_025", "resnet_v1_50"])
@pytest.mark.parametrize(("size", "arguments"), [(320, []), (None, []), (96, ["--stem_stride=1"])])
def test_maps_larger_than_the_pool_of_the_net(configured, name, size, arguments):
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [2, size, size, 3])
        config = configured(f"--model_name={name}", *arguments)
        logits, _ = model.build_net(images, 4, config, is_training=False)
        assert logits.shape.as_list() == [2, 4]


@pytest.mark.parametrize(
    ("name", "weights", "filters"),
    [
        ("mobilenet_v1", "MobilenetV1/Conv2d_13_pointwise/weights", 512),
        ("resnet_v1_50", "resnet_v1_50/block4/unit_3/bottleneck_v1/conv3/weights", 1024),
        ("inception_v1", "InceptionV1/Mixed_5c/Branch_0/Conv2d_0a_1x1/weights", 192),
    ],
)
def test_depth_multiplier_and_stem_stride_reach_the_net(configured, name, weights, filters):
    config = configured(f"--model_name={name}", "--depth_multiplier=0.5", "--stem_stride=1")
    with tf.Graph().as_default() as graph:
        model.build_net(tf.zeros([1, 32, 32, 3]), 4, config, is_training=False)
        assert next(v for v in tf.global_variables() if v.op.name == weights).shape[-1] == filters
        first = next(op for op in graph.get_operations() if op.type == "Conv2D")
        assert first.outputs[0].shape[1:3].as_list() == [32, 32]


@pytest.mark.parametrize(
    ("net", "flag"),
    [
        ("lenet", "depth_multiplier"),
        ("lenet", "stem_stride"),
        ("resnet_v1_50", "dropout_keep_prob"),
    ],
)
def test_an_argument_that_the_net_does_not_have(build, net, flag):
    with tf.Graph().as_default(), pytest.raises(FlagError, match=f"{net} has no --{flag}"):
        build(f"--model_name={net}", f"--{flag}=1")


def test_dropout_keep_prob(build):
    """At 1 there is no mask; otherwise so many of LeNet's 1,024 features are kept."""
    for keep in (1.0, 0.25):
        with tf.Graph().as_default() as graph, tf.Session() as session:
            build(f"--dropout_keep_prob={keep}")
            masks = [op for op in graph.get_operations() if "dropout/" in op.name.lower()]
            session.run(tf.global_variables_initializer())
            if keep == 1:
                assert not masks
                continue
            dropped = next(op for op in masks if "SelectV2" in op.type).outputs[0]
            share = np.mean(session.run(dropped) != 0) / np.mean(
                session.run(graph.get_tensor_by_name("LeNet/fc3/Relu:0")) != 0
            )
        assert share == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("flag", ["mixup_alpha", "cutmix_alpha"])
def test_mixing_reaches_the_loss(build, flag):
    def loss(*arguments):
        with tf.Graph().as_default(), tf.Session() as session:
            found = build("--dropout_keep_prob=1", *arguments)
            session.run(tf.global_variables_initializer())
            # Initial values depend on how many operations there are.
            for number, variable in enumerate(tf.trainable_variables()):
                drawn = np.random.RandomState(number).normal(0, 0.1, variable.shape.as_list())
                variable.load(drawn, session)
            return session.run((found.cross_entropy, found.logits))

    plain, plain_logits = loss()
    np.testing.assert_allclose(loss(f"--{flag}=0.0")[1], plain_logits, rtol=1e-6)
    cross_entropy, logits = loss(f"--{flag}=1.0")
    assert not np.allclose(logits, plain_logits, rtol=1e-3)
    assert cross_entropy != pytest.approx(plain, rel=1e-3)


@pytest.mark.parametrize(
    "name",
    [
        *("mobilenet_v1_025", "vgg_16", "lenet", "cifarnet"),
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("inception_v1", "inception_v3", "resnet_v1_50")
        ),
    ],
)
def test_every_net_takes_a_head_of_ones_own(configured, name):
    """The features are what the net's own head is built on; only that is replaced."""
    found = {}
    for units in (0, 6):
        with tf.Graph().as_default():
            config = configured(f"--model_name={name}", f"--head_units={units}")
            images = tf.placeholder(tf.float32, [None, 32, 32, 3])
            logits, end_points = model.build_net(images, 4, config, is_training=True)
            assert logits.shape.as_list() == [None, 4]
            variables = slim.get_model_variables()
            head = model.head_names([v.op.name for v in variables], config)
            found[units] = {v.op.name: v.shape.as_list() for v in variables}
            found[units, "body"] = {n: s for n, s in found[units].items() if n not in head}
    weights = [n for n in found[0] if n not in found[6] and n.endswith("/weights")]
    channels = found[0][weights[-1]][-2]  # those of an auxiliary head come before
    assert found[6, "body"] == found[0, "body"]
    assert found[6] == found[0, "body"] | {
        **{"Head/hidden/weights": [channels, 6], "Head/hidden/biases": [6]},
        **{"Head/logits/weights": [6, 4], "Head/logits/biases": [4]},
    }
    assert {"Logits", "Predictions"} <= end_points.keys()


@pytest.mark.parametrize(("name", "size"), [("inception_v1", None), ("mobilenet_v1_025", 320)])
def test_a_head_of_ones_own_on_pictures_of_any_size(configured, name, size):
    with tf.Graph().as_default():
        images = tf.placeholder(tf.float32, [2, size, size, 3])
        config = configured(f"--model_name={name}", "--head_units=6")
        logits, _ = model.build_net(images, 4, config, is_training=False)
        assert logits.shape.as_list() == [2, 4]


def test_the_flags_of_a_head_of_ones_own_reach_it(build):
    with tf.Graph().as_default() as graph:
        build("--head_units=6", "--head_dropout=0.3", "--weight_decay=0.01")
        assert any(op.name.startswith("Head/dropout/") for op in graph.get_operations())
        assert len(tf.losses.get_regularization_losses()) == 5  # 2 convolutions, fc3, 2 of the head


def test_batch_norm_is_frozen_by_its_flag(build):
    with tf.Graph().as_default():
        build("--model_name=mobilenet_v1_025", "--freeze_batch_norm", size=16)
        assert not tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        assert not [v for v in tf.trainable_variables() if "BatchNorm" in v.op.name]


def test_the_names_of_a_head_end_with_those_of_the_logits(configured):
    averages = [f"Head/{name}/weights/ExponentialMovingAverage" for name in ("logits", "hidden")]
    names = ["LeNet/fc4/weights", "Head/logits/biases", *averages, "Header/weights"]
    assert model.head_names(names, configured("--head_units=5")) == [
        averages[1],
        names[1],
        averages[0],
    ]
    assert model.head_names(names, configured()) == names[:1]


def test_the_names_of_an_auxiliary_head_are_those_of_a_head(configured):
    heads = [f"InceptionV3/{head}/Conv2d_2b_1x1/weights" for head in ("AuxLogits", "Logits")]
    names = [heads[1], "InceptionV3/Mixed_6e/weights", heads[0]]
    assert model.head_names(names, configured("--model_name=inception_v3")) == heads
