"""The three ways to start: from the run's own checkpoint, from another's weights, and anew."""

import functools
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest

from core.compat import tf
from core.errors import CheckpointError, ExitCode, FlagError
from engine import checkpoint_writer, checkpoints, starting
from nets import nets_factory

LAYERS = ("conv1", "conv2", "fc3", "fc4")
MODEL = {f"LeNet/{layer}/{kind}" for layer in LAYERS for kind in ("weights", "biases")}
DATA = "data-00000-of-00001"
STEPS = (0, 4, 7)  # of `finished_run`


def values(session):
    return {variable.op.name: session.run(variable) for variable in tf.global_variables()}


def names(directory):
    return {path.name for path in Path(directory).iterdir()}


def test_from_scratch(tmp_path, configured, lenet):
    with lenet() as session:
        starting.starting_point(tmp_path, configured())(session)
        assert session.run(tf.train.get_global_step()) == 0


def test_resume_restores_everything(finished_run, configured, lenet, variables_of):
    run = finished_run("lenet")
    with lenet() as session:
        starting.starting_point(run, configured())(session)
        found = values(session)
    expected = variables_of(run / "model.ckpt-7")
    assert found.keys() == expected.keys() == MODEL | {"global_step", "history/state"}
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert found["global_step"] == 7


@pytest.mark.parametrize("state", ["garbage \xff", "", None, 'model_checkpoint_path: "gone-99"\n'])
def test_resume_does_not_trust_the_state_file(copied_run, configured, lenet, state):
    run = copied_run("lenet")
    (run / "checkpoint").unlink()
    if state is not None:
        (run / "checkpoint").write_text(state, encoding="latin-1")
    with lenet() as session:
        starting.starting_point(run, configured())(session)
        assert session.run(tf.train.get_global_step()) == 7


