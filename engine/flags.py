"""Every flag of training and evaluation, each defined once, in the group it belongs to.

Names and defaults are those of research/slim's train_image_classifier.py and
eval_image_classifier.py; what differs, and why, stands in the flag's own help.
"""

from collections.abc import Sequence
from typing import Any

from absl import flags as absl_flags

from core.errors import FlagError
from core.flags import Group
from datasets.dataset_factory import DATASETS
from nets.nets_factory import NETS
from preprocessing.preprocessing_factory import PREPROCESSING

OPTIMIZERS = ("adadelta", "adagrad", "adam", "ftrl", "momentum", "sgd", "rmsprop")
SCHEDULES = ("fixed", "exponential", "polynomial", "cosine", "one_cycle")
MOST_THREADS = 1024  # far more of them end TensorFlow with a segmentation fault
LARGEST_IMAGE = 10_000  # 1.2 GB each, as float32 RGB
LARGEST_SEED = 2**31 - 2  # seed + 1 stands above 32 bits of epoch number, in an int64


def define_training(flag_values: absl_flags.FlagValues) -> None:
    """The flags of train_image_classifier.py."""
    _define_run(flag_values)
    _define_distribution(flag_values)
    _define_optimizer(flag_values)
    _define_learning_rate(flag_values)
    _define_dataset(flag_values, split="train", batch_size=32)
    _define_training_data(flag_values)
    define_model(flag_values)
    _define_layers(flag_values)
    _define_fine_tuning(flag_values)
    _define_precision(flag_values)
    define_machine(flag_values)


def define_evaluation(flag_values: absl_flags.FlagValues) -> None:
    """The flags of eval_image_classifier.py."""
    group = Group("Evaluation", flag_values)
    group.string(
        "checkpoint_path",
        "/tmp/tfmodel/",
        "Run directory (its newest checkpoint is taken) or one checkpoint, for example "
        "DIR/model.ckpt-1234.",
    )
    group.string(
        "eval_dir",
        None,
        "Directory for results.json and TensorBoard's event file; default: eval, inside the "
        "checkpoint's directory (research/slim: /tmp/tfmodel/ for all runs).",
    )
    group.integer("max_num_batches", None, "Evaluate only so many batches; default: all.", lower=1)
    group.integer(
        "eval_image_size",
        None,
        "Height and width in pixels; default: that of the run.",
        lower=1,
        upper=LARGEST_IMAGE,
    )
    group.float(
        "eval_interval_secs",
        0.0,
        "Keep evaluating each new checkpoint, looking for one so often, until training ends; "
        "0: evaluate once.",
        lower=0.0,
    )
    group.integer(
        "bootstrap_resamples",
        1000,
        "Resamples of the split that the 95 % intervals of the metrics are taken from; 0: none.",
        lower=0,
    )
    group.integer(
        "explain",
        0,
        "Show what the net looked at (Grad-CAM) in so many of its most confident mistakes.",
        lower=0,
    )
    group.float("min_accuracy", None, "Exit with 8 if the accuracy is lower.", lower=0.0, upper=1.0)
    group.boolean("quantize", False, "Not built: contrib quantisation has no successor.")
    _define_dataset(flag_values, split="test", batch_size=100)
    define_model(flag_values)
    group = Group("Moving averages", flag_values)
    _define_moving_average(group)
    define_machine(flag_values)


def _define_run(flag_values: absl_flags.FlagValues) -> None:
    group = Group("Run", flag_values)
    group.string("train_dir", "/tmp/tfmodel/", "Where checkpoints and event files are written.")
    group.integer(
        "max_number_of_steps", None, "Stop at this step; default: train until stopped.", lower=1
    )
    group.integer(
        "seed",
        0,
        "Decides initial weights, order, augmentation, dropout.",
        lower=0,
        upper=LARGEST_SEED,
    )
    group.integer("log_every_n_steps", 10, "Steps between two log lines.", lower=1)
    group.integer("save_summaries_secs", 600, "Seconds between two summaries.", lower=0)
    group.integer(
        "save_summaries_steps", None, "Steps between two summaries, instead of seconds.", lower=1
    )
    group.integer("save_interval_secs", 600, "Seconds between two checkpoints.", lower=0)
    group.integer(
        "save_interval_steps", None, "Steps between two checkpoints, instead of seconds.", lower=1
    )
    group.integer("keep_checkpoint_max", 5, "Older checkpoints are deleted; 0: keep all.", lower=0)
    group.boolean(
        "allow_config_change",
        False,
        "Resume although flags that have a part in the result are not those of the run so far.",
    )
    group.boolean(
        "allow_dataset_change",
        False,
        "Resume although the data are not those that the run has been trained on so far.",
    )


