"""What holds for every registered net."""

import functools
import inspect
import math
import subprocess
import sys

import numpy as np
import pytest

from core.compat import slim, tf
from core.errors import FlagError
from nets.nets_factory import NETS, get_network_fn, net_function

# Per net with 10 classes: (variables, values, L2 losses). A batch norm with gamma has 4 variables
# of one value per channel, one without has 3, a bias is 1.
EXPECTED = {
    # 57 x (weights + 3) + 2 variables; 5,585,344 + 3 x 7,280 values, head 1,024 x 10 + 10.
    "inception_v1": (230, 5_607_184 + 10_250, 58),
    # 68 x (weights + 3) + 2, and 3 of the separable layer; 10,143,384 + 3 x 9,888 + 64 biases.
    "inception_v2": (277, 10_173_112 + 10_250, 69),
    # 94 x (weights + 3) + 2; 21,751,136 + 3 x 17,216, head 2,048 x 10 + 10. The auxiliary head has
    # 2 x (weights + 3) + 2; 768 x 128 + 25 x 128 x 768 = 2,555,904, 3 x (128 + 768), 768 x 10 + 10.
    "inception_v3": (378 + 10, 21_802_784 + 20_490 + 2_555_904 + 2_688 + 7_690, 95 + 3),
    # 53 x (weights + 4) + 2; 23,454,912 + 4 x 26,560, head 2,048 x 10 + 10.
    "resnet_v1_50": (267, 23_561_152 + 20_490, 54),
    # The deeper ones are built with biases for speed: 53 x 2 + 2 variables and 23,454,912 + 26,560
    # + 20,490 = 23,501,962 values of ResNet-50, and further units of 6 variables each. 17 units in
    # block3 have 262,144 + 589,824 + 262,144 weights and 1,536 biases: 1,115,648.
    "resnet_v1_101": (108 + 17 * 6, 23_501_962 + 17 * 1_115_648, 54 + 17 * 3),
    # 4 in block2 of 65,536 + 147,456 + 65,536 weights and 768 biases, 279,296, and 30 in block3.
    "resnet_v1_152": (108 + 34 * 6, 23_501_962 + 4 * 279_296 + 30 * 1_115_648, 54 + 34 * 3),
    # 20 in block2 and 30 in block3.
    "resnet_v1_200": (108 + 50 * 6, 23_501_962 + 20 * 279_296 + 30 * 1_115_648, 54 + 50 * 3),
    # 20 x (weights + 4) + 2 of 1 + 8 x 2 + 3 convolutions. A unit of c channels has 18 c^2 weights,
    # one that begins a block of twice the channels 14 c^2: 9,408 + 36 x 64^2 + 32 x (128^2 + 256^2
    # + 512^2) = 11,166,912; 4 x 4,800, head 512 x 10 + 10.
    "resnet_v1_18": (102, 11_166_912 + 19_200 + 5_130, 21),
    # 36 x 5 + 2 of 1 + 16 x 2 + 3; 9,408 + 54 x 64^2 + 68 x 128^2 + 104 x 256^2 + 50 x 512^2 =
    # 21,267,648; 4 x 8,512.
    "resnet_v1_34": (182, 21_267_648 + 34_048 + 5_130, 37),
    # 53 weights, biases of 1 + 4 + 16 convolutions, 16 + 2 x 16 + 1 batch norms, and 2; 23,454,912,
    # biases 64 + 3,840 + 15,104 = 19,008, norms 4 x (13,120 + 7,552 + 2,048 = 22,720), head 2,048 x
    # 10 + 10.
    "resnet_v2_50": (53 + 21 + 4 * 49 + 2, 23_454_912 + 19_008 + 90_880 + 20_490, 54),
    # 27 x 5 + 2; first layer 864, depthwise 9 x 4,960, pointwise 3,139,584, 4 x 10,944, and
    # 1,024 x 10 + 10. Depthwise weights have no L2.
    "mobilenet_v1": (137, 3_239_114, 15),
    # 0.75 x (864 + 44,640) + 0.75^2 x 3,139,584 = 1,800,144; 4 x 8,208; 768 x 10 + 10.
    "mobilenet_v1_075": (137, 1_800_144 + 32_832 + 7_690, 15),
    # 0.5 x 45,504 + 0.25 x 3,139,584 = 807,648; 4 x 5,472; 512 x 10 + 10.
    "mobilenet_v1_050": (137, 807_648 + 21_888 + 5_130, 15),
    # 0.25 x 45,504 + 0.0625 x 3,139,584 = 207,600; 4 x 2,736; 256 x 10 + 10.
    "mobilenet_v1_025": (137, 207_600 + 10_944 + 2_570, 15),
    # 52 x 5 + 2; 2,125,536 weights, depthwise 64,224, 4 x 17,056, and 1,280 x 10 + 10. 17 of the 52
    # are depthwise.
    "mobilenet_v2": (262, 2_125_536 + 64_224 + 68_224 + 12_810, 36),
    # Depths are multiples of 8, so that the others have sums of their own: test_mobilenet_v2.py.
    "mobilenet_v2_140": (262, 4_177_552 + 90_288 + 95_872 + 17_930, 36),
    "mobilenet_v2_075": (262, 1_279_752 + 49_032 + 53_280 + 12_810, 36),
    "mobilenet_v2_050": (262, 636_592 + 32_544 + 37_088 + 12_810, 36),
    "mobilenet_v2_035": (262, 358_576 + 23_472 + 28_160 + 12_810, 36),
    # 46 x 5 + 8 x 4 + 2 + 2; 1,343,664 weights, depthwise 91,608, 4 x 12,200, squeeze-and-excite
    # 1,507,200 + 5,080, 960 x 1,280 + 1,280, and 1,280 x 10 + 10; 46 - 15 + 16 + 2 with L2.
    "mobilenet_v3_large": (266, 1_435_272 + 48_800 + 1_512_280 + 1_230_080 + 12_810, 49),
    # 34 x 5 + 9 x 4 + 2 + 2; 394,672 weights, depthwise 58,584, 4 x 6,056, squeeze-and-excite
    # 458,752 + 2,888, 576 x 1,024 + 1,024, and 1,024 x 10 + 10; 34 - 11 + 18 + 2 with L2.
    "mobilenet_v3_small": (210, 453_256 + 24_224 + 461_640 + 590_848 + 10_250, 43),
    # 13 convolutions of 14,710,464 weights and 4,224 biases, (7x7x512) x 4,096 + 4,096,
    # 4,096 x 4,096 + 4,096, 4,096 x 10 + 10.
    "vgg_16": (32, 14_714_688 + 102_764_544 + 16_781_312 + 40_970, 16),
    # 5x5x3x32 + 32, 5x5x32x64 + 64, (7x7x64) x 1,024 + 1,024, 1,024 x 10 + 10.
    "lenet": (8, 2_432 + 51_264 + 3_212_288 + 10_250, 4),
    # 5x5x3x64 + 64, 5x5x64x64 + 64, (8x8x64) x 384 + 384, 384 x 192 + 192, 192 x 10 + 10.
    "cifarnet": (10, 4_864 + 102_464 + 1_573_248 + 73_920 + 1_930, 2),
    # 120 weights, 121 x 4 of batch norms, 2; 6,870,208 weights, 4 x 41,824, head 1,024 x 10 + 10:
    # sums of their own in test_densenet.py.
    "densenet121": (606, 6_870_208 + 167_296 + 10_250, 121),
    # 49 x 5, 16 x 4 of squeeze-and-excite, 2; 3,956,192 weights, 9,340 biases, 4 x 21,008, head
    # 1,280 x 10 + 10: sums of their own in test_efficientnet.py.
    "efficientnet_b0": (311, 3_956_192 + 9_340 + 84_032 + 12_810, 49 + 32 + 1),
    # 23 units in place of 16: 69 x 5, 23 x 4, 2; 4 x 31,024.
    "efficientnet_b1": (439, 6_436_976 + 14_160 + 124_096 + 12_810, 69 + 46 + 1),
}
# Other sizes of nets that are tested at one size in every run.
VARIANTS = {
    *("resnet_v1_101", "resnet_v1_152", "resnet_v1_200", "efficientnet_b1"),
    *("mobilenet_v1_075", "mobilenet_v1_050"),
    *("mobilenet_v2_140", "mobilenet_v2_075", "mobilenet_v2_050"),
}