def test_resume_goes_before_a_warm_start(finished_run, configured, lenet, tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    run = finished_run("lenet")
    with lenet() as session:
        starting.starting_point(run, configured(f"--checkpoint_path={tmp_path}"))(session)
        assert session.run(tf.train.get_global_step()) == 7
    assert f"Ignoring --checkpoint_path because a checkpoint already exists in {run}" in caplog.text


@pytest.mark.parametrize(
    "optimizer",
    [
        tf.train.AdamOptimizer(0.1),
        tf.train.GradientDescentOptimizer(0.1),
        tf.train.RMSPropOptimizer(0.1),
    ],
    ids=["other slots", "fewer slots", "more slots"],
)
def test_resume_with_another_optimizer(tmp_path, configured, lenet, optimizer):
    with lenet(optimizer=tf.train.MomentumOptimizer(0.1, 0.9)) as session:
        session.run(tf.global_variables_initializer())
        checkpoint_writer.Writer(tmp_path, 5).save(session, 2)
    with (
        lenet(optimizer=optimizer),
        pytest.raises(FlagError, match="with the same flags of"),
    ):
        starting.starting_point(tmp_path, configured())


def test_warm_start_takes_the_model_only(finished_run, configured, lenet, tmp_path, variables_of):
    expected = variables_of(finished_run("lenet") / "model.ckpt-7")
    config = configured(f"--checkpoint_path={finished_run('lenet')}")
    with lenet(optimizer=tf.train.MomentumOptimizer(0.1, 0.9)) as session:
        starting.starting_point(tmp_path, config)(session)
        found = values(session)
    assert found["global_step"] == 0
    assert all(np.array_equal(found[name], expected[name]) for name in MODEL)
    assert not found["LeNet/fc4/weights/Momentum"].any()


def test_warm_start_leaves_out_scopes(
    finished_run, configured, lenet, tmp_path, variables_of, caplog
):
    caplog.set_level("INFO", logger="absl")
    expected = variables_of(finished_run("lenet") / "model.ckpt-7")
    config = configured(
        f"--checkpoint_path={finished_run('lenet')}/model.ckpt-7",
        "--checkpoint_exclude_scopes=LeNet/fc4,LeNet/conv1/weights",
    )
    with lenet(classes=5) as session:  # the head has another shape, and is left out
        starting.starting_point(tmp_path, config)(session)
        found = values(session)
    left_out = {"LeNet/fc4/weights", "LeNet/fc4/biases", "LeNet/conv1/weights"}
    assert all(np.array_equal(found[name], expected[name]) for name in MODEL - left_out)
    assert found["LeNet/fc4/weights"].shape == (1024, 5)
    assert not np.array_equal(found["LeNet/conv1/weights"], expected["LeNet/conv1/weights"])
    assert "Restored 5 of 8 model variables" in caplog.messages
    assert {f"Not restored: {name}" for name in left_out} <= set(caplog.messages)


def test_warm_start_with_an_unknown_scope(finished_run, configured, lenet, tmp_path):
    config = configured(
        f"--checkpoint_path={finished_run('lenet')}", "--checkpoint_exclude_scopes=LeNet/logits"
    )
    with lenet(), pytest.raises(FlagError, match="LeNet/logits of --checkpoint_exclude_scopes"):
        starting.starting_point(tmp_path, config)


def test_a_head_of_other_classes_is_left_out(
    finished_run, configured, lenet, tmp_path, variables_of, caplog
):
    caplog.set_level("INFO", logger="absl")
    expected = variables_of(finished_run("lenet") / "model.ckpt-7")
    config = configured(f"--checkpoint_path={finished_run('lenet')}")
    with lenet(classes=5) as session:
        starting.starting_point(tmp_path, config)(session)
        found = values(session)
    assert found["LeNet/fc4/weights"].shape == (1024, 5)
    body = {name for name in MODEL if "fc4" not in name}
    assert all(np.array_equal(found[name], expected[name]) for name in body)
    message = "The head LeNet/fc4 is new: the checkpoint has 3 classes, this run 5"
    assert message in caplog.messages
    assert "Restored 6 of 8 model variables" in caplog.messages


@pytest.fixture(scope="module")
def offset_run(make_dataset, train, tmp_path_factory):
    """Directory of a run of 4 classes with --labels_offset=1: 3 outputs, from shade1 on."""
    directory = tmp_path_factory.mktemp("offset_run")
    data = make_dataset(classes=4, first_label=1)
    train(data, directory, "--labels_offset=1", "--max_number_of_steps=1", "--learning_rate=0.1")
    return directory


def heads(variables_of, before, after):
    """The head of one checkpoint, and that with which the run in another directory began."""
    name = "LeNet/fc4/weights"
    return variables_of(before)[name], variables_of(after / "model.ckpt-0")[name]


def test_a_head_of_as_many_other_classes_is_left_out(
    offset_run, make_dataset, train, tmp_path, variables_of, caplog
):
    caplog.set_level("INFO", logger="absl")
    path = offset_run / "model.ckpt-1"
    train(make_dataset(), tmp_path, f"--checkpoint_path={path}", "--max_number_of_steps=1")
    before, after = heads(variables_of, path, tmp_path)
    assert before.shape == after.shape
    assert not np.array_equal(before, after)
    assert (
        "The head LeNet/fc4 is new: the checkpoint's classes are shade1, shade2, shade3, those of "
        "this run shade0, shade1, shade2" in caplog.messages
    )


@pytest.mark.parametrize("described", [True, False])
def test_a_head_of_the_same_outputs_is_kept(
    finished_run, offset_run, make_dataset, train, tmp_path, variables_of, described
):
    """By their names, or where nobody tells those, by their number: 4 - 1 = 3."""
    path = offset_run / "model.ckpt-1"
    if not described:
        path = Path(shutil.copytree(finished_run("lenet"), tmp_path / "slim")) / "model.ckpt-7"
        (path.parent / "run.json").unlink()
    offset = ["--labels_offset=1", "--max_number_of_steps=1"]
    data = make_dataset(classes=4, first_label=1)
    train(data, tmp_path / "new", f"--checkpoint_path={path}", *offset)
    before, after = heads(variables_of, path, tmp_path / "new")
    assert np.array_equal(before, after)


@pytest.fixture(scope="module")
def run_with_head(make_dataset, train, tmp_path_factory):
    """run_with_head(units) is the directory of a run of one step with that --head_units."""

    @functools.cache
    def run_with_head(units):
        directory = tmp_path_factory.mktemp("head")
        few = ["--max_number_of_steps=1", "--learning_rate=0.1"]
        train(make_dataset(), directory, *few, f"--head_units={units}")
        return directory

    return run_with_head


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        (0, 6, "Head is new: the checkpoint has none of this name"),
        (6, 0, "LeNet/fc4 is new: the checkpoint has none of this name"),
        (6, 5, "Head is new: Head/hidden/biases is [6] in the checkpoint, [5] in this run"),
        (6, 6, None),
    ],
)
def test_a_head_of_ones_own_is_taken_where_it_is_the_same(
    make_dataset, run_with_head, train, tmp_path, variables_of, caplog, before, now, why
):
    caplog.set_level("INFO", logger="absl")
    start = run_with_head(before) / "model.ckpt-1"
    head = [f"--head_units={now}", "--max_number_of_steps=1"]
    train(make_dataset(), tmp_path, *head, f"--checkpoint_path={start}")
    told = [message for message in caplog.messages if message.startswith("The head")]
    assert [message[: len(f"The head {why}")] for message in told] == [f"The head {why}"] * bool(
        why
    )
    then, here = variables_of(start), variables_of(tmp_path / "model.ckpt-0")
    same = {name for name in here if name in then and np.array_equal(then[name], here[name])}
    body = {f"LeNet/{layer}/{kind}" for layer in LAYERS[:3] for kind in ("weights", "biases")}
    head = {
        f"Head/{layer}/{kind}" for layer in ("hidden", "logits") for kind in ("weights", "biases")
    }
    assert same >= body
    assert same & head == (set() if why else head)


