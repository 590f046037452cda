"""The weights of `keras.applications` as those of our nets, which are the same functions.

Both have the same layers, so that a weight goes over as it is, with these exceptions: a fully
connected layer there is a convolution here; where only the layer there has a bias before its batch
norm, that moves into the mean; the nets that Keras feeds with blue, green and red get their first
filters turned round, for red, green and blue.

ResNets are the same functions at 4 k + 1 and 4 k + 2 pixels, as 225 in the place of 224. At other
sizes the windows of the pool behind the first convolution lie one row and one column further here,
since it pads as TF-Slim does: the weights serve, but logits are not quite those of Keras. With
random weights they differed by 6 % of the largest one at 64 pixels and by 1.5 % at 224.
"""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from core.errors import CheckpointError, FlagError, MachineError


class Application(NamedTuple):
    """A net of `keras.applications`.

    Attributes:
        name: of the function that builds it.
        layers: from the name of a layer of ours, without the net's own scope, to those of the layer
            there and of its batch norm.
        arguments: further ones of the function.
        bgr: whether its pictures are blue, green, red.
        scale: of its pictures, where ours have 1.
    """

    name: str
    layers: Callable[[str], tuple[str, str]]
    arguments: Mapping[str, Any] = {}
    bgr: bool = False
    scale: float = 1.0


def _mobilenet_v1(layer: str) -> tuple[str, str]:
    """Conv2d_0, Conv2d_1_depthwise, Conv2d_1_pointwise, ..., Logits/Conv2d_1c_1x1."""
    if layer.startswith("Logits/"):
        return "conv_preds", ""
    _, number, *kind = layer.split("_")
    name = {"depthwise": f"conv_dw_{number}", "pointwise": f"conv_pw_{number}"}
    name = name[kind[0]] if kind else "conv1"
    return name, f"{name}_bn"


def _resnet_v1(layer: str) -> tuple[str, str]:
    """conv1, block1/unit_1/bottleneck_v1/shortcut, .../conv1, ..., logits.

    Strides are in the first 1x1 convolutions of the next block there, in the 3x3 before here: the
    same values, since what lies between sees each place by itself.
    """
    if layer == "logits":
        return "predictions", ""
    name = "conv1"
    if "/" in layer:
        block, unit, _, convolution = layer.split("/")
        stack, unit = int(block.removeprefix("block")) + 1, unit.removeprefix("unit_")
        number = 0 if convolution == "shortcut" else convolution.removeprefix("conv")
        name = f"conv{stack}_block{unit}_{number}"
    return f"{name}_conv", f"{name}_bn"


def _mobilenet_v2(layer: str) -> tuple[str, str]:
    """Conv, expanded_conv/depthwise, expanded_conv_1/expand, ..., Conv_1, Logits/Conv2d_1c_1x1."""
    if layer.startswith("Logits/"):
        return "predictions", ""
    if layer in ("Conv", "Conv_1"):
        return {"Conv": ("Conv1", "bn_Conv1"), "Conv_1": ("Conv_1", "Conv_1_bn")}[layer]
    name = re.sub(r"^expanded_conv(?=_\d)", "block", layer).replace("/", "_")
    return name, f"{name}_BN"


def _mobilenet_v3(layer: str) -> tuple[str, str]:
    """As those of v2, and expanded_conv_3/squeeze_excite/Conv, .../Conv_1, and Conv_2."""
    name = "logits" if layer.startswith("Logits/") else layer.replace("/", "_").lower()
    return name, f"{name}_bn"


def _inception_v3(layer: str) -> tuple[str, str]:
    """Conv2d_1a_3x3, ..., Mixed_5b/Branch_0/Conv2d_0a_1x1, ..., Logits/Conv2d_1c_1x1.

    The convolutions there are numbered, in the order in which ours are built too. There is no
    auxiliary head.
    """
    if layer.startswith("Logits/"):
        return "predictions", ""
    if layer.startswith("AuxLogits/"):
        return "", ""
    from nets import inception_utils, inception_v3

    table = {**inception_v3.ROOT, **inception_v3.BLOCKS}
    number = list(inception_utils.convolutions(table)).index(layer)
    return f"conv2d_{number}", f"batch_normalization_{number}"