def _define_distribution(flag_values: absl_flags.FlagValues) -> None:
    group = Group("Distribution (more than one clone or replica is not built)", flag_values)
    group.integer("num_clones", 1, "Copies of the model, one per GPU of this machine.", lower=1)
    group.boolean("clone_on_cpu", False, "Use the CPU even if there is a GPU.")
    group.integer("worker_replicas", 1, "Worker processes.", lower=1)
    group.integer("num_ps_tasks", 0, "Parameter servers.", lower=0)
    group.integer("task", 0, "Which worker this process is.", lower=0)
    group.boolean("sync_replicas", False, "Collect the gradients of several workers.")
    group.integer("replicas_to_aggregate", 1, "Gradients collected before an update.", lower=1)


def _define_optimizer(flag_values: absl_flags.FlagValues) -> None:
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
    _define_moving_average(group)


def _define_moving_average(group: Group) -> None:
    group.float(
        "moving_average_decay",
        None,
        "Training: keep moving averages of the model with this decay. Evaluation: use them; "
        "default: if the run kept them.",
        lower=0.0,
        upper=1.0,
    )


def _define_learning_rate(flag_values: absl_flags.FlagValues) -> None:
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
        "Where a polynomial, cosine or one_cycle schedule ends.",
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


def _define_dataset(flag_values: absl_flags.FlagValues, split: str, batch_size: int) -> None:
    group = Group("Dataset", flag_values)
    group.string(
        "dataset_name",
        "imagenet",
        f"{', '.join(DATASETS)}, or the name that a dataset of your own was converted under.",
    )
    group.string("dataset_split_name", split, "Which split to read.")
    group.string(
        "dataset_dir", None, "Directory of the converted dataset; evaluation: default the run's."
    )
    group.integer("batch_size", batch_size, "Pictures per step.", lower=1)
    group.integer(
        "num_preprocessing_threads",
        4,
        "Threads that decode pictures.",
        lower=1,
        upper=MOST_THREADS,
    )


def _define_training_data(flag_values: absl_flags.FlagValues) -> None:
    group = Group("Training data", flag_values)
    group.integer(
        "num_readers",
        4,
        "Record files that are read side by side; it has a part in the order of the pictures.",
        lower=1,
        upper=MOST_THREADS,
    )
    group.boolean(
        "cache_decoded_images",
        True,
        "Keep decoded pictures in memory from the first epoch on, if half of it holds all of them.",
    )
    group.integer(
        "train_image_size",
        None,
        "Height and width in pixels; default: the net's own.",
        lower=1,
        upper=LARGEST_IMAGE,
    )
    group.string(
        "image_size_schedule",
        None,
        "Sizes to begin with and the epoch at which each ends, for example 16:4,24:8; then follows "
        "--train_image_size.",
    )
    group.float(
        "cutout_fraction",
        0.0,
        "Side of a square that is blanked in each picture, as a fraction of the picture's.",
        lower=0.0,
        upper=1.0,
    )
    group.float(
        "mixup_alpha",
        0.0,
        "Mix pairs of pictures and of their labels, with shares from Beta(alpha, alpha); 0: off.",
        lower=0.0,
    )


def _define_layers(flag_values: absl_flags.FlagValues) -> None:
    group = Group("Batch norm, dropout and initial values", flag_values)
    group.float(
        "batch_norm_decay",
        None,
        "Decay of the moving averages of batch norm; default: the net's own, 0.9997 (ResNet "
        "0.997). A run of fewer than about 3/(1-decay) steps wants less, for example 0.99.",
        lower=0.0,
        upper=1.0,
    )
    group.float(
        "dropout_keep_prob",
        None,
        "Share of the features that dropout keeps; default: the net's own (inception_v1 0.8, "
        "mobilenet_v1 0.999). Short runs want 1.",
        lower=0.01,
        upper=1.0,
    )
    group.boolean(
        "zero_init_residual",
        None,
        "resnet_v1: begin with units that are their shortcuts, with which short runs learn faster.",
    )


def define_model(flag_values: absl_flags.FlagValues) -> None:
    """The flags that say which net it is and how its pictures are prepared."""
    group = Group("Model", flag_values)
    group.string("model_name", "inception_v3", f"One of {', '.join(NETS)}.")
    group.string(
        "preprocessing_name",
        None,
        "inception, vgg, cifarnet, lenet, or the name of a net; default: what the net goes with.",
    )
    group.boolean("use_grayscale", False, "Turn colour pictures into grey ones.")
    group.float(
        "depth_multiplier",
        None,
        "Factor on the number of filters of each layer; default: the net's own, 1.",
        lower=0.01,
        upper=16.0,
    )
    group.integer(
        "stem_stride",
        None,
        "By how much the first layers shrink the picture, up to the net's own (mobilenet_v1 2, "
        "resnet_v1 4, inception_v1 8), which is the default; small pictures want less.",
        lower=1,
    )
    group.integer(
        "labels_offset",
        0,
        "Subtracted from each label and from the number of classes, for nets without the "
        "background class 0.",
        lower=0,
    )


