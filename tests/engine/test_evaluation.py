"""Evaluations of real checkpoints against logits computed apart from the engine."""

import dataclasses
import json
import shutil
import threading

import numpy as np
import pytest

import datasets
from core import files
from core import flags as core_flags
from core.compat import tf
from core.errors import (
    CheckpointError,
    DataError,
    DivergedError,
    ExitCode,
    FlagError,
    MissedError,
)
from datasets import spec
from engine import checkpoints, evaluation, flags, input_pipeline, metrics, model
from engine.scores import Scores
from nets import nets_factory
from preprocessing import preprocessing_factory

LABELS = [0, 1, 2, 0, 1]  # of the test split


@pytest.fixture
def reference(make_dataset):
    """reference(net, checkpoint, size, averages) is (logits [5, 3], labels [5]) of the test split.

    The graph is built by hand: pictures as numpy arrays, is_training=False, a plain Saver.
    """

    def reference(net, checkpoint, size, averages):
        records = tf.io.tf_record_iterator(str(make_dataset() / "shades_test.tfrecord"))
        features = [tf.train.Example.FromString(record).features.feature for record in records]
        labels = [f["image/class/label"].int64_list.value[0] for f in features]
        preprocess = preprocessing_factory.get_preprocessing(net, is_training=False)
        with tf.Graph().as_default(), tf.Session() as session:
            encoded = [f["image/encoded"].bytes_list.value[0] for f in features]
            images = [preprocess(tf.io.decode_png(png, 3), size, size) for png in encoded]
            logits, _ = nets_factory.get_network_fn(net, 3, is_training=False)(tf.stack(images))
            suffix = "/ExponentialMovingAverage" if averages else ""
            variables = {variable.op.name + suffix: variable for variable in tf.global_variables()}
            tf.train.Saver(variables).restore(session, str(checkpoint))
            return session.run(logits).astype(np.float64), np.array(labels)

    return reference


@pytest.fixture
def settings():
    """settings("--flag=value", ...) is the configuration of an evaluation, run.json filled in."""
    return lambda *given: evaluation.settings(core_flags.parse(flags.define_evaluation, given))


@pytest.fixture
def with_variables(copied_run):
    """with_variables(step, change) is a LeNet run whose checkpoint of a step was changed.

    `change` makes an array of each variable of the net.
    """

    def with_variables(step, change):
        run = copied_run("lenet")
        with tf.Graph().as_default(), tf.Session() as session:
            nets_factory.get_network_fn("lenet", 3)(tf.zeros([1, 8, 8, 3]))
            saver = tf.train.Saver()
            saver.restore(session, str(run / "model.ckpt-7"))
            for variable in tf.global_variables():
                variable.load(change(session.run(variable)), session)
            saver.save(session, str(run / "model.ckpt"), global_step=step)
        (run / f"model.ckpt-{step}.sha256").unlink(missing_ok=True)
        return run

    return with_variables


def results(directory):
    return json.loads((directory / "results.json").read_text())


@pytest.mark.parametrize(
    ("net", "size", "averages", "batch_size"),
    [
        *(("lenet", 8, False, 1), ("lenet", 8, False, 2)),
        pytest.param("mobilenet_v1_025", 16, True, 3, marks=pytest.mark.slow),
    ],
)
def test_results_equal_those_of_a_graph_built_by_hand(
    finished_run,
    reference,
    evaluate,
    tmp_path,
    capsys,
    net,
    size,
    averages,
    batch_size,
):
    run = finished_run(net)
    evaluate(run, f"--batch_size={batch_size}", f"--eval_dir={tmp_path}")
    logits, labels = reference(net, run / "model.ckpt-7", size, averages)
    assert labels.tolist() == LABELS
    accuracy = float(np.mean(logits.argmax(axis=1) == labels))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = -np.log(shares[np.arange(5), labels]).mean()

    found = results(tmp_path)
    assert found.pop("loss") == pytest.approx(loss, rel=1e-5)
    assert found.pop("seconds") > 0
    scores = Scores(3)
    scores.add(logits, labels)
    expected = metrics.compute(scores, ("shade0", "shade1", "shade2"))
    values = {name: value for name, value in found["metrics"].items() if value is not None}
    assert found.pop("metrics").keys() - values.keys() == expected.undefined.keys()
    for name, value in values.items():
        # Areas change by a whole step where two pictures differ in the last digit alone.
        if name not in ("roc_auc", "average_precision"):
            assert value == pytest.approx(expected.values[name], rel=1e-4), name
    assert found.pop("undefined") == expected.undefined
    assert found.pop("left_out") == expected.left_out
    assert found.pop("intervals")["resamples"] == 1000
    assert found == {
        "checkpoint": str(run / "model.ckpt-7"),
        "global_step": 7,
        "dataset": "shades",
        "split": "test",
        "images": 5,
        "accuracy": accuracy,
        "recall_5": 1.0,  # of 3 classes
        "recall_k": 3,
    }
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("step 7: 5 images in ")
    assert lines[1:4] == [
        f"eval/Accuracy[{accuracy:.4f}]",
        "eval/Recall_5[1.0000]",
        f"loss[{loss:.4f}]",
    ]
    assert lines[5].split()[:2] == ["top_1", f"{accuracy:.4f}"]
    table = np.array([line.split()[2:] for line in lines[-3:]], int)  # after name and number
    expected = np.zeros((3, 3), int)
    for label, row in zip(labels, logits, strict=True):
        expected[label, row.argmax()] += 1
    np.testing.assert_array_equal(table, expected)


