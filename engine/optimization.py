"""Learning rate, optimizer, and the operation that takes one training step."""

import dataclasses
from typing import Any, NamedTuple

from core.compat import slim, tf
from core.errors import FlagError
from engine import trained_layers
from engine.model import Classifier


class _Phase(NamedTuple):
    """What takes the steps of a phase of training."""

    update: tf.Tensor  # with new weights
    gather: tf.Tensor  # without: its gradients are kept for the next update


class TrainOps(NamedTuple):
    """The operations that take a training step; fetching one gives the total loss before it."""

    phases: list[_Phase]  # that of the head alone, if there is one, and that of all that follows
    head_only_steps: int
    accumulate_steps: int

    def at(self, step: int) -> tf.Tensor:
        """The operation that takes a step, of which the first is 1."""
        phase = self.phases[0 if step <= self.head_only_steps else -1]
        return phase.gather if step % self.accumulate_steps else phase.update


class _Group(NamedTuple):
    """Variables that share an optimizer."""

    names: set[str]
    optimizer: tf.train.Optimizer
    learning_rate: tf.Tensor


def train_ops(
    classifier: Classifier, learning_rate: tf.Tensor, variables: list[tf.Variable], config: Any
) -> TrainOps:
    """Training steps: new weights, then the next global step, then new moving averages.

    In the first --head_only_steps the head is trained alone: no gradient is computed below it. With
    --accumulate_steps, only every so many steps have new weights, by the mean of the gradients
    since the last ones. Batch norm's moving averages go with every step.

    Args:
        classifier: whose loss is lowered.
        learning_rate: float32 scalar.
        variables: what is trained from then on.
        config: read here: the optimizer's flags, decoupled_weight_decay, clip_gradient_norm,
            moving_average_decay, head_only_steps, layer_decay, accumulate_steps, and what
            `trained_layers.depths` reads.

    Returns:
        What takes the steps.

    Raises:
        FlagError: the loss does not depend on one of the variables.
    """
    phases = [trained_layers.head(config)] if config.head_only_steps else []
    phases.append(variables)
    groups = _groups(phases, learning_rate, config)
    kept = _accumulators(phases) if config.accumulate_steps > 1 else {}
    averages = None
    if config.moving_average_decay is not None:
        averages = tf.train.ExponentialMovingAverage(
            config.moving_average_decay, tf.train.get_global_step()
        )
    ops = [_phase(classifier.total_loss, phase, groups, kept, averages, config) for phase in phases]
    return TrainOps(ops, config.head_only_steps, config.accumulate_steps)


def _accumulators(phases: list[list[tf.Variable]]) -> dict[str, tf.Variable]:
    """For the gradients of each variable, by its name: their sum since the last update."""
    names = {variable.op.name: variable for phase in phases for variable in phase}
    return {
        name: tf.get_variable(
            f"{name}/accumulated",
            variable.shape,
            initializer=tf.zeros_initializer(),
            trainable=False,
        )
        for name, variable in names.items()
    }


def _groups(phases: list[list[tf.Variable]], learning_rate: tf.Tensor, config: Any) -> list[_Group]:
    """Optimizers, each with its variables: one for all, or one for those of each depth.

    Layers that are trained later than the head have another than it: Adam corrects its averages by
    the number of steps that it has taken, and would take steps several times too long in layers
    whose averages are younger. With --layer_decay each layer has its own, at its own learning rate:
    Howard and Ruder 2018, https://arxiv.org/abs/1801.06146, section 3.2, "discriminative
    fine-tuning", where the factor is 1 / 2.6.
    """
    by_layer = config.layer_decay != 1
    depths = trained_layers.depths(config) if by_layer or config.head_only_steps else {}
    names = {}
    for variable in (variable for phase in phases for variable in phase):
        depth = depths.get(variable.op.name, 0)
        names.setdefault(depth if by_layer else min(depth, 1), set()).add(variable.op.name)
    groups = []
    for depth, of_depth in sorted(names.items()):
        scale = config.layer_decay**depth
        rate = learning_rate if scale == 1 else learning_rate * scale
        groups.append(_Group(of_depth, make_optimizer(rate, config), rate))
    return groups


