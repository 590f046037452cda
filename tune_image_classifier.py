r"""Searches for the flags of training with which a net does best on a validation split.

    python tune_image_classifier.py --study_dir=STUDY --num_trials=30 --dataset_dir=DIR \
        --dataset_name=NAME --validation_split_name=validation --model_name=mobilenet_v1 \
        --max_number_of_epochs=20 --search="learning_rate log 1e-4 1e-1; optimizer choice adam sgd"

Each trial is a training with other values of the searched flags, in a process and a run directory
of its own; the flags of training that are given are the same for all. What is not worth going on
with is stopped early. The same command goes on with a study that was stopped or killed. The
directory of the study holds best.flags, which training takes as it is (--flagfile=STUDY/best.flags
--train_dir=RUN), trials.csv, history.png, importance.png, and a run per trial; TensorBoard's
HParams tab compares them: tensorboard --logdir=STUDY.
"""

from pathlib import Path
from typing import Any

from absl import flags as absl_flags

import datasets
from core import extras, script
from core.errors import FlagError, Stopped
from core.flags import Group
from engine import flags
from engine.tuning import space

PRUNERS = ("median", "hyperband", "none")
_NOT_OF_A_STUDY = {
    "train_dir": "each trial has its own, inside --study_dir",
    "preview_augmentation": "trials train, and draw nothing",
}


def define(flag_values: absl_flags.FlagValues) -> None:
    """The flags of this script: those of training, and its own."""
    flags.define_training(flag_values)
    group = Group("Tuning", flag_values)
    group.string(
        "study_dir",
        None,
        "Where the study is kept, instead of --train_dir. Trials that have ended leave no "
        "checkpoints there, but the best one of all its best.",
    )
    group.strings(
        "search",
        "A flag and its values: 'learning_rate log 1e-4 1e-1', 'head_dropout uniform 0.2 0.5', "
        "'randaugment_layers int 0 2' or 'optimizer choice adam sgd'. Several are separated by ; "
        "or given one by one. Default, less the flags that are given: "
        f"{space.DEFAULT.strip().replace(chr(10), '; ')}.",
    )
    group.string("search_file", None, "A file with such lines; # begins a comment.")
    group.integer("num_trials", 20, "Trials of the study, with those it has already.", lower=1)
    group.integer(
        "parallel_trials",
        1,
        "Trials that run side by side and share the cores. With 1 the study is a function of its "
        "flags and --seed; with more it depends on which trial ends first, too.",
        lower=1,
        upper=1024,
    )
    group.choice(
        "pruner",
        "median",
        PRUNERS,
        "Which trials are stopped early: median: those that are worse than the median of the "
        "others after as many validations; hyperband: by successive halving.",
    )
    group.float(
        "timeout_minutes", None, "Stop then; unfinished trials can be gone on with.", lower=0.0
    )


def main(config: Any) -> None:
    """One study, top to bottom."""
    check(config)
    fixed, searched = space.fixed_flags(config), space.of(config)
    space.check(searched, fixed)
    for split in (config.dataset_split_name, config.validation_split_name):
        datasets.load(config.dataset_dir, config.dataset_name, split)
    extras.need("tune", "optuna", "matplotlib")

    from engine.tuning import report, study
    from engine.tuning.search import Search

    with study.opened(Path(config.study_dir), searched, fixed, config) as tried:
        search = Search(tried, fixed, config)
        stopped_by = search.run()
        report.draw(tried)
        print(report.text(tried), end="")
        if stopped_by:
            raise Stopped(stopped_by, "stopped; the same command goes on with the study")
        search.check_found()


def check(config: Any) -> None:
    """FlagError for values of the flags that do not go together."""
    if not config.study_dir:
        raise FlagError("--study_dir is needed", remedy="name a directory to keep the study in")
    for name, why in _NOT_OF_A_STUDY.items():
        if name in config.given:
            raise FlagError(f"--{name}: {why}", remedy="leave it out")
    if not config.validation_split_name:
        raise FlagError(
            "--validation_split_name is needed: trials are compared on it",
            remedy="name a split that is not trained on, for example validation",
        )
    ends = ("max_number_of_steps", "max_number_of_epochs", "early_stopping_patience")
    if not any(getattr(config, name) for name in ends):
        raise FlagError(
            "trials would train until they are stopped",
            remedy=f"pass one of --{', --'.join(ends)}",
        )
    flags.check_training(config)


if __name__ == "__main__":
    script.run(main, define, __doc__)
