"""The flags of the optimizer and of the learning rate."""

from typing import Any

from absl import flags as absl_flags

from core.errors import FlagError
from core.flags import Group

OPTIMIZERS = ("adadelta", "adagrad", "adam", "ftrl", "momentum", "sgd", "rmsprop")
SCHEDULES = ("fixed", "exponential", "polynomial", "cosine", "one_cycle", "plateau")


def define_optimizer(flag_values: absl_flags.FlagValues) -> None:
    """The optimizer, and what belongs to each."""
    group = Group("Optimizer", flag_values)
    group.string("optimizer", "rmsprop", f"One of {', '.join(OPTIMIZERS)}.")
    group.float(
        "weight_decay", 0.00004, "L2 on weights; batch norm and biases have none.", lower=0.0
    )
    group.float(
        "decoupled_weight_decay",
        0.0,
        "Each step takes learning rate x this x weights off the weights (AdamW, SGDW), beside "
        "--weight_decay.",
        lower=0.0,
    )
    group.float("clip_gradient_norm", 0.0, "Largest global norm; 0: no limit.", lower=0.0)
    group.integer(
        "accumulate_steps",
        1,
        "Update the weights after so many steps, by the mean of their gradients: as one batch of "
        "so many times --batch_size, in the memory of one. Batch norm sees the small batches.",
        lower=1,
    )
    group.float("adadelta_rho", 0.95, "Decay rate of adadelta.", lower=0.0, upper=1.0)
    group.float(
        "adagrad_initial_accumulator_value", 0.1, "Start value of the accumulators.", lower=0.0
    )
    group.float("adam_beta1", 0.9, "Decay of the first moment.", lower=0.0, upper=1.0)
    group.float("adam_beta2", 0.999, "Decay of the second moment.", lower=0.0, upper=1.0)
    group.float(
        "opt_epsilon",
        None,
        "Epsilon of adadelta, adam and rmsprop. Default: 1e-8 for adam and adadelta, for which "
        "research/slim's 1.0 stops learning, and 1.0 for rmsprop, on which its recipes rely.",
        lower=0.0,
    )
    group.float("ftrl_learning_rate_power", -0.5, "Learning rate power of ftrl.", upper=0.0)
    group.float("ftrl_initial_accumulator_value", 0.1, "Start value of ftrl.", lower=0.0)
    group.float("ftrl_l1", 0.0, "L1 strength of ftrl.", lower=0.0)
    group.float("ftrl_l2", 0.0, "L2 strength of ftrl.", lower=0.0)
    group.float("momentum", 0.9, "Momentum of the momentum optimizer.", lower=0.0, upper=1.0)
    group.boolean("use_nesterov", False, "Nesterov's form of the momentum optimizer.")
    group.float("rmsprop_momentum", 0.9, "Momentum of rmsprop.", lower=0.0, upper=1.0)
    group.float("rmsprop_decay", 0.9, "Decay term of rmsprop.", lower=0.0, upper=1.0)
    group.integer("quantize_delay", -1, "Not built: contrib quantisation has no successor.")
    define_moving_average(group)


def define_moving_average(group: Group) -> None:
    """The moving averages of the model, which training and evaluation know."""
    group.float(
        "moving_average_decay",
        None,
        "Training: keep moving averages of the model with this decay. Evaluation: use them; "
        "default: if the run kept them.",
        lower=0.0,
        upper=1.0,
    )


def define_learning_rate(flag_values: absl_flags.FlagValues) -> None:
    """The learning rate and its schedule."""
    group = Group("Learning rate", flag_values)
    group.float("learning_rate", 0.01, "Initial learning rate.", lower=0.0)
    group.string("learning_rate_decay_type", "exponential", f"One of {', '.join(SCHEDULES)}.")
    group.float("learning_rate_decay_factor", 0.94, "Factor per decay, exponential.", lower=0.0)
    group.float(
        "num_epochs_per_decay",
        2.0,
        "Epochs per decay, exponential; the whole length of the schedule, polynomial, cosine and "
        "one_cycle.",
        lower=0.0,
    )
    group.float(
        "end_learning_rate",
        0.0001,
        "Where a polynomial, cosine, one_cycle or plateau schedule ends.",
        lower=0.0,
    )
    group.float(
        "warmup_epochs",
        0.0,
        "Epochs of linear warm-up from 0; one_cycle: to --learning_rate, from where it falls "
        "linearly.",
        lower=0.0,
    )
    group.float("label_smoothing", 0.0, "Share of label smoothing.", lower=0.0, upper=1.0)


def check_learning_rate(config: Any) -> None:
    """FlagError for a schedule that ends above where it begins."""
    kind, last = config.learning_rate_decay_type, config.end_learning_rate
    first = config.finetune_learning_rate
    first = config.learning_rate if first is None else first
    rises = kind in ("polynomial", "cosine", "one_cycle") and first < last
    if rises or (kind == "plateau" and first <= last):
        raise FlagError(
            f"--learning_rate_decay_type={kind} lowers no rate that begins with {first:g}: "
            f"--end_learning_rate={last:g}",
            remedy="lower that",
        )