def _phase(
    total_loss: tf.Tensor,
    variables: list[tf.Variable],
    groups: list[_Group],
    accumulators: dict[str, tf.Variable],
    averages: tf.train.ExponentialMovingAverage | None,
    config: Any,
) -> _Phase:
    """The operations that train those variables for a step."""
    gradients = tf.gradients(total_loss, variables)
    unused = [v.op.name for v, g in zip(variables, gradients, strict=True) if g is None]
    if unused:
        raise FlagError(f"the loss does not depend on {', '.join(unused[:3])}")
    kept = [accumulators[variable.op.name] for variable in variables if accumulators]
    gather = _gather(total_loss, gradients, kept, groups[0].learning_rate) if kept else None
    if kept:
        sums = [sum_ + gradient for sum_, gradient in zip(kept, gradients, strict=True)]
        gradients = [sum_ / config.accumulate_steps for sum_ in sums]
    if config.clip_gradient_norm:
        gradients, _ = tf.clip_by_global_norm(gradients, config.clip_gradient_norm)
    step = _applied(total_loss, list(zip(gradients, variables, strict=True)), groups, config)
    if kept:
        with tf.control_dependencies([step]):
            step = tf.group(*[sum_.assign(tf.zeros_like(sum_)) for sum_ in kept])
    if averages:
        with tf.control_dependencies([step]):
            step = averages.apply(slim.get_model_variables())
    with tf.control_dependencies([step]):
        update = tf.identity(total_loss, name="train_op")
    return _Phase(update, update if gather is None else gather)


def _gather(
    total_loss: tf.Tensor,
    gradients: list[tf.Tensor],
    accumulators: list[tf.Variable],
    learning_rate: tf.Tensor,
) -> tf.Tensor:
    """The operation that keeps the gradients of a step, and gives its total loss."""
    sums = [s.assign_add(g) for s, g in zip(accumulators, gradients, strict=True)]
    # The learning rate is that of the step, also where a summary reads it beside this.
    before = [total_loss, *sums, *tf.get_collection(tf.GraphKeys.UPDATE_OPS), learning_rate]
    with tf.control_dependencies(before):
        step = tf.train.get_global_step().assign_add(1)
    with tf.control_dependencies([step]):
        return tf.identity(total_loss, name="gather_op")


def _applied(
    total_loss: tf.Tensor,
    pairs: list[tuple[tf.Tensor, tf.Variable]],
    groups: list[_Group],
    config: Any,
) -> tf.Operation:
    """Gives variables their new values by their gradients, then the global step its own.

    The loss comes before them: the gradient of its L2 does not wait for it.
    """
    of_groups = [[pair for pair in pairs if pair[1].op.name in group.names] for group in groups]
    trained = [(group, own) for group, own in zip(groups, of_groups, strict=True) if own]
    # Batch norm's moving averages go with every step, also those of layers that are not trained.
    updates = [total_loss, *tf.get_collection(tf.GraphKeys.UPDATE_OPS)]
    if config.decoupled_weight_decay:
        with tf.control_dependencies([total_loss, *(gradient for gradient, _ in pairs)]):
            for group, own in trained:
                share = group.learning_rate * config.decoupled_weight_decay
                updates += _decay([variable for _, variable in own], share)
    for group, own in trained:
        last = own is trained[-1][1]
        with tf.control_dependencies(updates):
            step = group.optimizer.apply_gradients(
                own, global_step=tf.train.get_global_step() if last else None
            )
        updates = [*updates, step]
    return step


def _decay(variables: list[tf.Variable], share: tf.Tensor) -> list[tf.Operation]:
    """Takes that share off the weights: Loshchilov and Hutter 2019, algorithms 1 and 2, line 9.

    The weights are those that the nets put L2 on: not biases, batch norm, depthwise convolutions.
    """
    weights = [variable for variable in variables if variable.op.name.endswith("/weights")]
    return [weight.assign_sub(share * weight).op for weight in weights]


def make_learning_rate(epoch_size: int, config: Any, factor: tf.Tensor | float = 1.0) -> tf.Tensor:
    """The learning rate at the global step, float32 scalar.

    In the first --head_only_steps it is --learning_rate. The schedule begins after them, at
    --finetune_learning_rate.

    Args:
        epoch_size: pictures per epoch.
        config: read here: the learning rate's flags, batch_size, head_only_steps,
            finetune_learning_rate.
        factor: by which plateaus have lowered it, float32 scalar.

    Raises:
        FlagError: --num_epochs_per_decay is less than one step, or than the warm-up of one_cycle.
    """
    step = tf.train.get_global_step()
    if not config.head_only_steps:
        return _scheduled(step, epoch_size, config, factor)
    first = config.learning_rate
    if config.finetune_learning_rate is not None:
        config = dataclasses.replace(config, learning_rate=config.finetune_learning_rate)
    later = _scheduled(tf.maximum(step - config.head_only_steps, 0), epoch_size, config, factor)
    return tf.where(step < config.head_only_steps, first, later)


def _scheduled(
    step: tf.Tensor, epoch_size: int, config: Any, factor: tf.Tensor | float
) -> tf.Tensor:
    """The learning rate at a step of the schedule, which begins with --learning_rate."""
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
