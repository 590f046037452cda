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
        module: of `nets`, in which the function that builds it has its name.
        preprocessing: name of its default preprocessing.
        parameters: values of its trainable variables with 1000 classes, as it is for inference.
        multiply_adds: of convolutions and matrix products, of one picture of its size, with 1000
            classes.
        image_size: height and width that it is meant for, pixels.
    """

    module: str
    preprocessing: str
    parameters: int
    multiply_adds: int
    image_size: int = 224


_NETS = {
    "inception_v1": Net("inception_v1", "inception", 6_617_624, 1_498_376_192),
    "inception_v2": Net("inception_v2", "inception", 11_178_336, 1_934_857_216),
    "inception_v3": Net("inception_v3", "inception", 23_817_352, 5_713_216_096, image_size=299),
    "resnet_v1_18": Net("resnet_v1", "vgg", 11_689_512, 1_814_073_344),
    "resnet_v1_34": Net("resnet_v1", "vgg", 21_797_672, 3_663_761_408),
    "resnet_v1_50": Net("resnet_v1", "vgg", 25_557_032, 3_482_255_360),
    "resnet_v1_101": Net("resnet_v1", "vgg", 44_549_160, 7_194_476_544),
    "resnet_v1_152": Net("resnet_v1", "vgg", 60_192_808, 10_906_697_728),
    "resnet_v1_200": Net("resnet_v1", "vgg", 64_673_832, 14_400_552_960),
    "resnet_v2_50": Net("resnet_v2", "vgg", 25_568_360, 3_482_255_360),
    "mobilenet_v1": Net("mobilenet_v1", "inception", 4_231_976, 568_740_352),
    "mobilenet_v1_075": Net("mobilenet_v1", "inception", 2_585_560, 325_400_448),
    "mobilenet_v1_050": Net("mobilenet_v1", "inception", 1_331_592, 149_497_088),
    "mobilenet_v1_025": Net("mobilenet_v1", "inception", 470_072, 41_030_272),
    "mobilenet_v2": Net("mobilenet_v2", "inception", 3_504_872, 300_774_272),
    "mobilenet_v2_140": Net("mobilenet_v2", "inception", 6_108_776, 582_195_824),
    "mobilenet_v2_075": Net("mobilenet_v2", "inception", 2_636_424, 209_069_792),
    "mobilenet_v2_050": Net("mobilenet_v2", "inception", 1_968_680, 97_131_840),
    "mobilenet_v2_035": Net("mobilenet_v2", "inception", 1_677_128, 59_285_808),
    "mobilenet_v3_large": Net("mobilenet_v3", "inception", 5_483_032, 216_589_760),
    "mobilenet_v3_small": Net("mobilenet_v3", "inception", 2_542_856, 56_510_400),
    "efficientnet_b0": Net("efficientnet", "imagenet", 5_288_548, 385_814_752),
    "efficientnet_b1": Net("efficientnet", "imagenet", 7_794_184, 686_802_832, image_size=240),
    "densenet121": Net("densenet", "imagenet", 7_978_856, 2_834_161_664),
    "vgg_16": Net("vgg", "vgg", 138_357_544, 15_470_264_320),
    "lenet": Net("lenet", "lenet", 4_290_984, 16_152_064, image_size=28),
    "cifarnet": Net("cifarnet", "cifarnet", 1_947_496, 32_968_192, image_size=32),
}
NETS: Registry[Net] = Registry("Name of network unknown %s", _NETS)
networks_map = NETS  # the name under which scripts for research/slim look for the nets


def listing() -> str:
    """All nets as a table, with what they cost."""
    row = "{:18} {:>7}  {:>11}  {:>14}  {:>14}  {}".format
    lines = [row("net", "input", "parameters", "multiply-adds", "FLOPs", "preprocessing")]
    for name, net in NETS.items():
        size = f"{net.image_size}x{net.image_size}"
        costs = (net.parameters, net.multiply_adds, 2 * net.multiply_adds)
        lines.append(row(name, size, *map("{:,}".format, costs), net.preprocessing))
    lines.append(
        "Of one picture, with 1000 classes; a multiply-add is two floating point operations."
    )
    return "\n".join(lines)


def net_function(name: str) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """The function that builds a net, without its arg scope.

    It has the attributes `arg_scope`, the function that makes the arg scope; `default_image_size`;
    and `head_scopes`, the variable scopes that belong to one set of classes: to leave out when a
    checkpoint with other classes is loaded, to train alone when only the head is trained. Where
    pictures whose size the graph does not know have to be of some size at least, it also has
    `smallest_image_size`, a function of stem_stride.

    Args:
        name: a name of NETS.

    Raises:
        FlagError: unknown name.
    """
    return load(f"nets.{NETS[name].module}:{name}")


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
        channels] and the keyword arguments of the net. It has the attributes of `net_function`.

    Raises:
        FlagError: unknown name, the arg scope of the net has no such argument, or there is no batch
            norm to freeze.
    """
    function = net_function(name)
    arg_scope = function.arg_scope
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
        from nets import layers

        with contextlib.ExitStack() as scopes:
            scopes.enter_context(slim.arg_scope(arg_scope(weight_decay=weight_decay, **overrides)))
            if freeze_batch_norm:
                # As arguments of the call they go before the is_training that a net sets in a scope
                # of its own.
                frozen = functools.partial(slim.batch_norm, is_training=False, trainable=False)
                convolutions = [slim.conv2d, slim.separable_conv2d]
                scopes.enter_context(slim.arg_scope(convolutions, normalizer_fn=frozen))
                scopes.enter_context(slim.arg_scope([layers.batch_norm], frozen=True))
            return function(images, num_classes, is_training=is_training, **kwargs)

    return network_fn