def _vgg_16(layer: str) -> tuple[str, str]:
    """conv1/conv1_1, ..., conv5/conv5_3, fc6, fc7, fc8; there is no batch norm."""
    fully_connected = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}
    if layer in fully_connected:
        return fully_connected[layer], ""
    block, number = layer.rpartition("/conv")[2].split("_")
    return f"block{block}_conv{number}", ""


def _densenet(layer: str) -> tuple[str, str]:
    """conv1, block1/unit_1/preact, block1/unit_1/conv1, ..., transition1/conv, postnorm, logits.

    There the root is the first block, so that blocks count from conv2 and transitions from pool2.
    """
    known = {
        "conv1": ("conv1_conv", "conv1_bn"),
        "postnorm": ("", "bn"),
        "logits": ("predictions", ""),
    }
    if layer in known:
        return known[layer]
    block, *unit, kind = layer.split("/")
    if unit:
        name = f"conv{int(block[-1]) + 1}_block{unit[0].removeprefix('unit_')}"
        number = {"preact": 0, "conv1": 1, "conv2": 2}[kind]
        return f"{name}_{number}_conv", f"{name}_{number}_bn"
    name = f"pool{int(block[-1]) + 1}"
    return f"{name}_conv", f"{name}_bn"


def _efficientnet(layer: str) -> tuple[str, str]:
    """Conv, block1a/depthwise, block1a/squeeze_excite/Conv, ..., Conv_1, Logits/Conv2d_1c_1x1.

    The nets there begin by dividing pictures by 255 and, with the weights that Keras downloads, by
    standardising them: `Normalization` then holds the mean of ImageNet and, as its variance, the
    standard deviation, by whose root it divides; a `Rescaling` made for these weights divides by
    that root once more. So their first convolution is given (x / 255 - mean) / deviation, what the
    preprocessing `imagenet` gives ours. (Without them `Normalization` has the mean 0 and variance
    1, and there is no such `Rescaling`.)
    """
    known = {
        "Conv": ("stem_conv", "stem_bn"),
        "Conv_1": ("top_conv", "top_bn"),
        "Logits/Conv2d_1c_1x1": ("predictions", ""),
    }
    if layer in known:
        return known[layer]
    block, kind = layer.split("/", 1)
    conv, norm = {
        "expand": ("expand_conv", "expand_bn"),
        "depthwise": ("dwconv", "bn"),
        "squeeze_excite/Conv": ("se_reduce", ""),
        "squeeze_excite/Conv_1": ("se_expand", ""),
        "project": ("project_conv", "project_bn"),
    }[kind]
    return f"{block}_{conv}", f"{block}_{norm}"


APPLICATIONS = {
    "mobilenet_v1": Application("MobileNet", _mobilenet_v1),
    "mobilenet_v1_075": Application("MobileNet", _mobilenet_v1, {"alpha": 0.75}),
    "mobilenet_v1_050": Application("MobileNet", _mobilenet_v1, {"alpha": 0.5}),
    "mobilenet_v1_025": Application("MobileNet", _mobilenet_v1, {"alpha": 0.25}),
    "resnet_v1_50": Application("ResNet50", _resnet_v1, bgr=True),
    "resnet_v1_101": Application("ResNet101", _resnet_v1, bgr=True),
    "resnet_v1_152": Application("ResNet152", _resnet_v1, bgr=True),
    "mobilenet_v2": Application("MobileNetV2", _mobilenet_v2),
    "mobilenet_v2_140": Application("MobileNetV2", _mobilenet_v2, {"alpha": 1.4}),
    "mobilenet_v2_075": Application("MobileNetV2", _mobilenet_v2, {"alpha": 0.75}),
    "mobilenet_v2_050": Application("MobileNetV2", _mobilenet_v2, {"alpha": 0.5}),
    "mobilenet_v2_035": Application("MobileNetV2", _mobilenet_v2, {"alpha": 0.35}),
    "mobilenet_v3_large": Application(
        "MobileNetV3Large", _mobilenet_v3, {"include_preprocessing": False}
    ),
    "mobilenet_v3_small": Application(
        "MobileNetV3Small", _mobilenet_v3, {"include_preprocessing": False}
    ),
    "inception_v3": Application("InceptionV3", _inception_v3),
    "vgg_16": Application("VGG16", _vgg_16, bgr=True),
    "densenet121": Application("DenseNet121", _densenet),
    "efficientnet_b0": Application("EfficientNetB0", _efficientnet, scale=255.0),
    "efficientnet_b1": Application("EfficientNetB1", _efficientnet, scale=255.0),
}

