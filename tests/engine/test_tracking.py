"""Validation in the course of a run: exact, told everywhere, resumed as if never interrupted."""

import csv
import json
import logging
import os
import signal

import numpy as np
import PIL.Image
import pytest

from core import flags as core_flags
from core.compat import tf
from core.errors import DataError, FlagError, MachineError, Stopped
from engine import checkpoints, evaluation, flags, metrics, run_dir, validation

VALIDATED = ("--validation_split_name=test", "--optimizer=adam", "--learning_rate=0.003")


def rows_of(run):
    with (run / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def validated(make_dataset, train, tmp_path):
    """validated(name, steps, "--flag=value", ...) trains on 10 pictures, validates on 9."""

    def validated(name, steps, *arguments):
        run = tmp_path / name
        train(make_dataset(10, 9), run, f"--max_number_of_steps={steps}", *VALIDATED, *arguments)
        return run

    return validated


@pytest.fixture
def evaluated(make_dataset, load):
    """evaluated(checkpoint) is what eval_image_classifier.py finds of it, as Scores."""

    def evaluated(checkpoint):
        arguments = [f"--checkpoint_path={checkpoint}"]
        config = evaluation.settings(core_flags.parse(flags.define_evaluation, arguments))
        with tf.Graph().as_default():
            evaluator = evaluation.Evaluator(load(make_dataset(10, 9), "test"), config)
            return evaluator.evaluate(checkpoints.resolve(str(checkpoint))).scores

    return evaluated


BATCH_NORM = ("--model_name=mobilenet_v1_025", "--train_image_size=16", "--batch_norm_decay=0.5")


@pytest.mark.parametrize(
    ("arguments", "looked_at"),
    [
        pytest.param(BATCH_NORM, ["8"], marks=pytest.mark.slow),
        (["--moving_average_decay=0.5"], ["3", "8"]),
    ],
)
def test_a_validation_is_an_evaluation(validated, evaluated, arguments, looked_at):
    run = validated("run", 8, *arguments, "--save_interval_steps=1", "--keep_checkpoint_max=0")
    rows = rows_of(run)
    assert [row["step"] for row in rows] == ["3", "5", "8"]
    for row in (row for row in rows if row["step"] in looked_at):
        found = evaluated(run / f"model.ckpt-{row['step']}")
        assert found.count == 9
        values = metrics.compute(found, ("shade0", "shade1", "shade2")).values
        for name, computed in validation.METRICS.items():
            value, expected = row[f"validation_{name}"], values[computed]
            if expected is None:
                assert value == ""
            else:
                assert float(value) == pytest.approx(expected, rel=1e-5)


def test_the_best_checkpoint(validated, evaluated, variables_of):
    run = validated("run", 10, "--best_metric=loss", "--save_interval_steps=1")
    rows = rows_of(run)
    losses = [float(row["validation_loss"]) for row in rows]
    best = rows[int(np.argmin(losses))]["step"]
    assert checkpoints.steps(run / "best") == [int(best)]
    assert evaluated(run / "best").losses.mean() == pytest.approx(min(losses), rel=1e-5)
    held = variables_of(run / "best" / f"model.ckpt-{best}")
    newest = variables_of(run / "model.ckpt-10")
    model = {name for name in newest if name.startswith("LeNet/") and "Adam" not in name}
    assert held.keys() == {*model, "global_step"}
    assert len(model) == 8  # weights and biases of four layers
    assert (run / "best" / "run.json").read_bytes() == (run / "run.json").read_bytes()


def test_tensorboard_has_it_beside_training(validated, events_of):
    run = validated("run", 5)
    found = [
        (event.step, value.tag, value.simple_value)
        for event in events_of(run / "validation")
        for value in event.summary.value
    ]
    rows = rows_of(run)
    names = ("loss", "accuracy", "balanced_accuracy", "f1_macro", "mcc")
    expected = [
        (int(row["step"]), tag, pytest.approx(float(row[f"validation_{name}"]), rel=1e-6))
        for row in rows
        for name in names
        if row[f"validation_{name}"]
        for tag in [name if name in ("loss", "accuracy") else f"eval/{name}"]
    ]
    assert found == expected
    assert len(found) >= 8
    tags = {value.tag for event in events_of(run) for value in event.summary.value}
    assert {"loss", "accuracy"} <= tags


class _StopAt(logging.Handler):
    """Sends this process SIGTERM when a step is logged, which is before its validation."""

    def __init__(self, step):
        super().__init__()
        self._start = f"global step {step}:"

    def emit(self, record):
        if record.getMessage().startswith(self._start):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def stopped(validated, caplog):
    """stopped(name, step, ...) is `validated`, stopped by a signal after that step."""
    caplog.set_level(logging.INFO, logger="absl")

    def stopped(name, step, *arguments):
        handler = _StopAt(step)
        logging.getLogger("absl").addHandler(handler)
        try:
            with pytest.raises(Stopped):
                validated(name, 20, "--log_every_n_steps=1", *arguments)
        finally:
            logging.getLogger("absl").removeHandler(handler)

    return stopped


PLATEAU = (
    *("--learning_rate_decay_type=plateau", "--plateau_patience=1", "--plateau_factor=0.5"),
    *("--early_stopping_patience=5", "--early_stopping_min_delta=0.2", "--best_metric=loss"),
)


def test_a_resumed_run_is_the_uninterrupted_one(validated, stopped, digest, tmp_path):
    straight = validated("straight", 20, *PLATEAU)
    rows = rows_of(straight)
    assert [row["step"] for row in rows][:4] == ["3", "5", "8", "10"]
    rates = [float(row["learning_rate"]) for row in rows]
    assert len(set(rates)) > 2  # it was lowered more than once
    last = int(rows[-1]["step"])
    assert last < 20  # and stopped early
    for step in (4, 5, 9):  # between two validations, before one, between two
        stopped("resumed", step, *PLATEAU)
        assert checkpoints.steps(tmp_path / "resumed")[-1] == step
    resumed = validated("resumed", 20, *PLATEAU)
    assert checkpoints.steps(resumed)[-1] == last
    assert digest(resumed / f"model.ckpt-{last}") == digest(straight / f"model.ckpt-{last}")
    assert (resumed / "history.csv").read_bytes() == (straight / "history.csv").read_bytes()
    (best,) = checkpoints.steps(straight / "best")
    assert checkpoints.steps(resumed / "best") == [best]
    ours, theirs = (digest(run / "best" / f"model.ckpt-{best}") for run in (resumed, straight))
    assert ours == theirs


def test_a_signal_after_the_last_step_puts_its_validation_off(validated, stopped, digest, caplog):
    """Step 7 has a row only because it is the last one."""
    straight = validated("straight", 7)
    assert [row["step"] for row in rows_of(straight)] == ["3", "5", "7"]
    stopped("resumed", 7, "--max_number_of_steps=7")
    resumed = straight.with_name("resumed")
    assert checkpoints.steps(resumed)[-1] == 7
    assert [row["step"] for row in rows_of(resumed)] == ["3", "5"]
    validated("resumed", 7)
    assert (resumed / "history.csv").read_bytes() == (straight / "history.csv").read_bytes()
    (best,) = checkpoints.steps(straight / "best")
    assert checkpoints.steps(resumed / "best") == [best]
    ours, theirs = (digest(run / "best" / f"model.ckpt-{best}") for run in (resumed, straight))
    assert ours == theirs
    assert "Nothing to do" not in caplog.text
    validated("resumed", 7)
    assert "Nothing to do" in caplog.text


def test_the_last_checkpoint_comes_last(validated):
    """So that a run which is killed before it has drawn its curves has a step left to take."""
    run = validated("run", 7, "--save_interval_steps=1")
    curves, checkpoint = (run / name for name in ("curves.png", "model.ckpt-7.index"))
    assert curves.stat().st_mtime_ns < checkpoint.stat().st_mtime_ns
    before = (run / "history.csv").read_bytes()
    (run / "checkpoint").unlink()  # as if it had been killed before it wrote that
    validated("run", 7)
    assert (run / "checkpoint").exists()
    assert (run / "history.csv").read_bytes() == before


def test_the_row_of_the_last_step_is_not_doubled(validated):
    run = validated("run", 5)  # which is due there
    before = (run / "history.csv").read_bytes()
    (run / "checkpoint").unlink()
    validated("run", 5)
    assert (run / "checkpoint").exists()
    assert (run / "history.csv").read_bytes() == before


def test_a_run_that_stopped_early_is_done_until_it_is_to_be_more_patient(validated, caplog):
    run = validated("run", 20, *PLATEAU)
    reached = checkpoints.steps(run)[-1]
    caplog.set_level(logging.INFO, logger="absl")
    validated("run", 20, *PLATEAU)
    assert f"is at step {reached}, it stopped early" in caplog.text
    assert checkpoints.steps(run)[-1] == reached
    validated("run", 20, *PLATEAU, "--early_stopping_patience=7")
    assert checkpoints.steps(run)[-1] > reached


def test_a_run_of_before_there_was_a_history_goes_on(validated, variables_of, tmp_path):
    straight = validated("straight", 5, "--save_interval_steps=1")
    old = tmp_path / "old"
    old.mkdir()
    (old / "run.json").write_bytes((straight / "run.json").read_bytes())
    with tf.Graph().as_default(), tf.Session() as session:
        values = variables_of(straight / "model.ckpt-3")
        del values["history/state"]
        variables = [tf.get_variable(name, initializer=value) for name, value in values.items()]
        session.run(tf.global_variables_initializer())
        tf.train.Saver(variables).save(session, str(old / "model.ckpt-3"))
    resumed = variables_of(validated("old", 5) / "model.ckpt-5")
    for name, value in variables_of(straight / "model.ckpt-5").items():
        if name != "history/state":
            np.testing.assert_array_equal(resumed[name], value, name)
    assert [row["step"] for row in rows_of(old)] == ["3", "5"]


def test_epochs_beside_steps(make_dataset, load, configured, train, tmp_path):
    for arguments, steps in (
        (["--max_number_of_epochs=2"], 5),  # 20 pictures in batches of 4
        (["--max_number_of_epochs=1.3"], 4),  # 13
        (["--max_number_of_epochs=2", "--max_number_of_steps=3"], 3),
    ):
        config = configured(f"--train_dir={tmp_path}", *arguments)
        assert run_dir.settled(load(make_dataset()), config).max_number_of_steps == steps
    train(make_dataset(), tmp_path, "--max_number_of_epochs=1.3")
    assert checkpoints.steps(tmp_path)[-1] == 4


def test_without_validation_there_is_a_row_per_epoch_and_no_best(finished_run):
    run = finished_run("lenet")  # 10 pictures, 7 steps of 4
    rows = rows_of(run)
    assert [row["step"] for row in rows] == ["3", "5", "7"]
    assert [row["epoch"] for row in rows] == ["1.2", "2.0", "2.8"]
    assert all(row["training_loss"] and not row["validation_loss"] for row in rows)
    assert not (run / "best").exists()
    assert not (run / "validation").exists()


def test_training_means_are_over_the_steps_since_the_row_before(validated, events_of):
    run = validated("run", 5, "--save_summaries_steps=1")
    told = {
        tag: [
            value.simple_value
            for event in events_of(run)
            for value in event.summary.value
            if value.tag == tag
        ]
        for tag in ("loss", "accuracy")
    }
    rows = rows_of(run)
    for tag in told:
        expected = [np.mean(told[tag][:3]), np.mean(told[tag][3:])]
        assert [float(row[f"training_{tag}"]) for row in rows] == pytest.approx(expected, rel=1e-6)


def test_a_run_of_one_row_has_its_picture_too(validated):
    run = validated("run", 1)
    assert [row["step"] for row in rows_of(run)] == ["1"]
    assert (run / "curves.png").is_file()


def test_curves(validated):
    run = validated("run", 5)
    with PIL.Image.open(run / "curves.png") as picture:
        width, height = picture.size
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert width > 2 * height > 400
    assert {(0x3F, 0x90, 0xDA), (0xFF, 0xA9, 0x0E)} <= colours  # training and validation


def test_a_damaged_record_of_the_validation_split(make_dataset, train, tmp_path):
    data = make_dataset(10, 9, copy=77)
    (path,) = data.glob("*_test*.tfrecord")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="_test"):
        train(data, tmp_path, "--max_number_of_steps=5", *VALIDATED)
    assert checkpoints.steps(tmp_path) == [0]  # what was there before stays


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--early_stopping_patience=3"], "--early_stopping_patience=3 goes with validation"),
        (["--validate_every_n_steps=3"], "--validate_every_n_steps=3 goes with validation"),
        (["--validate_every_n_epochs=3"], "--validate_every_n_epochs=3.0 goes with validation"),
        (["--learning_rate_decay_type=plateau"], "plateau goes with validation"),
        (["--validation_split_name=nowhere"], "nowhere"),
        (
            [*VALIDATED, "--validate_every_n_steps=3", "--validate_every_n_epochs=3"],
            "say the same in two ways",
        ),
    ],
)
def test_flags_that_do_not_go_together(make_dataset, train, tmp_path, arguments, message):
    with pytest.raises(FlagError, match=message):
        train(make_dataset(), tmp_path / "run", "--max_number_of_steps=1", *arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("metric", ["balanced_accuracy", "mcc"])
def test_a_metric_that_the_split_does_not_have(make_dataset, train, tmp_path, metric):
    data = make_dataset(10, 1)
    with pytest.raises(FlagError, match=f"{metric} is not defined on the test split"):
        train(data, tmp_path, "--max_number_of_steps=1", *VALIDATED, f"--best_metric={metric}")
    assert not checkpoints.steps(tmp_path)


def test_a_full_disk_loses_no_step_that_was_saved(validated, no_file_beyond):
    run = validated("run", 4)
    before = checkpoints.steps(run)
    with no_file_beyond(600_000), pytest.raises(MachineError):
        validated("run", 9)
    assert checkpoints.steps(run) == before
    assert checkpoints.steps(validated("run", 9))[-1] == 9


def test_another_validation_split_is_noticed(make_dataset, train, validated):
    run = validated("run", 3)
    recorded = json.loads((run / "run.json").read_text())
    assert recorded["validation"]["samples"] == 9
    arguments = (make_dataset(10, 8), run, "--max_number_of_steps=5", *VALIDATED)
    message = r"test split is not the one .* been validated on \(9 pictures then, 8 now\)"
    with pytest.raises(FlagError, match=message):
        train(*arguments)
    train(*arguments, "--allow_dataset_change")
    changed = json.loads((run / "run.json").read_text())["changes"]
    assert [(change["step"], change["validation"][1]["samples"]) for change in changed] == [(3, 8)]


def test_validation_can_join_a_run(make_dataset, train, tmp_path):
    train(make_dataset(10, 9), tmp_path, "--max_number_of_steps=3", *VALIDATED[1:])
    train(make_dataset(10, 9), tmp_path, "--max_number_of_steps=5", *VALIDATED)
    assert [bool(row["validation_loss"]) for row in rows_of(tmp_path)] == [False, True]
    with pytest.raises(FlagError, match="--learning_rate_decay_type was fixed in the run so far"):
        train(
            make_dataset(10, 9),
            tmp_path,
            *("--max_number_of_steps=7", *VALIDATED, "--learning_rate_decay_type=plateau"),
        )


def test_validation_on_what_is_trained_on_is_warned_of(make_dataset, train, tmp_path, caplog):
    caplog.set_level(logging.WARNING, logger="absl")
    train(make_dataset(), tmp_path, "--max_number_of_steps=3", "--validation_split_name=train")
    assert "validation on the train split, which is trained on" in caplog.text
