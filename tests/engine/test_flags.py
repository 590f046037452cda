"""The command lines: research/slim's flags with their defaults, and what is refused."""

import contextlib
from pathlib import Path

import pytest
from absl import flags as absl_flags

from core import flags as core_flags
from core.errors import FlagError
from engine import flags
from nets.nets_factory import NETS
from preprocessing.preprocessing_factory import PREPROCESSING

# Of research/slim's train_image_classifier.py. Only opt_epsilon has another default there, 1.0.
TRAINING = {
    "master": "",
    "train_dir": "/tmp/tfmodel/",
    "warmup_epochs": 0.0,
    "num_clones": 1,
    "clone_on_cpu": False,
    "worker_replicas": 1,
    "num_ps_tasks": 0,
    "num_readers": 4,
    "num_preprocessing_threads": 4,
    "log_every_n_steps": 10,
    "save_summaries_secs": 600,
    "save_interval_secs": 600,
    "task": 0,
    "weight_decay": 0.00004,
    "optimizer": "rmsprop",
    "adadelta_rho": 0.95,
    "adagrad_initial_accumulator_value": 0.1,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "opt_epsilon": None,
    "ftrl_learning_rate_power": -0.5,
    "ftrl_initial_accumulator_value": 0.1,
    "ftrl_l1": 0.0,
    "ftrl_l2": 0.0,
    "momentum": 0.9,
    "rmsprop_momentum": 0.9,
    "rmsprop_decay": 0.9,
    "quantize_delay": -1,
    "learning_rate_decay_type": "exponential",
    "learning_rate": 0.01,
    "end_learning_rate": 0.0001,
    "label_smoothing": 0.0,
    "learning_rate_decay_factor": 0.94,
    "num_epochs_per_decay": 2.0,
    "sync_replicas": False,
    "replicas_to_aggregate": 1,
    "moving_average_decay": None,
    "dataset_name": "imagenet",
    "dataset_split_name": "train",
    "dataset_dir": None,
    "labels_offset": 0,
    "model_name": "inception_v3",
    "preprocessing_name": None,
    "batch_size": 32,
    "train_image_size": None,
    "max_number_of_steps": None,
    "use_grayscale": False,
    "checkpoint_path": None,
    "checkpoint_exclude_scopes": None,
    "trainable_scopes": None,
    "ignore_missing_vars": False,
}
# Of its eval_image_classifier.py. Only eval_dir has another default there, /tmp/tfmodel/.
EVALUATION = {
    "batch_size": 100,
    "max_num_batches": None,
    "master": "",
    "checkpoint_path": "/tmp/tfmodel/",
    "eval_dir": None,
    "num_preprocessing_threads": 4,
    "dataset_name": "imagenet",
    "dataset_split_name": "test",
    "dataset_dir": None,
    "labels_offset": 0,
    "model_name": "inception_v3",
    "preprocessing_name": None,
    "moving_average_decay": None,
    "eval_image_size": None,
    "quantize": False,
    "use_grayscale": False,
}
SCRIPTS = [(flags.define_training, TRAINING), (flags.define_evaluation, EVALUATION)]


def training(*arguments):
    given = ["--dataset_dir=/data", "--model_name=lenet", *arguments]
    return core_flags.parse(flags.define_training, given)


def test_there_are_as_many_as_in_research_slim():
    assert (len(TRAINING), len(EVALUATION)) == (51, 16)


@pytest.mark.parametrize(("define", "expected"), SCRIPTS, ids=["training", "evaluation"])
def test_defaults(define, expected):
    config = vars(core_flags.parse(define, []))
    found = {name: config[name] for name in expected}
    assert found == expected
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in expected.items()
    }