def in_turn(names, always):
    """Names as parameters of a test, those that not every run tests marked as slow."""
    return [pytest.param(name, marks=() if name in always else pytest.mark.slow) for name in names]


EVERY_NET = in_turn(NETS, NETS.keys() - VARIANTS)
RUN_AT_32 = in_turn(
    NETS,
    {
        *("inception_v3", "resnet_v1_18", "resnet_v2_50", "mobilenet_v1", "mobilenet_v2_035"),
        *("mobilenet_v3_small", "efficientnet_b0", "vgg_16", "lenet", "cifarnet"),
    },
)
FROZEN = in_turn(
    [
        *("inception_v1", "inception_v2", "inception_v3", "resnet_v1_50", "resnet_v2_50"),
        *("mobilenet_v1_025", "mobilenet_v2_035", "mobilenet_v3_small", "efficientnet_b0"),
    ],
    {"inception_v2", "resnet_v2_50", "mobilenet_v1_025", "mobilenet_v3_small"},
)
BUILT_WITH_BIASES = ["resnet_v1_101", "resnet_v1_152", "resnet_v1_200"]
AUXILIARY = "/AuxLogits"  # layers of a head that is there to train the net alone
NORM = ("/gamma", "/beta", "/moving_mean", "/moving_variance")
RANDOM_OPS = ("Random", "Multinomial", "TruncatedNormal", "Dropout")


