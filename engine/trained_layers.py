"""Which variables a run trains: the layers of a net, from its head down.

A layer is a variable scope with weights; what has none, such as a batch norm, belongs to the layer
created before it. Layers are counted in the order in which the net creates them.
"""

from typing import Any

from absl import logging

from core.compat import tf
from core.errors import FlagError
from engine import flags, model


def head(config: Any) -> list[tf.Variable]:
    """The trainable variables of the head, in their order.

    Args:
        config: read here: what `model.head_names` reads.
    """
    variables = tf.trainable_variables()
    names = set(model.head_names([variable.op.name for variable in variables], config))
    return [variable for variable in variables if variable.op.name in names]


def depths(config: Any) -> dict[str, int]:
    """How many layers each trainable variable, by name, lies below the head: 0 in the head itself.

    Args:
        config: read here: what `head` reads.
    """
    in_head = {variable.op.name for variable in head(config)}
    layers = _layers(config)
    below = dict.fromkeys(layer for name, layer in layers.items() if name not in in_head)
    depth = {layer: number for number, layer in enumerate(reversed(below), start=1)}
    return {name: 0 if name in in_head else depth[layer] for name, layer in layers.items()}


def _layers(config: Any) -> dict[str, str]:
    """The layer of each trainable variable, those of the head last."""
    in_head = {variable.op.name for variable in head(config)}
    names = [variable.op.name for variable in tf.trainable_variables()]
    below = _by_weights([name for name in names if name not in in_head])
    return below | _by_weights([name for name in names if name in in_head])


def _by_weights(names: list[str]) -> dict[str, str]:
    """The layer of each name, given in the order of creation.

    "net/conv" is that of "net/conv/weights", "net/conv/BatchNorm/beta" and, created after these,
    "net/norm/beta". What comes before all weights belongs to the first layer.
    """
    scopes = {name: name.rpartition("/")[0] for name in names if name.endswith("weights")}
    layer = next(iter(scopes.values()), "")
    layers = {}
    for name in names:
        layer = layers[name] = scopes.get(name, layer)
    return layers


def trained(config: Any) -> list[tf.Variable]:
    """The variables that are trained once --head_only_steps are over; says how many layers.

    Args:
        config: read here: trainable_scopes, unfreeze_last_n_layers, head_only_steps, and what
            `depths` reads.

    Raises:
        FlagError: a scope of --trainable_scopes that no trainable variable is in.
    """
    variables = tf.trainable_variables()
    names = [variable.op.name for variable in variables]
    if config.trainable_scopes:
        scopes = flags.scopes(config.trainable_scopes)
        inside = names_in_scopes(names, scopes, "--trainable_scopes")
    elif config.unfreeze_last_n_layers is not None:
        depth = depths(config)
        inside = {name for name in names if depth[name] <= config.unfreeze_last_n_layers}
    else:
        inside = set(names)
    chosen = [variable for variable in variables if variable.op.name in inside]
    layers = _layers(config)
    counts = [
        len({layers[variable.op.name] for variable in each})
        for each in (head(config), chosen, variables)
    ]
    if config.head_only_steps:
        message = "Training %d of %d layers until step %d, then %d of %d"
        at = config.head_only_steps
        logging.info(message, counts[0], counts[2], at, counts[1], counts[2])
    elif len(chosen) < len(variables):
        logging.info("Training %d of %d layers", counts[1], counts[2])
    return chosen


def names_in_scopes(names: list[str], scopes: list[str], flag: str) -> set[str]:
    """The names that lie in one of the scopes, compared by whole path components.

    "MobilenetV1/Conv2d_1" is the scope of "MobilenetV1/Conv2d_1/weights", not of
    "MobilenetV1/Conv2d_10/weights".

    Raises:
        FlagError: a scope that holds none of the names.
    """
    inside = set()
    for scope in scopes:
        matches = {name for name in names if f"{name}/".startswith(f"{scope}/")}
        if not matches:
            depth = scope.count("/") + 1
            known = sorted({"/".join(name.split("/")[:depth]) for name in names})
            raise FlagError(
                f"no variable in scope {scope} of {flag}", remedy=f"scopes: {', '.join(known[:30])}"
            )
        inside |= matches
    return inside