def test_logits_are_those_of_a_graph_built_by_hand(finished_run, make_dataset, reference, settings):
    """Picture by picture, where the sums above could hide a difference."""
    net, path = "mobilenet_v1_025", finished_run("mobilenet_v1_025") / "model.ckpt-7"
    config = settings(f"--checkpoint_path={path}", "--batch_size=2")
    dataset = datasets.load(make_dataset(), "shades", "test")
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.create_global_step()
        batch = input_pipeline.evaluation_batch(dataset, config)
        logits, _ = model.build_net(batch.images, 3, config, is_training=False)
        variables = model.variables_to_restore(config.moving_average_decay)
        checkpoints.restorer(variables)(session, str(path))
        session.run(batch.start)
        found = np.concatenate([session.run(logits) for _ in range(3)])
    expected, _ = reference(net, path, 16, averages=True)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    # The test can tell the averages from the weights.
    weights, _ = reference(net, path, 16, averages=False)
    assert np.abs(weights - expected).max() > 1e-3


def test_event_file(finished_run, evaluate, events_of, tmp_path):
    for checkpoint in ("model.ckpt-7", "model.ckpt-4"):
        evaluate(finished_run("lenet") / checkpoint, f"--eval_dir={tmp_path}")
    found = {
        (event.step, value.tag): value.simple_value
        for event in events_of(tmp_path)
        for value in event.summary.value
    }
    tags = ("eval/Accuracy", "eval/Recall_5", "accuracy", "loss")
    assert found.keys() >= {(step, tag) for step in (4, 7) for tag in tags}
    assert results(tmp_path)["global_step"] == 4
    assert found[4, "eval/Accuracy"] == pytest.approx(results(tmp_path)["accuracy"])
    assert found[4, "loss"] == pytest.approx(results(tmp_path)["loss"])


def test_results_lie_in_the_run_if_not_told(copied_run, evaluate):
    run = copied_run("lenet")
    evaluate(run)
    assert results(run / "eval")["global_step"] == 7


def test_a_moved_run(copied_run, evaluate, tmp_path):
    moved = copied_run("lenet").rename(tmp_path / "moved")
    evaluate(moved)
    assert results(moved / "eval")["checkpoint"] == str(moved / "model.ckpt-7")


def test_constant_logits_score_the_share_of_class_0(with_variables, evaluate):
    run = with_variables(8, np.zeros_like)
    evaluate(run, "--batch_size=2")
    found = results(run / "eval")
    assert found["global_step"] == 8
    assert found["accuracy"] == 2 / 5
    assert found["loss"] == pytest.approx(np.log(3))


def test_weights_that_are_not_finite(with_variables, evaluate):
    run = with_variables(8, lambda value: np.full_like(value, np.nan))
    with pytest.raises(DivergedError, match="outputs NaN or Inf") as error:
        evaluate(run)
    assert error.value.exit_code == ExitCode.DIVERGED
    assert not (run / "eval" / "results.json").exists()


def test_some_batches_only(finished_run, evaluate, tmp_path):
    arguments = ["--batch_size=2", f"--eval_dir={tmp_path}"]
    evaluate(finished_run("lenet"), *arguments, "--max_num_batches=2")
    assert results(tmp_path)["images"] == 4
    evaluate(finished_run("lenet"), *arguments, "--max_num_batches=99")
    assert results(tmp_path)["images"] == 5


def test_a_batch_size_beyond_any_memory(finished_run, evaluate, tmp_path):
    evaluate(finished_run("lenet"), f"--batch_size={2**31 - 1}", f"--eval_dir={tmp_path}")
    assert results(tmp_path)["images"] == 5


