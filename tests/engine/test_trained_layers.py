"""Which variables are trained: scopes, and layers counted from the head."""

import pytest

from core.compat import tf
from core.errors import FlagError
from engine import model, trained_layers

NAMES = [
    *("Net/Conv2d_1/weights", "Net/Conv2d_1/BatchNorm/beta", "Net/Conv2d_10/weights"),
    *("Net/Logits/weights", "Network/weights"),
]


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        (["Net/Conv2d_1"], NAMES[:2]),
        (["Net"], NAMES[:4]),
        (["Net/Conv2d_10", "Network"], [NAMES[2], NAMES[4]]),
        (["Net/Logits/weights"], [NAMES[3]]),
        ([], []),
    ],
)
def test_scopes_are_matched_by_whole_components(scopes, expected):
    assert trained_layers.names_in_scopes(NAMES, scopes, "--flag") == set(expected)


@pytest.mark.parametrize("scope", ["Net/Conv2d", "Conv2d_1", "net", "Net/Logits/weights/x"])
def test_scope_that_holds_nothing(scope):
    with pytest.raises(FlagError, match=f"no variable in scope {scope} of --trainable_scopes"):
        trained_layers.names_in_scopes(NAMES, ["Net", scope], "--trainable_scopes")


@pytest.fixture
def names_of(configured):
    """names_of("--flag=value", ...) are the variables that are trained, by a net on 16x16."""

    def names_of(*arguments):
        config = configured(*arguments)
        with tf.Graph().as_default():
            model.build_net(tf.zeros([1, 16, 16, 3]), 3, config, is_training=True)
            return [variable.op.name for variable in trained_layers.trained(config)]

    return names_of


def test_trained_scopes(names_of):
    assert len(names_of()) == 8
    assert names_of("--trainable_scopes= LeNet/conv1/ , LeNet/fc4/biases") == [
        *("LeNet/conv1/weights", "LeNet/conv1/biases", "LeNet/fc4/biases")
    ]


KINDS = ("weights", "biases")
LENET = [f"LeNet/{layer}/{kind}" for layer in ("conv1", "conv2", "fc3", "fc4") for kind in KINDS]


@pytest.mark.parametrize(
    ("count", "expected"), [(0, LENET[6:]), (1, LENET[4:]), (3, LENET), (99, LENET)]
)
def test_the_last_layers(names_of, count, expected):
    assert names_of(f"--unfreeze_last_n_layers={count}") == expected


def test_a_convolution_and_its_batch_norm_are_one_layer(names_of):
    scope = "MobilenetV1/Conv2d_13"
    assert names_of("--model_name=mobilenet_v1_025", "--unfreeze_last_n_layers=2") == [
        *(f"{scope}_depthwise/depthwise_weights",),
        *(f"{scope}_depthwise/BatchNorm/gamma", f"{scope}_depthwise/BatchNorm/beta"),
        *(f"{scope}_pointwise/weights",),
        *(f"{scope}_pointwise/BatchNorm/gamma", f"{scope}_pointwise/BatchNorm/beta"),
        *("MobilenetV1/Logits/Conv2d_1c_1x1/weights", "MobilenetV1/Logits/Conv2d_1c_1x1/biases"),
    ]


def test_a_batch_norm_before_a_convolution_belongs_to_the_layer_before_it(names_of):
    scope = "resnet_v2_50/block4/unit_3/bottleneck_v2"
    found = names_of("--model_name=resnet_v2_50", "--unfreeze_last_n_layers=3")
    norms = [f"{scope}/{layer}/BatchNorm" for layer in ("conv1", "conv2")]
    assert found == [
        *(f"{scope}/conv1/weights", f"{norms[0]}/gamma", f"{norms[0]}/beta"),  # preact is further
        *(f"{scope}/conv2/weights", f"{norms[1]}/gamma", f"{norms[1]}/beta"),
        *(f"{scope}/conv3/weights", f"{scope}/conv3/biases"),
        *("resnet_v2_50/postnorm/gamma", "resnet_v2_50/postnorm/beta"),
        *("resnet_v2_50/logits/weights", "resnet_v2_50/logits/biases"),
    ]
    further = names_of("--model_name=resnet_v2_50", "--unfreeze_last_n_layers=4")
    conv3 = "resnet_v2_50/block4/unit_2/bottleneck_v2/conv3"
    added = [f"{conv3}/weights", f"{conv3}/biases", f"{scope}/preact/gamma", f"{scope}/preact/beta"]
    assert further == added + found


def test_what_comes_before_all_weights_belongs_to_the_first_layer(configured):
    names = ["LeNet/norm/beta", "LeNet/conv/weights", "LeNet/conv/biases", "LeNet/scale/gamma"]
    head = ["LeNet/fc4/norm/beta", "LeNet/fc4/weights"]
    with tf.Graph().as_default():
        for name in [*names, *head]:
            tf.get_variable(name, [])
        depths = trained_layers.depths(configured("--model_name=lenet"))
    assert depths == dict.fromkeys(names, 1) | dict.fromkeys(head, 0)


def test_the_head_of_ones_own_is_not_counted(names_of):
    head = [f"Head/{layer}/{kind}" for layer in ("hidden", "logits") for kind in KINDS]
    assert names_of("--head_units=5", "--unfreeze_last_n_layers=1") == [*LENET[4:6], *head]


# Layers: 57 convolutions of 3 + 9 x 6 (inception_v1), 94 of 5 + 3 x 7 + 4 + 4 x 10 + 6 + 2 x 9
# (inception_v3), 53 of 1 + 16 x 3 + 4 (both ResNets), 1 + 13 x 2.
@pytest.mark.parametrize(
    ("net", "layers"),
    [
        *(("inception_v1", 57), ("inception_v3", 94), ("resnet_v1_50", 53), ("resnet_v2_50", 53)),
        ("mobilenet_v1_025", 27),
    ],
)
def test_depths(configured, net, layers):
    config = configured(f"--model_name={net}")
    with tf.Graph().as_default():
        model.build_net(tf.zeros([1, 32, 32, 3]), 3, config, is_training=True)
        depths = trained_layers.depths(config)
        first = next(iter(depths))
        assert depths.keys() == {v.op.name for v in tf.trainable_variables()}
    assert set(depths.values()) == set(range(layers + 1))
    assert depths[first] == layers
    heads = {name.split("/")[1].lower() for name in depths if depths[name] == 0}
    assert heads == ({"logits", "auxlogits"} if net == "inception_v3" else {"logits"})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], []),
        (["--unfreeze_last_n_layers=9"], []),
        (["--unfreeze_last_n_layers=1"], ["Training 2 of 4 layers"]),
        (["--head_only_steps=3"], ["Training 1 of 4 layers until step 3, then 4 of 4"]),
        (
            ["--head_only_steps=3", "--unfreeze_last_n_layers=1", "--head_units=5"],
            ["Training 2 of 5 layers until step 3, then 3 of 5"],
        ),
    ],
)
def test_the_log_says_what_is_trained(names_of, caplog, arguments, expected):
    caplog.set_level("INFO", logger="absl")
    names_of(*arguments)
    assert [message for message in caplog.messages if message.startswith("Training")] == expected
