"""The tuning script as a process: studies that end, are killed, go on, or cannot work."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tune_image_classifier
from core import files
from core import flags as core_flags
from core.errors import ClassifierError, DataError, FlagError
from engine import flags as training_flags

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = "tune_image_classifier.py"
SEARCH = ("--search=learning_rate choice 1e-6 3e-3", "--num_trials=2", "--optimizer=adam")
CHECKPOINTS = "model.ckpt-*"


@pytest.fixture(scope="module")
def flags(tiny_dataset):
    """flags(study_dir, "--flag=value", ...): those of a study of LeNet on 8x8 pixels."""

    def flags(study_dir, *arguments, dataset_dir=tiny_dataset):
        return [
            *(f"--study_dir={study_dir}", f"--dataset_dir={dataset_dir}", "--dataset_name=tiny"),
            *("--model_name=lenet", "--train_image_size=8", "--batch_size=4"),
            *("--validation_split_name=validation", "--max_number_of_steps=27", *arguments),
        ]

    return flags


def rows(directory):
    with (directory / "trials.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def timeless(directory):
    return [{**row, "seconds": None} for row in rows(directory)]


def started(arguments):
    return subprocess.Popen([sys.executable, ROOT / SCRIPT, *arguments], stderr=subprocess.PIPE)


def tune(arguments):
    """Runs the script's main in this process; its trials have their own in any case."""
    tune_image_classifier.main(core_flags.parse(tune_image_classifier.define, arguments))


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.02)


@pytest.fixture(scope="module")
def study(flags, run_script, tmp_path_factory):
    """Directory of a study of two trials, to read only, and what the script printed."""
    directory = tmp_path_factory.mktemp("tuned") / "study"
    result = run_script(SCRIPT, *flags(directory, *SEARCH))
    assert result.returncode == 0, result.stderr
    return directory, result


def test_what_a_study_leaves(study, tiny_dataset):
    directory, result = study
    trials = rows(directory)
    assert [row["state"] for row in trials] == ["complete"] * 2
    assert {row["learning_rate"] for row in trials} == {"1e-6", "3e-3"}
    best = max(trials, key=lambda row: float(row["accuracy"]))
    assert best["learning_rate"] == "3e-3"
    for row in trials:
        run = directory / f"trial_{int(row['trial']):04d}"
        assert not [*run.glob(CHECKPOINTS), *run.glob("checkpoint")]
        assert len([*run.glob("best/model.ckpt-*.index")]) == (row is best)
        with (run / "history.csv").open(encoding="utf-8", newline="") as file:
            points = list(csv.DictReader(file))
        assert [point["step"] for point in points] == ["9", "18", "27"]
        assert row["accuracy"] == max(point["validation_accuracy"] for point in points)
    assert re.search(rf"│ +{best['trial']} │ +{float(best['accuracy']):.4f} │", result.stdout)
    assert result.stdout.splitlines()[-1] == "2 complete"
    assert len(re.findall(r"^Trial \d: accuracy", result.stderr, re.MULTILINE)) == 2
    for name in ("history.png", "importance.png"):
        assert (directory / name).read_bytes().startswith(b"\x89PNG")
    arguments = [f"--flagfile={directory}/best.flags", "--train_dir=run"]
    config = core_flags.parse(training_flags.define_training, arguments)
    assert {name: getattr(config, name) for name in config.given} == {
        **{"train_dir": "run", "dataset_dir": str(tiny_dataset), "dataset_name": "tiny"},
        **{"model_name": "lenet", "train_image_size": 8, "batch_size": 4, "optimizer": "adam"},
        **{"validation_split_name": "validation", "max_number_of_steps": 27},
        **{"learning_rate": 0.003},
    }


def test_a_study_that_has_all_its_trials(study, flags, caplog):
    directory, _ = study
    before = rows(directory)
    caplog.set_level("INFO", logger="absl")
    tune(flags(directory, *SEARCH))
    assert "Nothing to do: " in caplog.text
    assert rows(directory) == before
    with pytest.raises(FlagError, match=r"^--momentum was not given in the study so far, "):
        tune(flags(directory, *SEARCH, "--momentum=0.5"))


def test_a_study_that_was_killed_goes_on_as_if_it_had_not_been(study, flags, tmp_path):
    arguments = flags(tmp_path, *SEARCH, "--num_trials=1")
    process = started(arguments)
    wait_for(tmp_path / "trial_0000" / "history.csv", process)
    process.kill()
    process.communicate()
    tune(arguments)
    directory, _ = study
    assert timeless(tmp_path) == timeless(directory)[:1]
    history = "trial_0000/history.csv"
    assert (tmp_path / history).read_bytes() == (directory / history).read_bytes()


