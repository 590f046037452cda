"""All nets by name. Listing them imports no net and not TensorFlow."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from core.errors import FlagError
from core.registry import Registry, load


class Net(NamedTuple):
    """What is registered about a net.

    Attributes:
        function: place of the function that builds it.
        arg_scope: place of the function that makes the arg scope to build it in.
        preprocessing: name of its default preprocessing.
        head_scopes: variable scopes that belong to one set of classes: to leave out when a
            checkpoint with other classes is loaded, to train alone when only the head is trained.
    """

    function: str
    arg_scope: str
    preprocessing: str
    head_scopes: tuple[str, ...]


def _resnet(name: str) -> Net:
    return Net(
        f"nets.resnet_v1:{name}", "nets.resnet_v1:resnet_arg_scope", "vgg", (f"{name}/logits",)
    )


def _mobilenet(name: str) -> Net:
    return Net(
        f"nets.mobilenet_v1:{name}",
        "nets.mobilenet_v1:mobilenet_v1_arg_scope",
        "inception",
        ("MobilenetV1/Logits",),
    )


NETS: Registry[Net] = Registry(
    "Name of network unknown %s",
    {
        "inception_v1": Net(
            "nets.inception_v1:inception_v1",
            "nets.inception_v1:inception_v1_arg_scope",
            "inception",
            ("InceptionV1/Logits",),
        ),
        "resnet_v1_50": _resnet("resnet_v1_50"),
        "resnet_v1_101": _resnet("resnet_v1_101"),
        "resnet_v1_152": _resnet("resnet_v1_152"),
        "resnet_v1_200": _resnet("resnet_v1_200"),
        "mobilenet_v1": _mobilenet("mobilenet_v1"),
        "mobilenet_v1_075": _mobilenet("mobilenet_v1_075"),
        "mobilenet_v1_050": _mobilenet("mobilenet_v1_050"),
        "mobilenet_v1_025": _mobilenet("mobilenet_v1_025"),
        "lenet": Net("nets.lenet:lenet", "nets.lenet:lenet_arg_scope", "lenet", ("LeNet/fc4",)),
        "cifarnet": Net(
            "nets.cifarnet:cifarnet",
            "nets.cifarnet:cifarnet_arg_scope",
            "cifarnet",
            ("CifarNet/logits",),
        ),
    },
)


networks_map = NETS  # the name under which scripts for research/slim look for the nets


def get_network_fn(
    name: str,
    num_classes: int | None,
    weight_decay: float = 0.0,
    is_training: bool = False,
    freeze_batch_norm: bool = False,
    **arg_scope_overrides: Any,
) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """The function that builds a net in its own arg scope.

    Args:
        name: a name of NETS.
        num_classes: number of classes. 0 or None: no head, the features are returned.
        weight_decay: L2 factor on the weights, as far as the net regularises them.
        is_training: whether batch norm and dropout are in training mode.
        freeze_batch_norm: batch norm normalises by its moving statistics also in training, which
            then stay as they are, and its gamma and beta are not trained.
        **arg_scope_overrides: further arguments of the arg scope, for example batch_norm_decay.
            None stands for the net's own default.

    Returns:
        network_fn(images, **kwargs) -> (logits, end_points), with images [N, height, width,
        channels] and the keyword arguments of the net. It has an attribute `default_image_size`.

    Raises:
        FlagError: unknown name, the arg scope of the net has no such argument, or there is no batch
            norm to freeze.
    """
    net = NETS[name]
    function, arg_scope = load(net.function), load(net.arg_scope)
    overrides = {key: value for key, value in arg_scope_overrides.items() if value is not None}
    known = inspect.signature(arg_scope).parameters
    if freeze_batch_norm and "batch_norm_decay" not in known:
        raise FlagError(
            f"the net {name} has no batch norm to freeze", remedy="leave out --freeze_batch_norm"
        )
    for key in overrides.keys() - known.keys():
        raise FlagError(
            f"The net {name} has no {key}", where=f"{key}={overrides[key]}", remedy="leave it out"
        )

    @functools.wraps(function)
    def network_fn(images: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        from core.compat import slim

        with contextlib.ExitStack() as scopes:
            scopes.enter_context(slim.arg_scope(arg_scope(weight_decay=weight_decay, **overrides)))
            if freeze_batch_norm:
                # As arguments of the call they go before the is_training that a net sets in a scope
                # of its own.
                frozen = functools.partial(slim.batch_norm, is_training=False, trainable=False)
                layers = [slim.conv2d, slim.separable_conv2d]
                scopes.enter_context(slim.arg_scope(layers, normalizer_fn=frozen))
            return function(images, num_classes, is_training=is_training, **kwargs)

    return network_fn
