"""Our nets, with the weights of those of keras.applications, against these."""

import sys

import numpy as np
import pytest

from core.compat import slim, tf
from engine import keras_weights
from nets.nets_factory import NETS, get_network_fn
from preprocessing import preprocessing_factory

# Name: height and width of the pictures, pixels.
SIZES = {"mobilenet_v1": 64, "mobilenet_v1_025": 64}
SIZES |= {"resnet_v1_50": 33}  # 4 k + 1 or 4 k + 2, where both pad alike
# Keras pads the strided layers of these itself, which is to be SAME: maps of 64 are even until they
# are 1x1, those of 35 and 70 also odd.
SIZES |= {"mobilenet_v2": 64, "mobilenet_v2_035": 35}
SIZES |= {"mobilenet_v3_large": 64, "mobilenet_v3_small": 70}
SIZES |= {"inception_v3": 75, "vgg_16": 32}  # the smallest that Keras takes
SIZES |= {"densenet121": 64, "efficientnet_b0": 64, "efficientnet_b1": 65}
# Of other widths than those above.
WIDTHS = {"mobilenet_v1_075", "mobilenet_v1_050"}
WIDTHS |= {"mobilenet_v2_140", "mobilenet_v2_075", "mobilenet_v2_050"}
# Of the deeper ones the names alone are compared: units of their four blocks.
RESNET_UNITS = {"resnet_v1_101": (3, 4, 23, 3), "resnet_v1_152": (3, 8, 36, 3)}


def randomized(model, seed=1):
    """Gives all variables of a Keras net random values with which a signal keeps its size."""
    random = np.random.RandomState(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if len(shape) > 1:
            depthwise = len(shape) == 4 and shape[3] == 1
            inputs = np.prod(shape[:2] if depthwise else shape[:-1])
            weight.assign(random.normal(0, (2 / inputs) ** 0.5, shape))
        elif weight.name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, shape))
        elif weight.name in ("beta", "moving_mean", "bias"):
            weight.assign(random.normal(0, 0.1, shape))
    return model


def outputs_of_ours(name, model, pictures):
    """The logits of our net with the weights of a Keras net, which have to fill it."""
    with tf.Graph().as_default() as graph:
        logits, _ = get_network_fn(name, model.output_shape[-1])(tf.constant(pictures))
        variables = {v.op.name: v for v in slim.get_model_variables()}
    shapes = {name: tuple(v.shape.as_list()) for name, v in variables.items()}
    values = keras_weights.converted(model, name, shapes)
    assert values.keys() == variables.keys()
    with graph.as_default(), tf.Session() as session:
        # All at once: each run of something new costs a look at the whole graph.
        initializers = {name: variables[name].initializer for name in values}
        fed = {initializers[name].inputs[1]: value for name, value in values.items()}
        session.run(list(initializers.values()), fed)
        return session.run(logits)


def test_every_application_is_compared():
    assert {*SIZES, *WIDTHS, *RESNET_UNITS} == set(keras_weights.APPLICATIONS)


# Of these a net of other width or depth is compared in every run.
SLOW = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b1")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in SIZES]
)
def test_our_net_is_the_same_function(name):
    size = SIZES[name]
    model = randomized(keras_weights.application(name, 7, size))
    pictures = np.random.RandomState(2).uniform(-1, 1, [2, size, size, 3]).astype(np.float32)
    kind = keras_weights.APPLICATIONS[name]
    turned = pictures[..., ::-1] if kind.bgr else pictures
    expected = model(kind.scale * turned.astype(np.float32), training=False).numpy()
    ours = outputs_of_ours(name, model, pictures)
    # The pictures have a part in them, and by much more than what they may differ by.
    assert np.abs(expected[0] - expected[1]).max() > 1e-2
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", RESNET_UNITS)
def test_the_layers_of_deeper_resnets(name):
    ours = ["conv1", "logits"]
    for block, units in enumerate(RESNET_UNITS[name], start=1):
        for unit in range(1, units + 1):
            layers = ("conv1", "conv2", "conv3", *(["shortcut"] if unit == 1 else []))
            ours += [f"block{block}/unit_{unit}/bottleneck_v1/{layer}" for layer in layers]
    layers_of = keras_weights.APPLICATIONS[name].layers
    found = [layer for each in ours for layer in layers_of(each) if layer]
    model = keras_weights.application(name, 7, 32)
    assert sorted(found) == sorted(layer.name for layer in model.layers if layer.weights)


@pytest.mark.parametrize("name", ["mobilenet_v1", "resnet_v1_50", "densenet121"])
def test_pictures_are_prepared_as_keras_prepares_them(name):
    import keras

    found = keras_weights.APPLICATIONS[name]
    module = sys.modules[getattr(keras.applications, found.name).__module__]
    pixels = np.full([8, 8, 3], (200, 100, 50), np.float32)
    expected = module.preprocess_input(pixels.copy())
    preprocess = preprocessing_factory.get_preprocessing(NETS[name].preprocessing)
    with tf.Graph().as_default(), tf.Session() as session:
        ours = session.run(preprocess(tf.constant(pixels), 8, 8))
    expected = expected[..., ::-1] if found.bgr else expected
    # TF-Slim rounds the means of ImageNet to two places: 0.001 of 255.
    np.testing.assert_allclose(ours, expected, rtol=0, atol=0.0011)
