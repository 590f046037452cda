"""The flags of a run: how long, where to, on what machine, in what precision."""

from absl import flags as absl_flags

from core.flags import Group

MOST_THREADS = 512  # far more of them end TensorFlow with a segmentation fault
LARGEST_SEED = 2**31 - 2  # seed + 1 stands above 32 bits of epoch number, in an int64


def define_run(flag_values: absl_flags.FlagValues) -> None:
    """Where a run is kept, how long it goes, what it says."""
    group = Group("Run", flag_values)
    group.string("train_dir", "/tmp/tfmodel/", "Where checkpoints and event files are written.")
    group.integer(
        "max_number_of_steps", None, "Stop at this step; default: train until stopped.", lower=1
    )
    group.float(
        "max_number_of_epochs",
        None,
        "Stop when so many epochs are complete, or at --max_number_of_steps if that comes first.",
        lower=0.001,
        upper=1e9,
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


def define_distribution(flag_values: absl_flags.FlagValues) -> None:
    """research/slim's flags of several devices."""
    group = Group("Distribution (more than one clone or replica is not built)", flag_values)
    group.integer("num_clones", 1, "Copies of the model, one per GPU of this machine.", lower=1)
    group.boolean("clone_on_cpu", False, "Use the CPU even if there is a GPU.")
    group.integer("worker_replicas", 1, "Worker processes.", lower=1)
    group.integer("num_ps_tasks", 0, "Parameter servers.", lower=0)
    group.integer("task", 0, "Which worker this process is.", lower=0)
    group.boolean("sync_replicas", False, "Collect the gradients of several workers.")
    group.integer("replicas_to_aggregate", 1, "Gradients collected before an update.", lower=1)


def define_precision(flag_values: absl_flags.FlagValues) -> None:
    """The precision of training."""
    group = Group("Precision", flag_values)
    group.choice(
        "mixed_precision",
        "off",
        ("off", "bfloat16"),
        "bfloat16: multiply in bfloat16, up to twice as fast, where the processor does (AVX-512 "
        "BF16, AMX; else float32, with a warning). Variables and evaluation stay float32.",
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