@pytest.mark.parametrize(("define", "expected"), SCRIPTS, ids=["training", "evaluation"])
def test_each_flag_has_a_sentence_of_help(define, expected):
    values = absl_flags.FlagValues()
    define(values)
    assert set(expected) <= set(values)
    for name in values:
        assert len(values[name].help) > 8, name
        assert values[name].help.endswith("."), name


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--num_clones=2", "--num_clones=2: training runs in one process on one device"),
        ("--worker_replicas=2", "--worker_replicas=2: training runs in one process"),
        ("--num_ps_tasks=1", "--num_ps_tasks=1: training runs in one process"),
        ("--task=1", "--task=1: training runs in one process"),
        ("--sync_replicas", "--sync_replicas=True: training runs in one process"),
        ("--replicas_to_aggregate=2", "--replicas_to_aggregate=2: training runs in one process"),
        ("--quantize_delay=0", "--quantize_delay is not built"),
        ("--optimizer=adamw", r"Optimizer \[adamw\] was not recognized - choose from adadelta"),
        (
            "--learning_rate_decay_type=linear",
            r"learning_rate_decay_type \[linear\] was not recognized - choose from fixed, exp",
        ),
        ("--model_name=lenett", "Name of network unknown lenett - did you mean lenet"),
        ("--model_name=x", "Name of network unknown x - known: inception_v1, "),
        ("--preprocessing_name=vggg", r"Preprocessing name \[vggg\] was not recognized - did you"),
        ("--dataset_dir=", "You must supply the dataset directory with --dataset_dir"),
        ("--head_dropout=0.3", "--head_dropout=0.3 goes with --head_units"),
        ("--head_units=8 --dropout_keep_prob=1", "--dropout_keep_prob=1.0 is of the net"),
        (
            "--trainable_scopes=A --unfreeze_last_n_layers=1",
            "--trainable_scopes and --unfreeze_las",
        ),
        ("--finetune_learning_rate=0.1", "--finetune_learning_rate=0.1 begins after --head_only_s"),
        (
            "--head_only_steps=6 --accumulate_steps=4",
            "--head_only_steps=6 is not a multiple of --a",
        ),
        ("--freeze_batch_norm", "--freeze_batch_norm keeps the statistics of a checkpoint, and th"),
        (
            "--freeze_batch_norm --checkpoint_path=A --batch_norm_decay=0.9",
            "--batch_norm_decay=0.9 is of moving averages that --freeze_batch_norm keeps",
        ),
        ("--checkpoint_exclude_scopes=A", "--checkpoint_exclude_scopes goes with --checkpoint_pa"),
    ],
)
def test_refused_values_of_training(argument, message):
    with pytest.raises(FlagError, match=f"^{message}"):
        flags.check_training(training(*argument.split()))


def test_the_values_that_slim_starts_from_are_taken():
    flags.check_training(training("--num_clones=1", "--quantize_delay=-1", "--nosync_replicas"))
    for optimizer in flags.OPTIMIZERS:
        flags.check_training(training(f"--optimizer={optimizer}"))


@pytest.mark.parametrize("schedule", ["polynomial", "cosine", "one_cycle", "plateau"])
def test_a_schedule_that_would_raise_the_learning_rate(schedule):
    """The end is 0.0001 if it is not given, more than many a rate of fine-tuning."""
    kind = [f"--learning_rate_decay_type={schedule}", "--validation_split_name=test"]
    head = ["--head_only_steps=5", "--finetune_learning_rate=1e-5"]
    for rate in (["--learning_rate=1e-5"], ["--learning_rate=0.1", *head]):
        with pytest.raises(FlagError, match=f"{schedule} lowers no rate that begins with 1e-05: "):
            flags.check_training(training(*kind, *rate))
        flags.check_training(training(*kind, *rate, "--end_learning_rate=1e-6"))


@pytest.mark.parametrize(("schedule", "taken"), [("cosine", True), ("plateau", False)])
def test_a_schedule_that_leaves_the_learning_rate_as_it_is(schedule, taken):
    arguments = [f"--learning_rate_decay_type={schedule}", "--learning_rate=0.0001"]
    with contextlib.nullcontext() if taken else pytest.raises(FlagError, match="lowers no rate"):
        flags.check_training(training(*arguments, "--validation_split_name=test"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mixup_alpha=1", "--batch_size=1"], "--mixup_alpha mixes the pictures of a batch"),
        (["--cutmix_alpha=1", "--batch_size=1"], "--cutmix_alpha mixes the pictures of a batch"),
        (["--preview_augmentation=x.jpg"], "--preview_augmentation=x.jpg: the name of a PNG file"),
        (["--preview_augmentation="], "--preview_augmentation=: the name of a PNG file"),
    ],
)
def test_augmentation_that_does_not_go_together(arguments, message):
    with pytest.raises(FlagError, match=f"^{message}"):
        flags.check_training(training(*arguments))