def test_min_accuracy(with_variables, evaluate):
    run = with_variables(8, np.zeros_like)
    evaluate(run, "--min_accuracy=0.4")
    with pytest.raises(
        MissedError, match=r"accuracy 0\.4000 is below --min_accuracy=0\.41"
    ) as error:
        evaluate(run, "--min_accuracy=0.41")
    assert error.value.exit_code == ExitCode.MISSED
    assert results(run / "eval")["accuracy"] == 0.4


@pytest.mark.parametrize("path", ["", "model.ckpt-5", "nowhere/run"])
def test_without_a_checkpoint(tmp_path, evaluate, path):
    with pytest.raises(CheckpointError, match=r"no (such )?checkpoint") as error:
        evaluate(tmp_path / path)
    assert error.value.exit_code == ExitCode.CHECKPOINT


def test_settings_come_from_the_run(finished_run, make_dataset, settings):
    run = finished_run("mobilenet_v1_025")
    config = settings(f"--checkpoint_path={run / 'model.ckpt-4.index'}")
    found = dataclasses.asdict(config)
    expected = {
        "model_name": "mobilenet_v1_025",
        "preprocessing_name": "inception",
        "eval_image_size": 16,
        "use_grayscale": False,
        "labels_offset": 0,
        "moving_average_decay": 0.9,
        "depth_multiplier": None,
        "stem_stride": None,
        "head_units": 0,
        "dataset_name": "shades",
        "dataset_dir": str(make_dataset()),
        "dataset_split_name": "test",
        "eval_dir": str(run / "eval"),
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("argument", "trained"),
    [
        ("--model_name=cifarnet", "lenet"),
        ("--preprocessing_name=inception", "lenet"),
        ("--eval_image_size=28", "8"),
        ("--use_grayscale=True", "False"),
        ("--labels_offset=1", "0"),
        ("--moving_average_decay=0.9", "None"),
        ("--depth_multiplier=0.5", "None"),
        ("--stem_stride=1", "None"),
        ("--head_units=8", "0"),
    ],
)
def test_a_flag_that_contradicts_the_run(finished_run, settings, argument, trained):
    run = finished_run("lenet")
    with pytest.raises(FlagError) as error:
        settings(f"--checkpoint_path={run}", argument)
    message = f"{argument} contradicts the run, which was trained with {trained} ({run}/run.json)"
    assert str(error.value).startswith(message)


def test_a_run_with_a_head_of_ones_own(make_dataset, train, evaluate, tmp_path):
    """Found by run.json, or told by the flag; of another size it is refused."""
    head = ["--head_units=6", "--head_dropout=0.3", "--max_number_of_steps=1"]
    train(make_dataset(), tmp_path, *head)
    evaluate(tmp_path, "--explain=1")
    expected = results(tmp_path / "eval")
    (tmp_path / "run.json").unlink()
    told = [f"--dataset_dir={make_dataset()}", "--dataset_name=shades", "--model_name=lenet"]
    told += ["--eval_image_size=8", f"--eval_dir={tmp_path / 'told'}"]
    evaluate(tmp_path, *told, "--head_units=6")
    assert results(tmp_path / "told")["loss"] == expected["loss"]
    message = r"Head/hidden/weights is \[1024, 6\] in the checkpoint, \[1024, 7\] here"
    with pytest.raises(FlagError, match=message):
        evaluate(tmp_path, *told, "--head_units=7")


def test_flags_that_agree_with_the_run(finished_run, settings):
    agreeing = ["--model_name=lenet", "--eval_image_size=8", "--labels_offset=0"]
    assert settings(f"--checkpoint_path={finished_run('lenet')}", *agreeing).model_name == "lenet"
    # A preprocessing has the names of its nets too.
    run = finished_run("mobilenet_v1_025")
    settings(f"--checkpoint_path={run}", "--preprocessing_name=mobilenet_v1")


def test_a_run_without_run_json(copied_run, make_dataset, evaluate):
    """As research/slim leaves it: then the flags tell everything."""
    run = copied_run("lenet")
    evaluate(run)
    expected = results(run / "eval")
    (run / "run.json").unlink()
    given = ["--model_name=lenet", "--eval_image_size=8", "--dataset_name=shades"]
    with pytest.raises(FlagError, match="You must supply the dataset directory with --dataset_dir"):
        evaluate(run, *given)
    evaluate(run, *given, f"--dataset_dir={make_dataset()}")
    found = results(run / "eval")
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}
    with pytest.raises(FlagError, match="no variable of cifarnet, but LeNet"):
        evaluate(run, f"--dataset_dir={make_dataset()}", *given, "--model_name=cifarnet")
    with pytest.raises(FlagError, match=r"lacks 8 variables.*--moving_average_decay"):
        evaluate(run, f"--dataset_dir={make_dataset()}", *given, "--moving_average_decay=0.9")


