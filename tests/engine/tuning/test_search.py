"""The search with real trainings, in a study that has been given a past."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from optuna.trial import TrialState

import tune_image_classifier
from core import files
from core import flags as core_flags
from core.errors import Stopped
from engine.tuning import space, trials
from engine.tuning import study as studies
from engine.tuning.search import Search


@pytest.fixture
def searching(tiny_dataset, tmp_path):
    """searching("--flag=value", ...) gives fixed flags, space and configuration."""

    def searching(*arguments):
        config = core_flags.parse(
            tune_image_classifier.define,
            [
                *(f"--study_dir={tmp_path / 'study'}", f"--dataset_dir={tiny_dataset}"),
                *("--dataset_name=tiny", "--model_name=lenet", "--train_image_size=8"),
                *("--batch_size=4", "--validation_split_name=validation", *arguments),
            ],
        )
        return space.fixed_flags(config), space.of(config), config

    return searching


def complete(study, value, validations):
    """A trial that was as good as that from the first validation on."""
    trial = study.draw()
    study.report(trial, [value] * validations)
    study.note(trial, step=9, steps=9 * validations, epochs=str(validations))
    study.end(trial, TrialState.COMPLETE, value)


def test_a_trial_that_is_pruned_is_stopped(searching, tmp_path):
    # It does not learn, and would go on for days.
    arguments = ("--search=learning_rate choice 1e-9", "--max_number_of_steps=1000000000")
    fixed, searched, config = searching(*arguments, "--num_trials=6")
    directory = tmp_path / "study"
    with studies.opened(directory, searched, fixed, config) as study:
        for _ in range(5):  # as many as the median waits for
            complete(study, 0.99, validations=3)
        search = Search(study, fixed, config)
        assert search.run() is None
        search.check_found()
        last = study.trials[-1]
        assert last.state == TrialState.PRUNED
        assert last.user_attrs["reason"] == "pruned at validation 1"
        assert list(last.intermediate_values) == [1]
        assert (last.user_attrs["step"], last.user_attrs["steps"]) == (9, 9)
        assert study.best.number == 0
    run = trials.directory_of(directory, 5)
    assert not files.is_locked(run)
    assert not [*run.glob("model.ckpt-*"), *run.glob("best")]
    assert ", which is saved" in (run / "log.txt").read_text(encoding="utf-8").splitlines()[-1]


def test_a_training_that_someone_stops_is_gone_on_with(searching, tmp_path):
    arguments = ("--search=learning_rate choice 1e-9", "--max_number_of_steps=1000000000")
    fixed, searched, config = searching(*arguments)
    directory = tmp_path / "study"

    def stop_the_training():
        while not (directory / "trial_0000" / "history.csv").exists():
            time.sleep(0.05)
        text = (directory / "trial_0000" / ".lock").read_text(encoding="utf-8")
        os.kill(int(re.search(r"process (\d+)", text)[1]), signal.SIGTERM)

    threading.Thread(target=stop_the_training, daemon=True).start()
    with studies.opened(directory, searched, fixed, config) as study:
        with pytest.raises(Stopped, match="trial 0 was stopped; the same") as stopped:
            Search(study, fixed, config).run()
        assert stopped.value.exit_code == 143
        assert [trial.number for trial in study.unfinished()] == [0]


def test_the_parent_of_the_trainings_needs_no_tensorflow(root):
    code = "import engine.tuning.search, sys; print('tensorflow' in sys.modules)"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert found.stdout == "False\n"
