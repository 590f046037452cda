"""Learning rate, optimizer, and the operation that takes one training step."""

from typing import Any, NamedTuple

from core.compat import slim, tf
from core.errors import FlagError
from engine import flags
from engine.model import Classifier


class TrainOps(NamedTuple):
    """The operations that take a training step; fetching one gives the total loss before it."""

    only: tf.Tensor

    def at(self, step: int) -> tf.Tensor:  # noqa: ARG002
        """The operation that takes a step, of which the first is 1."""
        return self.only


def train_ops(
    classifier: Classifier, learning_rate: tf.Tensor, variables: list[tf.Variable], config: Any
) -> TrainOps:
    """One training step: new weights, then the next global step, then new moving averages.

    Args:
        classifier: whose loss is lowered.
        learning_rate: float32 scalar.
        variables: what is trained.
        config: read here: the optimizer's flags, decoupled_weight_decay, clip_gradient_norm,
            moving_average_decay.

    Returns:
        What takes the steps.
    """
    optimizer = make_optimizer(learning_rate, config)
    gradients = tf.gradients(classifier.total_loss, variables)
    unused = [v.op.name for v, g in zip(variables, gradients, strict=True) if g is None]
    if unused:
        raise FlagError(f"the loss does not depend on {', '.join(unused[:3])}")
    if config.clip_gradient_norm:
        gradients, _ = tf.clip_by_global_norm(gradients, config.clip_gradient_norm)
    global_step = tf.train.get_global_step()
    # Batch norm's moving averages go with every step, also those of layers that are not trained.
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    if config.decoupled_weight_decay:
        with tf.control_dependencies(gradients):
            updates += _decay(variables, learning_rate * config.decoupled_weight_decay)
    with tf.control_dependencies(updates):
        step = optimizer.apply_gradients(
            zip(gradients, variables, strict=True), global_step=global_step
        )
    if config.moving_average_decay is not None:
        averages = tf.train.ExponentialMovingAverage(config.moving_average_decay, global_step)
        with tf.control_dependencies([step]):
            step = averages.apply(slim.get_model_variables())
    with tf.control_dependencies([step]):
        return TrainOps(tf.identity(classifier.total_loss, name="train_op"))


def _decay(variables: list[tf.Variable], share: tf.Tensor) -> list[tf.Operation]:
    """Takes that share off the weights: Loshchilov and Hutter 2019, algorithms 1 and 2, line 9.

    The weights are those that the nets put L2 on: not biases, batch norm, depthwise convolutions.
    """
    weights = [variable for variable in variables if variable.op.name.endswith("/weights")]
    return [weight.assign_sub(share * weight).op for weight in weights]


def trainable_variables(trainable_scopes: str | None) -> list[tf.Variable]:
    """The trainable variables in a comma-separated list of scopes; None stands for all.

    Raises:
        FlagError: a scope that no trainable variable is in.
    """
    variables = tf.trainable_variables()
    if not trainable_scopes:
        return variables
    names = [variable.op.name for variable in variables]
    inside = names_in_scopes(names, flags.scopes(trainable_scopes), "--trainable_scopes")
    return [variable for variable in variables if variable.op.name in inside]


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


def make_learning_rate(epoch_size: int, config: Any, factor: tf.Tensor | float = 1.0) -> tf.Tensor:
    """The learning rate at the global step, float32 scalar.

    Args:
        epoch_size: pictures per epoch.
        factor: by which plateaus have lowered it, float32 scalar.
        config: read here: the learning rate's flags, batch_size.

    Raises:
        FlagError: --num_epochs_per_decay is less than one step, or than the warm-up of one_cycle.
    """
    step = tf.train.get_global_step()
    warmup_steps = epoch_size / config.batch_size * config.warmup_epochs
    if config.learning_rate_decay_type == "fixed":
        rate = tf.constant(config.learning_rate, name="fixed_learning_rate")
    elif config.learning_rate_decay_type == "plateau":
        lowest = min(config.learning_rate, config.end_learning_rate)
        rate = tf.maximum(config.learning_rate * factor, lowest, name="plateau_learning_rate")
    else:
        decay_steps = int(epoch_size * config.num_epochs_per_decay / config.batch_size)
        if decay_steps < 1:
            raise FlagError(
                f"--num_epochs_per_decay={config.num_epochs_per_decay} is less than one step of "
                f"{config.batch_size} of {epoch_size} images",
                remedy="raise it, or lower --batch_size",
            )
        rate = _decayed(step, decay_steps, warmup_steps, config)
    if config.warmup_epochs:
        ramp = config.learning_rate * tf.cast(step, tf.float32) / warmup_steps
        rate = tf.minimum(ramp, rate)
    return rate