def test_other_classes(finished_run, make_dataset, evaluate):
    with pytest.raises(FlagError, match=r"the run knows 3 classes .*the dataset has 4 \(shade0"):
        evaluate(finished_run("lenet"), f"--dataset_dir={make_dataset(classes=4)}")


def test_a_record_that_is_missing(finished_run, make_dataset, evaluate, tmp_path):
    """dataset.json counts one record more than the file has."""
    data = make_dataset(copy="missing record")
    dataset = spec.Dataset.read(data / "dataset.json")
    (shard,) = dataset.splits["test"].shards
    split = dataclasses.replace(
        dataset.splits["test"], shards=(dataclasses.replace(shard, records=6),)
    )
    wrong = dataclasses.replace(dataset, splits={**dataset.splits, "test": split})
    (data / "dataset.json").write_text(wrong.to_json())
    with pytest.raises(DataError, match=r"5 records, 6 were written .*shades_test"):
        evaluate(finished_run("lenet"), f"--dataset_dir={data}", f"--eval_dir={tmp_path}")


# Following a training.


def copy_checkpoint(source, step, directory):
    """The index last, as training writes it."""
    for ending in ("data-00000-of-00001", "meta", "index"):
        shutil.copy(source / f"model.ckpt-{step}.{ending}", directory)


def test_following_a_training_to_its_end(finished_run, make_dataset, settings, tmp_path):
    run = finished_run("lenet")

    def begin():
        shutil.copy(run / "run.json", tmp_path)
        copy_checkpoint(run, 0, tmp_path)

    with files.locked(tmp_path):
        later = threading.Timer(0.2, begin)
        later.start()
        # Started before training has written anything.
        config = settings(f"--checkpoint_path={tmp_path}", "--eval_interval_secs=0.01")
        with tf.Graph().as_default():
            dataset = datasets.load(make_dataset(), "shades", "test")
            follow = evaluation.results(evaluation.Evaluator(dataset, config), config)
            assert next(follow).step == 0
            later.join()
            copy_checkpoint(run, 4, tmp_path)
            assert next(follow).step == 4
            later = threading.Timer(0.2, copy_checkpoint, (run, 7, tmp_path))
            later.start()
            assert next(follow).step == 7
            later.join()
    assert list(follow) == []


@pytest.mark.parametrize("moment", ["check_intact", "check_fits"])
def test_a_checkpoint_that_is_deleted_while_it_is_read(
    copied_run, evaluate, monkeypatch, tmp_path, moment
):
    """As by a training that goes on: its next checkpoint is there already."""
    run = copied_run("lenet")
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for path in run.glob("model.ckpt-7.*"):
        path.rename(shelf / path.name)
    original = getattr(checkpoints, moment)

    def while_training_goes_on(path, *arguments, **options):
        if path.endswith("-4"):
            for old in run.glob("model.ckpt-4.*"):
                old.unlink()
            for new in shelf.iterdir():
                new.rename(run / new.name)
        return original(path, *arguments, **options)

    monkeypatch.setattr(checkpoints, moment, while_training_goes_on)
    evaluate(run)
    assert results(run / "eval")["global_step"] == 7


def test_a_damaged_newest_checkpoint_is_passed_over_loudly(copied_run, evaluate, caplog):
    run = copied_run("lenet")
    (run / "model.ckpt-7.data-00000-of-00001").write_bytes(b"")
    before = sorted(path.name for path in run.iterdir())
    evaluate(run)
    assert results(run / "eval")["global_step"] == 4
    assert "model.ckpt-7.data-00000-of-00001); falling back to the checkpoint before" in caplog.text
    # Evaluation does not touch a directory that a training may hold.
    assert sorted(path.name for path in run.iterdir()) == sorted([*before, "eval"])


def test_a_damaged_checkpoint_that_was_asked_for(copied_run, evaluate):
    run = copied_run("lenet")
    (run / "model.ckpt-7.index").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"its checksum .*model\.ckpt-7\.index") as error:
        evaluate(run / "model.ckpt-7")
    assert error.value.exit_code == ExitCode.CHECKPOINT


def test_following_evaluates_the_last_checkpoint_of_a_run_that_ended(
    finished_run, evaluate, tmp_path
):
    evaluate(finished_run("lenet"), "--eval_interval_secs=0.01", f"--eval_dir={tmp_path}")
    assert results(tmp_path)["global_step"] == 7


def test_following_needs_a_directory(finished_run, evaluate):
    with pytest.raises(FlagError, match="--eval_interval_secs needs a run directory"):
        evaluate(finished_run("lenet") / "model.ckpt-7", "--eval_interval_secs=1")