def _define_fine_tuning(flag_values: absl_flags.FlagValues) -> None:
    group = Group("Fine-tuning", flag_values)
    group.string(
        "checkpoint_path",
        None,
        "Run directory or checkpoint to start from; a checkpoint in train_dir goes before it.",
    )
    group.string(
        "checkpoint_exclude_scopes", None, "Scopes that are not restored, separated by commas."
    )
    group.string(
        "trainable_scopes", None, "Scopes that are trained, separated by commas; default: all."
    )
    group.boolean(
        "ignore_missing_vars", False, "Leave out variables that the checkpoint does not have."
    )


def _define_precision(flag_values: absl_flags.FlagValues) -> None:
    group = Group("Precision", flag_values)
    group.choice(
        "mixed_precision",
        "off",
        ("off", "bfloat16"),
        "bfloat16: multiply in bfloat16, up to twice as fast, where the processor does (AVX-512 "
        "BF16, AMX; else float32, with a warning). Variables and evaluation stay float32.",
    )


def define_image_limits(group: Group) -> None:
    """The flags that keep files which are too large from being read, and from being decoded."""
    group.integer("max_file_mb", 64, "Larger files are refused unread, in 10^6 bytes.", lower=1)
    group.integer(
        "max_image_pixels", 64_000_000, "Larger pictures are refused before decoding.", lower=1
    )


def define_machine(flag_values: absl_flags.FlagValues) -> None:
    """The flags of how TensorFlow uses the machine."""
    group = Group("Machine", flag_values)
    group.string("master", "", "Address of a TensorFlow server; default: this process.")
    for name, what in (
        ("inter_op_threads", "Operations run side by side"),
        ("intra_op_threads", "Threads within an operation"),
    ):
        group.integer(name, 0, f"{what}; 0: all cores.", lower=0, upper=MOST_THREADS)


def check_training(config: Any) -> None:
    """FlagError for values of the training flags that do not go together."""
    check_model(config)
    _check_known("learning_rate_decay_type", config.learning_rate_decay_type, SCHEDULES)
    _check_known("Optimizer", config.optimizer, OPTIMIZERS)
    if config.quantize_delay >= 0:
        raise FlagError("--quantize_delay is not built", remedy="leave it at -1")
    single = {"num_clones": 1, "worker_replicas": 1, "num_ps_tasks": 0, "task": 0}
    single |= {"sync_replicas": False, "replicas_to_aggregate": 1}
    for name, value in single.items():
        if getattr(config, name) != value:
            raise FlagError(
                f"--{name}={getattr(config, name)}: training runs in one process on one device",
                remedy=f"leave it at {value}",
            )
    image_sizes(config)
    if config.checkpoint_exclude_scopes and not config.checkpoint_path:
        raise FlagError("--checkpoint_exclude_scopes goes with --checkpoint_path")


def image_sizes(config: Any) -> list[tuple[int, float]]:
    """--image_size_schedule: sizes in pixels, each with the epoch at which it ends, in order.

    Raises:
        FlagError: it is no such list, or the epochs do not rise.
    """
    sizes, last = [], 0.0
    for stage in (
        (config.image_size_schedule or "").split(",") if config.image_size_schedule else ()
    ):
        size, _, end = stage.partition(":")
        try:
            sizes.append((int(size), float(end)))
        except ValueError:
            sizes.append((0, 0.0))
        if not (1 <= sizes[-1][0] <= LARGEST_IMAGE and last < sizes[-1][1] < float("inf")):
            raise FlagError(
                f"--image_size_schedule={config.image_size_schedule}: {stage!r} is not a size and "
                f"an epoch after {last:g}",
                remedy="pass for example 16:4,24:8",
            )
        last = sizes[-1][1]
    return sizes


def check_evaluation(config: Any) -> None:
    """FlagError for values of the evaluation flags that do not go together."""
    if config.quantize:
        raise FlagError("--quantize is not built", remedy="leave it out")


def scopes(value: str | None) -> list[str]:
    """The entries of a comma-separated list of scopes, without blanks and closing slashes."""
    return [scope.strip().rstrip("/") for scope in (value or "").split(",") if scope.strip()]


def check_model(config: Any) -> None:
    """FlagError unless the flags name a dataset directory, a net and a preprocessing."""
    if not config.dataset_dir:
        raise FlagError("You must supply the dataset directory with --dataset_dir")
    NETS[config.model_name]
    if config.preprocessing_name:
        PREPROCESSING[config.preprocessing_name]


def _check_known(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise FlagError(
            f"{what} [{value}] was not recognized", remedy=f"choose from {', '.join(known)}"
        )