def test_every_net_and_preprocessing_is_taken():
    for name in NETS:
        flags.check_training(training(f"--model_name={name}"))
        assert NETS[name].preprocessing in PREPROCESSING
    for name in PREPROCESSING:
        flags.check_training(training(f"--preprocessing_name={name}"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, []), ("16:4", [(16, 4.0)]), ("16:0.5,24:8,20:9.5", [(16, 0.5), (24, 8.0), (20, 9.5)])],
)
def test_image_sizes(value, expected):
    assert flags.image_sizes(training(*([f"--image_size_schedule={value}"] if value else []))) == (
        expected
    )


@pytest.mark.parametrize(
    ("value", "stage", "last"),
    [
        *(("16", "16", 0), ("16:x", "16:x", 0), ("x:4", "x:4", 0), ("16:4:2", "16:4:2", 0)),
        *(("0:4", "0:4", 0), ("16:0", "16:0", 0), ("10001:4", "10001:4", 0)),
        *(("16:4,", "", 4), ("16:4,24:4", "24:4", 4), ("16:nan", "16:nan", 0)),
        ("16:1.5,24:inf", "24:inf", 1.5),
    ],
)
def test_refused_image_sizes(value, stage, last):
    message = f"--image_size_schedule={value}: '{stage}' is not a size and an epoch after {last} "
    with pytest.raises(FlagError, match=message):
        flags.check_training(training(f"--image_size_schedule={value}"))


def test_quantize():
    config = core_flags.parse(flags.define_evaluation, ["--quantize"])
    with pytest.raises(FlagError, match="--quantize is not built"):
        flags.check_evaluation(config)


@pytest.mark.parametrize(
    "argument",
    [
        *("--batch_size=0", "--num_readers=0", "--num_preprocessing_threads=0", "--batch_size=x"),
        *("--learning_rate=-0.1", "--learning_rate=nan", "--weight_decay=inf", "--momentum=1.5"),
        *("--max_number_of_steps=0", "--labels_offset=-1", "--label_smoothing=1.1", "--seed=-1"),
        *(f"--seed={2**31 - 1}", "--keep_checkpoint_max=-1", "--save_interval_steps=0"),
        *("--ftrl_learning_rate_power=0.5", "--log_every_n_steps=0", "--train_image_size=0"),
        *("--train_image_size=10001", "--train_image_size=2147483647"),
        *("--max_number_of_epochs=1e10", "--max_number_of_epochs=0"),
        *("--num_readers=513", "--num_preprocessing_threads=513", "--inter_op_threads=513"),
        *("--intra_op_threads=999999999999999999", "--intra_op_threads=-1"),
        *("--rotation_degrees=181", "--zoom_range=1", "--shift_fraction=1.1", "--hue_range=0.6"),
        *("--brightness_range=-0.1", "--contrast_range=1.1", "--saturation_range=2"),
        *("--erasing_probability=1.5", "--randaugment_layers=11", "--randaugment_magnitude=11"),
        *("--mixup_alpha=-1", "--cutmix_alpha=-1", "--cutmix_alpha=nan", "--zoom_range=-0.1"),
        *("--clone_on_cpu=maybe", "--mixed_precision=float16", "--no_such_flag=1", "stray"),
    ],
)
def test_values_out_of_range(argument):
    named = argument.removeprefix("--").partition("=")[0]
    with pytest.raises(FlagError, match=named):
        training(argument)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, []), ("", []), ("A", ["A"]), (" A/b/ ,C,", ["A/b", "C"]), (",,", [])],
)
def test_scopes(text, expected):
    assert flags.scopes(text) == expected


RECIPES = sorted(Path(__file__).parents[2].glob("recipes/*.flags"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_flagfiles_of_the_training(recipe, monkeypatch):
    monkeypatch.chdir(recipe.parents[1])  # one recipe names another from there
    config = core_flags.parse(flags.define_training, [f"--flagfile={recipe}", "--dataset_dir=D"])
    if "model_name" in config.given:
        flags.check_training(config)
        assert config.max_number_of_steps or config.max_number_of_epochs