IMAGENET = "imagenet"  # instead of a file
_ATTRIBUTES = {"weights": "kernel", "depthwise_weights": "kernel", "biases": "bias"}
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def application(
    model_name: str, num_classes: int, image_size: int, weights: str | None = None
) -> Any:
    """The net of `keras.applications`, from pictures to logits.

    Args:
        model_name: that of ours.
        num_classes: its outputs; 0: it has no head and ends in pooled features.
        image_size: height and width, pixels.
        weights: a file of weights, as Keras downloads it (.h5) or as `save_weights` writes it
            (.weights.h5); or IMAGENET, which Keras downloads. None: random ones.

    Returns:
        A keras.Model.

    Raises:
        FlagError: Keras has no such net, the size is not one of it, or the weights are of another
            net or of other classes.
        CheckpointError: there is no such file, or it is damaged or of another kind.
        MachineError: they cannot be downloaded.
    """
    if model_name not in APPLICATIONS:
        raise FlagError(
            f"keras.applications has no {model_name}", remedy=f"known: {', '.join(APPLICATIONS)}"
        )
    if weights not in (None, IMAGENET):
        _check_file(weights)
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever else is set, in a file or outside
    import keras

    found = APPLICATIONS[model_name]
    head = {"classes": num_classes, "classifier_activation": None}
    try:
        return getattr(keras.applications, found.name)(
            weights=weights,
            include_top=bool(num_classes),
            input_shape=(image_size, image_size, 3),
            **(head if num_classes else {"pooling": "avg"}),
            **found.arguments,
        )
    except ValueError as error:
        raise FlagError(
            f"{found.name} of Keras does not take that: {_first_line(error)}",
            where=weights or "",
            remedy="check --model_name, --num_classes and --image_size",
        ) from None
    except Exception as error:
        if weights != IMAGENET:
            raise
        raise MachineError(f"cannot download the weights: {_first_line(error)}") from None


def _check_file(path: str) -> None:
    import h5py

    try:
        with h5py.File(path) as file:
            file.visit(lambda _: None)
    except FileNotFoundError:
        raise CheckpointError("no such file", where=path) from None
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"not a file of weights: {_first_line(error)}",
            where=path,
            remedy="pass one that Keras wrote, ending in .h5",
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def converted(
    model: Any, model_name: str, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """What the variables of our net are by a net of `keras.applications`.

    It is to be called outside any graph, where Keras can read its own.

    Args:
        model: the keras.Model.
        model_name: that of ours.
        shapes: of the model variables of ours, by name.

    Returns:
        Arrays by name, float32; those variables are left out that the Keras net has no layer for,
        as a net without a head has none for the logits.

    Raises:
        FlagError: a layer differs in its size.
    """
    kind, layers = APPLICATIONS[model_name], _numbered(model)
    values = {}
    for name, shape in shapes.items():
        layer, _, variable = name.rpartition("/")
        _, _, layer = layer.removesuffix("/BatchNorm").partition("/")
        conv, norm = (layers.get(found) for found in kind.layers(layer))
        source = norm if variable in _NORM else conv
        if source is None:
            continue
        value = getattr(source, _ATTRIBUTES.get(variable, variable)).numpy()
        if variable == "moving_mean" and conv is not None and conv.use_bias:
            value = value - conv.bias.numpy()
        if value.size != np.prod(shape):
            raise FlagError(f"{name} has the shape {shape}, in Keras {value.shape}")
        value = value.reshape(shape)
        if kind.bgr and variable == "weights" and value.shape[2] == 3:
            value = value[:, :, ::-1]
        values[name] = value
    return values


def _numbered(model: Any) -> dict[str, Any]:
    """The layers of a Keras net by name.

    Those without a name of their own, as conv2d_7, are numbered by their order alone: Keras goes on
    counting from one net to the next.
    """
    layers, unnamed = {}, {}
    for layer in model.layers:
        found = re.fullmatch(r"(conv2d|batch_normalization)(?:_(\d+))?", layer.name)
        if found:
            unnamed.setdefault(found[1], []).append((int(found[2] or 0), layer))
        else:
            layers[layer.name] = layer
    for kind, numbered in unnamed.items():
        numbered.sort(key=lambda pair: pair[0])
        layers |= {f"{kind}_{index}": layer for index, (_, layer) in enumerate(numbered)}
    return layers