def _decayed(step: tf.Tensor, decay_steps: int, warmup_steps: float, config: Any) -> tf.Tensor:
    """The learning rate of a schedule that falls, as it would be without warm-up."""
    first, last = config.learning_rate, config.end_learning_rate
    kind = config.learning_rate_decay_type
    name = f"{kind}_decay_learning_rate"
    if kind == "exponential":
        factor = config.learning_rate_decay_factor
        return tf.train.exponential_decay(
            first, step, decay_steps, factor, staircase=True, name=name
        )
    if kind == "polynomial":
        return tf.train.polynomial_decay(first, step, decay_steps, last, power=1.0, name=name)
    if kind == "cosine":
        # One period of SGDR: Loshchilov and Hutter 2017, equation 5.
        return tf.train.cosine_decay(first, step, decay_steps, last / first if first else 0.0, name)
    # One cycle: Smith and Topin 2018, "Super-convergence", with a straight line to the end.
    if warmup_steps >= decay_steps:
        raise FlagError(
            f"--warmup_epochs={config.warmup_epochs} is not less than "
            f"--num_epochs_per_decay={config.num_epochs_per_decay}",
            remedy="one_cycle rises for the former and falls for the rest of the latter",
        )
    falling = tf.maximum(tf.cast(step, tf.float32) - warmup_steps, 0.0)
    length = decay_steps - warmup_steps
    return tf.train.polynomial_decay(first, falling, length, last, power=1.0, name=name)


def make_optimizer(learning_rate: tf.Tensor, config: Any) -> tf.train.Optimizer:
    """The optimizer that --optimizer names, with the flags that belong to it."""
    epsilon = config.opt_epsilon
    if epsilon is None:
        # Adam: Kingma and Ba, 2015, algorithm 1. RMSProp: the value of research/slim's recipes,
        # whose rate of 0.01 with momentum 0.9 presumes it.
        epsilon = {"adadelta": 1e-8, "adam": 1e-8, "rmsprop": 1.0}.get(config.optimizer)
    makers = {
        "adadelta": lambda: tf.train.AdadeltaOptimizer(
            learning_rate, rho=config.adadelta_rho, epsilon=epsilon
        ),
        "adagrad": lambda: tf.train.AdagradOptimizer(
            learning_rate, initial_accumulator_value=config.adagrad_initial_accumulator_value
        ),
        "adam": lambda: tf.train.AdamOptimizer(
            learning_rate, beta1=config.adam_beta1, beta2=config.adam_beta2, epsilon=epsilon
        ),
        "ftrl": lambda: tf.train.FtrlOptimizer(
            learning_rate,
            learning_rate_power=config.ftrl_learning_rate_power,
            initial_accumulator_value=config.ftrl_initial_accumulator_value,
            l1_regularization_strength=config.ftrl_l1,
            l2_regularization_strength=config.ftrl_l2,
        ),
        "momentum": lambda: tf.train.MomentumOptimizer(
            learning_rate,
            momentum=config.momentum,
            use_nesterov=config.use_nesterov,
            name="Momentum",
        ),
        "sgd": lambda: tf.train.GradientDescentOptimizer(learning_rate),
        "rmsprop": lambda: tf.train.RMSPropOptimizer(
            learning_rate,
            decay=config.rmsprop_decay,
            momentum=config.rmsprop_momentum,
            epsilon=epsilon,
        ),
    }
    return makers[config.optimizer]()