def test_a_body_of_another_shape_is_an_error(configured, lenet, tmp_path):
    path = str(tmp_path / "grey.ckpt")
    with lenet() as session:
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, path)
    with tf.Graph().as_default():
        net = nets_factory.get_network_fn("lenet", 3)
        net(tf.zeros([1, 8, 8, 1]))
        config = configured(f"--checkpoint_path={path}")
        message = (
            r"conv1/weights is \[5, 5, 3, 32\] in the checkpoint, \[5, 5, 1, 32\] here .*"
            "pictures of 3 channels there and of 1 here; see --use_grayscale"
        )
        with pytest.raises(FlagError, match=message):
            starting.starting_point(tmp_path / "run", config)


def test_another_preprocessing_is_warned_about(finished_run, make_dataset, train, tmp_path, caplog):
    arguments = [f"--checkpoint_path={finished_run('lenet')}", "--max_number_of_steps=1"]
    train(make_dataset(), tmp_path / "same", *arguments)
    assert not [message for message in caplog.messages if "preprocessing" in message]
    train(make_dataset(), tmp_path / "other", *arguments, "--preprocessing_name=vgg")
    assert (
        "the checkpoint was trained on pictures of the preprocessing lenet, this run prepares them "
        "by vgg" in caplog.messages
    )


def test_warm_start_from_a_run_with_averages_takes_the_weights(
    make_dataset, train, tmp_path, variables_of
):
    few = ["--max_number_of_steps=1", "--learning_rate=0.1"]
    train(make_dataset(), tmp_path / "a", *few, "--moving_average_decay=0.9")
    train(make_dataset(), tmp_path / "b", *few, f"--checkpoint_path={tmp_path / 'a'}")
    before, after = (variables_of(tmp_path / p) for p in ("a/model.ckpt-1", "b/model.ckpt-0"))
    for name in MODEL:
        assert np.array_equal(before[name], after[name])
        assert not np.array_equal(before[f"{name}/ExponentialMovingAverage"], after[name])


def test_warm_start_from_another_net(finished_run, configured, lenet, tmp_path):
    config = configured(f"--checkpoint_path={finished_run('cifarnet')}")
    message = "no variable of lenet, but CifarNet, global_step, history .*check --model_name"
    with lenet(), pytest.raises(FlagError, match=message):
        starting.starting_point(tmp_path, config)