@functools.cache
def built(name):
    """The training graph of a net with 10 classes at its default size, batch size unknown."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(1)
        tf.train.get_or_create_global_step()
        use_batch_norm = {"use_batch_norm": False} if name in BUILT_WITH_BIASES else {}
        network_fn = get_network_fn(name, 10, 0.001, is_training=True, **use_batch_norm)
        size = network_fn.default_image_size
        logits, end_points = network_fn(tf.placeholder(tf.float32, [None, size, size, 3]))
    return graph, logits, end_points


def multiply_adds_of(op):
    """Multiply-adds that a convolution or a matrix product takes for one picture of the batch."""
    # Of what is summed up for one number of the output: the first dimensions of the weights.
    dimensions = {"Conv2D": 3, "DepthwiseConv2dNative": 2, "MatMul": 1}.get(op.type)
    if not dimensions:
        return 0
    return math.prod(op.outputs[0].shape[1:]) * math.prod(op.inputs[1].shape[:dimensions])


def initializer_ops(graph):
    """All ops that run only when variables are initialised."""
    pending = [variable.initializer for variable in graph.get_collection("variables")]
    found = set()
    while pending:
        op = pending.pop()
        if op not in found and op.type != "VarHandleOp":
            found.add(op)
            pending += [tensor.op for tensor in op.inputs]
    return found


def test_all_tested():
    assert NETS.keys() == EXPECTED.keys()


@pytest.mark.parametrize("name", EVERY_NET)
def test_default_size_and_counts(name):
    graph, logits, end_points = built(name)
    variables, values, _ = EXPECTED[name]
    model_variables = graph.get_collection(tf.GraphKeys.MODEL_VARIABLES)
    assert get_network_fn(name, 10).default_image_size == NETS[name].image_size
    assert len(model_variables) == variables
    assert sum(int(np.prod(v.shape.as_list())) for v in model_variables) == values
    assert logits.shape.as_list() == [None, 10]
    predictions = end_points["predictions" if name.startswith("resnet") else "Predictions"]
    assert predictions.shape.as_list() == [None, 10]
    assert predictions.op.name.endswith("redictions/Reshape_1")


@pytest.mark.parametrize("name", EVERY_NET)
def test_registered_cost(name):
    """The figures of the registry are of 1000 classes, and of the net without what trains it."""
    graph, _, _ = built(name)
    with graph.as_default():
        trainable = [v for v in tf.trainable_variables() if AUXILIARY not in v.op.name]
    parameters = sum(v.shape.num_elements() for v in trainable)
    if name in BUILT_WITH_BIASES:  # in place of gamma and beta, and the logits have theirs anyway
        biases = [v.shape.num_elements() for v in trainable if v.op.name.endswith("/biases")]
        parameters += sum(biases) - 10
    operations = [op for op in graph.get_operations() if AUXILIARY not in op.name]
    multiply_adds = [count for count in map(multiply_adds_of, operations) if count]
    features = multiply_adds[-1] // 10
    assert parameters + 990 * (features + 1) == NETS[name].parameters
    assert sum(multiply_adds) + 990 * features == NETS[name].multiply_adds


@pytest.mark.parametrize("name", EVERY_NET)
def test_weights_with_l2(name):
    assert (
        len(built(name)[0].get_collection(tf.GraphKeys.REGULARIZATION_LOSSES))
        == (EXPECTED[name][2])
    )


@pytest.mark.parametrize("name", EVERY_NET)
def test_head_scopes_hold_the_variables_that_depend_on_the_classes(name):
    variables = built(name)[0].get_collection(tf.GraphKeys.MODEL_VARIABLES)
    heads = tuple(f"{scope}/" for scope in net_function(name).head_scopes)
    in_head = {v.op.name for v in variables if v.op.name.startswith(heads)}
    # No net has a layer of 10 channels but its logits, and a unit that squeezes 40.
    of_10 = {v.op.name for v in variables if v.shape.as_list()[-1] == 10}
    of_classes = {layer for layer in of_10 if "/squeeze_excite/" not in layer}
    assert of_classes <= in_head
    assert all(AUXILIARY in layer for layer in in_head - of_classes)
    assert len([layer for layer in of_classes if AUXILIARY not in layer]) == 2


@pytest.mark.parametrize(
    "name",
    [
        *("inception_v1", "inception_v2", "inception_v3"),
        "resnet_v1_50",
        "mobilenet_v1",
        "mobilenet_v2",
        "mobilenet_v3_large",
        "vgg_16",
        "lenet",
        "cifarnet",
        "efficientnet_b0",
    ],
)
def test_training_graph_has_no_stateful_random_op(name):
    graph, _, _ = built(name)
    random_ops = [op for op in graph.get_operations() if any(t in op.type for t in RANDOM_OPS)]
    for op in set(random_ops) - initializer_ops(graph):
        assert op.type.startswith("Stateless"), op.name
    stateless = [op for op in random_ops if op.type.startswith("Stateless")]
    assert bool(stateless) == (name != "resnet_v1_50")


@pytest.mark.parametrize(
    "name",
    [
        *("inception_v1", "inception_v2", "inception_v3", "resnet_v1_50", "mobilenet_v1"),
        *("mobilenet_v2", "densenet121", "efficientnet_b0"),
    ],
)
def test_batch_norm_is_fused(name):
    types = [op.type for op in built(name)[0].get_operations()]
    convolutions = types.count("Conv2D") + types.count("DepthwiseConv2dNative")
    # All but the logits, and both parts of a separable first layer, auxiliary logits, or
    # squeeze-and-excite; DenseNet has a norm at its end.
    without = {
        "inception_v2": 3,
        "inception_v3": 2,
        "densenet121": 0,
        "efficientnet_b0": 1 + 2 * 16,
    }
    without = without.get(name, 1)
    assert types.count("FusedBatchNormV3") == convolutions - without
    assert types.count("Rsqrt") == 0


@pytest.mark.parametrize("name", RUN_AT_32)
def test_runs_at_32(name):
    images = np.random.RandomState(1).uniform(-1, 1, [2, 32, 32, 3])
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.set_random_seed(1)
        network_fn = get_network_fn(name, 10, is_training=False)
        logits, end_points = network_fn(tf.constant(images, tf.float32))
        predictions = end_points.get("Predictions", end_points.get("predictions"))
        session.run(tf.global_variables_initializer())
        values, probabilities = session.run([logits, predictions])
        # Without training and weight decay nothing is left in the graph of them.
        assert not graph.get_collection(tf.GraphKeys.UPDATE_OPS)
        assert not graph.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
    assert np.isfinite(values).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), [1, 1], rtol=1e-5)


@pytest.mark.parametrize("name", ["lenet", "cifarnet", "mobilenet_v1_025"])
def test_builds_at_28_and_without_classes(name):
    with tf.Graph().as_default():
        features, end_points = get_network_fn(name, None)(
            tf.placeholder(tf.float32, [None, 28, 28, 1])
        )
    depths = {"lenet": [1024], "cifarnet": [192], "mobilenet_v1_025": [1, 1, 256]}
    assert features.shape.as_list() == [None, *depths[name]]
    assert not {"Logits", "Predictions"} & end_points.keys()


@pytest.mark.parametrize("name", ["lenet", "mobilenet_v1_025"])
def test_training_lowers_the_loss(name):
    random = np.random.RandomState(1)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.set_random_seed(1)
        step = tf.train.get_or_create_global_step()
        images = tf.constant(random.uniform(-1, 1, [8, 28, 28, 3]), tf.float32)
        labels = tf.constant(np.arange(8) % 4)
        logits, _ = get_network_fn(name, 4, is_training=True)(images)
        loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
        with tf.control_dependencies(graph.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train = tf.train.AdamOptimizer(0.001).minimize(loss, global_step=step)
        session.run(tf.global_variables_initializer())
        losses = [session.run([loss, train])[0] for _ in range(15)]
    assert np.mean(losses[-3:]) < losses[0] / 2


def test_batch_norm_decay_reaches_the_net():
    images = np.random.RandomState(1).uniform(-1, 1, [4, 8, 8, 3])
    with tf.Graph().as_default() as graph, tf.Session() as session:
        get_network_fn("mobilenet_v1_025", 2, is_training=True, batch_norm_decay=0.75)(
            tf.constant(images, tf.float32)
        )
        convolved = graph.get_tensor_by_name("MobilenetV1/MobilenetV1/Conv2d_0/Conv2D:0")
        mean = next(v for v in tf.global_variables() if v.op.name.endswith("moving_mean"))
        updates = graph.get_collection(tf.GraphKeys.UPDATE_OPS)
        session.run(tf.global_variables_initializer())
        batch_mean = session.run(tf.reduce_mean(convolved, [0, 1, 2]))
        session.run(updates)
        # The average starts at 0: 0.75 x 0 + 0.25 x batch mean.
        np.testing.assert_allclose(session.run(mean), 0.25 * batch_mean, atol=1e-6)


def test_override_none_is_the_default_of_the_net():
    with tf.Graph().as_default():
        get_network_fn("lenet", 2, batch_norm_decay=None)(tf.ones([1, 28, 28, 1]))
        assert len(slim.get_model_variables()) == 8


@pytest.mark.parametrize("name", ["lenet", "cifarnet"])
def test_override_that_the_net_does_not_have_is_an_error(name):
    with pytest.raises(FlagError, match=rf"The net {name} has no batch_norm_decay"):
        get_network_fn(name, 2, batch_norm_decay=0.9)


def test_unknown_name_is_an_error_with_the_nearest_one():
    with pytest.raises(ValueError, match="Name of network unknown resnet_50 - did you mean resnet"):
        get_network_fn("resnet_50", 2)


def test_network_fn_passes_keywords_on():
    with tf.Graph().as_default():
        logits, end_points = get_network_fn("mobilenet_v1_025", 5)(
            tf.ones([1, 300, 300, 3]), global_pool=True, spatial_squeeze=False
        )
    assert logits.shape.as_list() == [1, 1, 1, 5]
    assert "global_pool" in end_points


def test_listing_the_nets_does_not_import_tensorflow():
    code = (
        "import sys; from nets.nets_factory import NETS; print(*NETS, 'tensorflow' in sys.modules)"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.split() == [*NETS, "False"]


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_batch_norm(name):
    """No updates, no gamma or beta to train, and in training the outputs of inference."""
    images = np.random.RandomState(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    small = {"depth_multiplier": 0.1}
    known = inspect.signature(net_function(name)).parameters
    everything_kept = {"dropout_keep_prob": 1.0, "drop_connect": 0.0}
    dropout = {key: value for key, value in everything_kept.items() if key in known}
    with tf.Graph().as_default(), tf.Session() as session:
        training = get_network_fn(name, 10, is_training=True, freeze_batch_norm=True)
        frozen, _ = training(tf.constant(images), **small, **dropout)
        assert not tf.get_collection(tf.GraphKeys.UPDATE_OPS)
        variables = tf.global_variables()
        assert len(variables) == EXPECTED[name][0]
        norms = {v.op.name for v in variables if v.op.name.endswith(NORM)}
        trainable = {v.op.name for v in tf.trainable_variables()}
        assert trainable == {v.op.name for v in variables} - norms
        plain, _ = get_network_fn(name, 10)(tf.constant(images), reuse=True, **small)
        assert tf.global_variables() == variables
        values = {}
        for number, variable in enumerate(variables):
            shape, is_norm = variable.shape.as_list(), variable.op.name in norms
            is_depthwise = variable.op.name.endswith("depthwise_weights")
            inputs = np.prod(shape[: 2 if is_depthwise else -1])
            scale = 0.1 if is_norm else inputs**-0.5
            near_one = variable.op.name.endswith(("variance", "gamma"))
            noise = np.random.RandomState(number).normal(size=shape)
            values[variable.initializer.inputs[1]] = noise * scale + near_one
        session.run([variable.initializer for variable in variables], values)
        frozen, plain = session.run([frozen, plain])
    assert not np.array_equal(plain[0], plain[1])  # the pictures have a part in them
    np.testing.assert_allclose(frozen, plain, rtol=1e-4, atol=1e-5)


def test_a_net_without_batch_norm_to_freeze():
    with pytest.raises(FlagError, match="the net lenet has no batch norm to freeze"):
        get_network_fn("lenet", 10, is_training=True, freeze_batch_norm=True)