@pytest.mark.slow
def test_trials_side_by_side_that_are_interrupted(failure, flags, tmp_path):
    endless = flags(tmp_path, *SEARCH, "--max_number_of_steps=1000000", "--parallel_trials=2")
    process = started(endless)
    runs = [tmp_path / "trial_0000", tmp_path / "trial_0001"]
    for run in runs:
        wait_for(run / "history.csv", process)
    assert all(map(files.is_locked, runs))
    code, line = failure(tune_image_classifier, *endless)
    assert code == 6
    assert f"is in use by process {process.pid} " in line
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == b"stopped; the same command goes on with the study"
    assert b"Traceback" not in errors
    assert not any(map(files.is_locked, runs))
    assert [row["state"] for row in rows(tmp_path)] == ["unfinished"] * 2
    for run in runs:
        assert len([*run.glob("model.ckpt-*.index")]) == 1


@pytest.mark.slow
def test_a_second_signal_ends_all_at_once(flags, tmp_path):
    process = started(flags(tmp_path, *SEARCH, "--max_number_of_steps=1000000"))
    run = tmp_path / "trial_0000"
    wait_for(run / "history.csv", process)
    training = int(re.search(r"process (\d+)", (run / ".lock").read_text(encoding="utf-8"))[1])
    os.kill(training, signal.SIGSTOP)  # it takes its time to stop
    process.send_signal(signal.SIGINT)
    while b"a second signal stops at once" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 143
    process.stderr.close()
    assert files.is_locked(run)
    os.kill(training, signal.SIGCONT)
    while files.is_locked(run):
        time.sleep(0.02)


def test_time_that_is_over(flags, tmp_path, caplog, capsys):
    endless = flags(tmp_path, *SEARCH, "--max_number_of_steps=1000000")
    caplog.set_level("INFO", logger="absl")
    tune([*endless, "--timeout_minutes=0.01"])
    assert "--timeout_minutes=0.01 are over" in caplog.text
    assert capsys.readouterr().out == "1 unfinished\n"
    assert not files.is_locked(tmp_path / "trial_0000")


@pytest.mark.parametrize(
    ("search", "code", "reason"),
    [
        ("learning_rate choice 1e30", 7, r"[^;]+ at step \d+; LeNet/\w+/\w+ is not finite .*"),
        ("batch_size choice 40", 2, "--batch_size=40 is more than the 36 pictures of .* split .*"),
    ],
)
def test_trials_that_all_fail(flags, tmp_path, search, code, reason):
    arguments = [one for one in flags(tmp_path) if not one.startswith("--batch_size")]
    with pytest.raises(ClassifierError) as error:
        tune([*arguments, f"--search={search}", "--num_trials=1"])
    assert error.value.exit_code == code
    last = str(error.value)
    assert re.fullmatch(f"(no trial is complete; )?trial 0: {reason}", last)
    assert str(tmp_path / "trial_0000" / "log.txt") in last
    (row,) = rows(tmp_path)
    assert row["state"] == "failed"
    assert re.fullmatch(reason, row["reason"].removeprefix("'"))
    assert not [*(tmp_path / "trial_0000").glob(CHECKPOINTS)]


def test_damaged_data_end_the_study_and_not_the_trial(flags, tiny_dataset, tmp_path):
    data = Path(shutil.copytree(tiny_dataset, tmp_path / "data"))
    shard = sorted(data.glob("tiny_train*.tfrecord"))[0]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    arguments = flags(tmp_path / "study", *SEARCH, "--num_trials=1", dataset_dir=data)
    with pytest.raises(DataError, match="^trial 0: .*" + re.escape(str(shard))):
        tune(arguments)
    assert [row["state"] for row in rows(tmp_path / "study")] == ["unfinished"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study_dir="], "--study_dir is needed - "),
        (["--train_dir=run"], "--train_dir: each trial has its own, inside --study_dir - "),
        (["--preview_augmentation=a.png"], "--preview_augmentation: trials train, "),
        (["--validation_split_name="], "--validation_split_name is needed"),
        (["--max_number_of_steps=0"], "flag --max_number_of_steps=0: "),
        (["--num_trials=0"], "flag --num_trials=0: "),
        (["--pruner=best"], "flag --pruner=best: "),
        (["--search=momentum uniform 0 2"], "flag --momentum=2.0: "),
        (["--search=batch_size int 2 4"], "--batch_size is given and searched (--search) - "),
        (["--validation_split_name=val"], "split name val was not recognized"),
        (["--search=optimizer choice adam", "--dataset_dir=none"], "no such directory (none) - "),
    ],
)
def test_bad_flags_are_told_before_any_trial(flags, tmp_path, arguments, message):
    search = [] if "--search" in arguments[0] else ["--search=momentum uniform 0 1"]
    with pytest.raises(ClassifierError) as error:
        tune(flags(tmp_path / "study", *search, *arguments))
    assert error.value.exit_code == 2
    assert str(error.value).startswith(message)
    assert not (tmp_path / "study").exists()


def test_an_error_is_one_line(flags, run_script, tmp_path):
    result = run_script(SCRIPT, *flags(tmp_path / "study", "--search=momentum uniform 0 2"))
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: flag --momentum=2.0: ")


def test_trials_that_would_never_end(flags, tmp_path):
    arguments = [one for one in flags(tmp_path) if not one.startswith("--max_number_of_steps")]
    with pytest.raises(FlagError, match="trials would train until they are stopped"):
        tune([*arguments, "--search=momentum uniform 0 1"])