def test_variables_that_the_checkpoint_lacks(configured, lenet, tmp_path):
    path = str(tmp_path / "part.ckpt")
    with lenet() as session:
        session.run(tf.global_variables_initializer())
        part = [v for v in tf.global_variables() if "/conv" in v.op.name]
        for variable in part:
            variable.load(np.full(variable.shape, 7.0), session)
        tf.train.Saver(part).save(session, path)
    arguments = [f"--checkpoint_path={path}"]
    with lenet(), pytest.raises(FlagError, match=r"lacks 2 variables.*--ignore_missing_vars"):
        starting.starting_point(tmp_path / "run", configured(*arguments))
    with lenet() as session:
        config = configured(*arguments, "--ignore_missing_vars")
        starting.starting_point(tmp_path / "run", config)(session)
        found = values(session)
    assert {name for name in MODEL if (found[name] == 7).all()} == {
        *("LeNet/conv1/weights", "LeNet/conv1/biases"),
        *("LeNet/conv2/weights", "LeNet/conv2/biases"),
    }


def test_warm_start_from_a_checkpoint_of_plain_tf_slim(configured, lenet, tmp_path):
    path = str(tmp_path / "model.ckpt")
    with lenet(optimizer=tf.train.RMSPropOptimizer(0.1)) as session:
        session.run(tf.global_variables_initializer())
        for variable in tf.global_variables():
            value = zlib.crc32(variable.op.name.encode()) % 1000
            variable.load(np.full(variable.shape, value), session)
        tf.train.Saver().save(session, path, global_step=123)
    config = configured(f"--checkpoint_path={path}-123")
    with lenet() as session:
        starting.starting_point(tmp_path / "run", config)(session)
        found = values(session)
    assert found["global_step"] == 0
    for name in MODEL:
        np.testing.assert_array_equal(found[name], zlib.crc32(name.encode()) % 1000)


# Damage.


@pytest.mark.parametrize("sums", [True, False], ids=["sums", "no sums"])
@pytest.mark.parametrize(
    ("ending", "kind"),
    [(ending, kind) for ending in ("index", DATA) for kind in ("cut", "flipped", "empty")]
    + [(DATA, "missing")],
)
@pytest.mark.parametrize("damaged", [1, 2, 3], ids=["newest", "newest two", "all"])
def test_resume_falls_back_to_the_newest_that_is_intact(
    copied_run, configured, lenet, variables_of, caplog, damage, damaged, ending, kind, sums
):
    run = copied_run("lenet")
    for step in STEPS[-damaged:]:
        damage(run, step, ending, kind)
    for step in STEPS if not sums else ():
        (run / f"model.ckpt-{step}.sha256").unlink()
    before = names(run)
    if damaged == 3:
        with lenet(), pytest.raises(CheckpointError, match="no checkpoint of the run is") as error:
            starting.starting_point(run, configured())
        assert error.value.exit_code == ExitCode.CHECKPOINT
        assert "model.ckpt-0" in error.value.where
        assert names(run) == before  # the next start must not take it for a new run
        return
    intact = STEPS[-damaged - 1]
    expected = variables_of(run / f"model.ckpt-{intact}")
    with lenet() as session:
        starting.starting_point(run, configured())(session)
        found = values(session)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert found["global_step"] == intact
    assert checkpoints.steps(run) == list(STEPS[:-damaged])
    moved = {name for name in before for step in STEPS[-damaged:] if f"-{step}." in name}
    assert names(run / "corrupt") == moved
    warned = [message for message in caplog.messages if "falling back" in message]
    assert [f"model.ckpt-{step}" in m for step, m in zip(STEPS[::-1], warned, strict=False)] == [
        True
    ] * damaged


def test_a_damaged_checkpoint_to_start_from(copied_run, configured, lenet, damage, tmp_path):
    run = copied_run("lenet")
    damage(run, 7, DATA, "flipped")
    config = configured(f"--checkpoint_path={run / 'model.ckpt-7'}")
    with lenet(), pytest.raises(CheckpointError, match=rf"checksum .*model\.ckpt-7\.{DATA}"):
        starting.starting_point(tmp_path / "new", config)


def test_without_the_newest_checkpoint_the_one_before_is_taken(copied_run, configured, lenet):
    run = copied_run("lenet")
    shutil.move(run / "model.ckpt-7.index", run / "away")
    with lenet() as session:
        starting.starting_point(run, configured())(session)
        assert session.run(tf.train.get_global_step()) == 4
