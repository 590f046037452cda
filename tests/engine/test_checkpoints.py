"""Checkpoints: finding them, telling damaged ones, and the three ways to start from them."""

import contextlib
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

from core.compat import tf
from core.errors import CheckpointError, ExitCode, FlagError
from engine import checkpoint_writer, checkpoints
from engine.history import State
from nets import nets_factory

LAYERS = ("conv1", "conv2", "fc3", "fc4")
MODEL = {f"LeNet/{layer}/{kind}" for layer in LAYERS for kind in ("weights", "biases")}


@pytest.fixture
def lenet():
    """lenet(classes, optimizer) enters a graph that trains LeNet on 8x8 pixels; gives a session."""

    @contextlib.contextmanager
    def lenet(classes=3, optimizer=None):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(5)
            step = tf.train.create_global_step()
            tf.get_variable("history/state", initializer=np.zeros(len(State())), trainable=False)
            net = nets_factory.get_network_fn("lenet", classes, is_training=True)
            loss = tf.reduce_sum(net(tf.zeros([1, 8, 8, 3]))[0])
            (optimizer or tf.train.GradientDescentOptimizer(0.1)).minimize(loss, global_step=step)
            yield session

    return lenet


def values(session):
    return {variable.op.name: session.run(variable) for variable in tf.global_variables()}


def names(directory):
    return {path.name for path in Path(directory).iterdir()}


# Finding.


def test_steps_are_ordered_by_number(tmp_path):
    for step in (9, 10, 100, 0):
        (tmp_path / f"model.ckpt-{step}.index").touch()
    assert checkpoints.steps(tmp_path) == [0, 9, 10, 100]
    found = [f"{tmp_path}/model.ckpt-{step}" for step in (100, 10, 9, 0)]
    assert checkpoints.candidates(str(tmp_path)) == found


def test_what_is_no_checkpoint(tmp_path):
    for name in (
        "model.ckpt-2.meta",
        f"model.ckpt-2.{DATA}",
        "model.ckpt-x.index",
        "other-3.index",
    ):
        (tmp_path / name).touch()
    assert checkpoints.steps(tmp_path) == []


@pytest.mark.parametrize("ending", ["", ".index", ".meta", ".sha256", ".data-00000-of-00001"])
def test_resolve_takes_any_file(finished_run, ending):
    prefix = str(finished_run("lenet") / "model.ckpt-4")
    assert checkpoints.resolve(prefix + ending) == prefix


@pytest.mark.parametrize("name", ["", "model.ckpt-5", "nothing/model.ckpt-5"])
def test_resolve_finds_nothing(tmp_path, name):
    with pytest.raises(CheckpointError, match=r"no (such )?checkpoint") as error:
        checkpoints.resolve(str(tmp_path / name))
    assert error.value.exit_code == ExitCode.CHECKPOINT


def test_resolve_of_a_directory_of_another_tool(tmp_path, two_variables):
    session, _ = two_variables
    tf.train.Saver().save(session, str(tmp_path / "inception_v1.ckpt"))
    assert checkpoints.resolve(str(tmp_path)) == str(tmp_path / "inception_v1.ckpt")


@pytest.mark.parametrize("named", ["directory", "file"])
def test_resolve_of_a_single_file_as_the_oldest_checkpoints_are(tmp_path, two_variables, named):
    session, _ = two_variables
    path = tmp_path / "inception_v1.ckpt"
    tf.train.Saver(write_version=tf.train.SaverDef.V1).save(session, str(path))
    assert path.is_file()
    assert checkpoints.resolve(str(tmp_path if named == "directory" else path)) == str(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match=r"damaged checkpoint: .*inception_v1\.ckpt"):
        checkpoints.resolve(str(path))


@pytest.mark.parametrize(
    ("path", "step"), [("/a/model.ckpt-1234", 1234), ("/a-5/model.ckpt", None), ("b-0", 0)]
)
def test_step_of(path, step):
    assert checkpoints.step_of(path) == step


def test_the_meta_file_rebuilds_the_graph(finished_run, variables_of):
    prefix = str(finished_run("lenet") / "model.ckpt-7")
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.import_meta_graph(f"{prefix}.meta").restore(session, prefix)
        found, expected = values(session), variables_of(prefix)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


# Starting.


def test_from_scratch(tmp_path, configured, lenet):
    with lenet() as session:
        checkpoints.starting_point(tmp_path, configured())(session)
        assert session.run(tf.train.get_global_step()) == 0


def test_resume_restores_everything(finished_run, configured, lenet, variables_of):
    run = finished_run("lenet")
    with lenet() as session:
        checkpoints.starting_point(run, configured())(session)
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
        checkpoints.starting_point(run, configured())(session)
        assert session.run(tf.train.get_global_step()) == 7


def test_resume_goes_before_a_warm_start(finished_run, configured, lenet, tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    run = finished_run("lenet")
    with lenet() as session:
        checkpoints.starting_point(run, configured(f"--checkpoint_path={tmp_path}"))(session)
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
    with lenet(optimizer=optimizer), pytest.raises(FlagError, match="with the same --optimizer"):
        checkpoints.starting_point(tmp_path, configured())


def test_warm_start_takes_the_model_only(finished_run, configured, lenet, tmp_path, variables_of):
    expected = variables_of(finished_run("lenet") / "model.ckpt-7")
    config = configured(f"--checkpoint_path={finished_run('lenet')}")
    with lenet(optimizer=tf.train.MomentumOptimizer(0.1, 0.9)) as session:
        checkpoints.starting_point(tmp_path, config)(session)
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
        checkpoints.starting_point(tmp_path, config)(session)
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
        checkpoints.starting_point(tmp_path, config)


def test_warm_start_with_other_classes(finished_run, configured, lenet, tmp_path):
    config = configured(f"--checkpoint_path={finished_run('lenet')}")
    message = (
        "the checkpoint has 3 classes, the dataset 5 .*"
        "to fine-tune pass --checkpoint_exclude_scopes=LeNet/fc4$"
    )
    with lenet(classes=5), pytest.raises(FlagError, match=message):
        checkpoints.starting_point(tmp_path, config)


def test_warm_start_from_another_net(finished_run, configured, lenet, tmp_path):
    config = configured(f"--checkpoint_path={finished_run('cifarnet')}")
    message = "no variable of lenet, but CifarNet, global_step, history .*check --model_name"
    with lenet(), pytest.raises(FlagError, match=message):
        checkpoints.starting_point(tmp_path, config)


def test_variables_that_the_checkpoint_lacks(configured, lenet, tmp_path):
    path = str(tmp_path / "part.ckpt")
    with lenet() as session:
        session.run(tf.global_variables_initializer())
        part = [v for v in tf.global_variables() if "/conv" in v.op.name]
        for variable in part:
            variable.load(np.full(variable.shape, 7.0), session)
        tf.train.Saver(part).save(session, path)
    arguments = [f"--checkpoint_path={path}"]
    with lenet(), pytest.raises(FlagError, match=r"lacks 4 variables.*--ignore_missing_vars"):
        checkpoints.starting_point(tmp_path / "run", configured(*arguments))
    with lenet() as session:
        config = configured(*arguments, "--ignore_missing_vars")
        checkpoints.starting_point(tmp_path / "run", config)(session)
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
        checkpoints.starting_point(tmp_path / "run", config)(session)
        found = values(session)
    assert found["global_step"] == 0
    for name in MODEL:
        np.testing.assert_array_equal(found[name], zlib.crc32(name.encode()) % 1000)


def test_plain_tensorflow_reads_ours(finished_run, lenet, variables_of):
    path = str(finished_run("lenet") / "model.ckpt-7")
    with lenet() as session:
        tf.train.Saver().restore(session, path)
        found = values(session)
    expected = variables_of(path)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


# Damage.

DATA = "data-00000-of-00001"
STEPS = (0, 4, 7)  # of `finished_run`


def damage(run, step, ending, kind):
    path = run / f"model.ckpt-{step}.{ending}"
    content = bytearray(path.read_bytes())
    if kind == "flipped":
        content[len(content) // 3] ^= 1
    if kind == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: {"cut": len(content) // 2, "empty": 0}.get(kind)])


@pytest.mark.parametrize("sums", [True, False], ids=["sums", "no sums"])
@pytest.mark.parametrize(
    ("ending", "kind"),
    [(ending, kind) for ending in ("index", DATA) for kind in ("cut", "flipped", "empty")]
    + [(DATA, "missing")],
)
@pytest.mark.parametrize("damaged", [1, 2, 3], ids=["newest", "newest two", "all"])
def test_resume_falls_back_to_the_newest_that_is_intact(
    copied_run, configured, lenet, variables_of, caplog, damaged, ending, kind, sums
):
    run = copied_run("lenet")
    for step in STEPS[-damaged:]:
        damage(run, step, ending, kind)
    for step in STEPS if not sums else ():
        (run / f"model.ckpt-{step}.sha256").unlink()
    before = names(run)
    if damaged == 3:
        with lenet(), pytest.raises(CheckpointError, match="no checkpoint of the run is") as error:
            checkpoints.starting_point(run, configured())
        assert error.value.exit_code == ExitCode.CHECKPOINT
        assert "model.ckpt-0" in error.value.where
        assert names(run) == before  # the next start must not take it for a new run
        return
    intact = STEPS[-damaged - 1]
    expected = variables_of(run / f"model.ckpt-{intact}")
    with lenet() as session:
        checkpoints.starting_point(run, configured())(session)
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


@pytest.mark.parametrize("ending", ["meta", "sha256"])
@pytest.mark.parametrize("kind", ["cut", "flipped", "empty"])
def test_damage_to_what_tensorflow_does_not_check_is_found_too(copied_run, ending, kind):
    run = copied_run("lenet")
    damage(run, 7, ending, kind)
    with pytest.raises(CheckpointError, match=rf"model\.ckpt-7\.{ending}\b"):
        checkpoints.check_intact(str(run / "model.ckpt-7"))
    assert checkpoints.resolve(str(run)) == str(run / "model.ckpt-4")


@pytest.mark.parametrize(
    "change", [lambda text: text[:-1], lambda text: text.replace(b"\n", b"\v")]
)
def test_a_list_of_checksums_that_reads_alike_is_damaged_too(copied_run, change):
    sums = copied_run("lenet") / "model.ckpt-7.sha256"
    sums.write_bytes(change(sums.read_bytes()))
    with pytest.raises(CheckpointError):
        checkpoints.check_intact(str(sums.with_suffix("")))


def test_a_file_that_is_listed_but_missing(copied_run):
    run = copied_run("lenet")
    (run / "model.ckpt-7.meta").unlink()
    with pytest.raises(CheckpointError, match=r"model\.ckpt-7\.meta is listed, but missing"):
        checkpoints.check_intact(str(run / "model.ckpt-7"))


def test_every_flipped_bit_is_found(copied_run):
    run = copied_run("lenet")
    prefix = run / "model.ckpt-7"
    choice = np.random.RandomState(0)
    for name in sorted(path.name for path in run.glob("model.ckpt-7.*")):
        original = (run / name).read_bytes()
        for _ in range(25):
            flipped = bytearray(original)
            flipped[choice.randint(len(flipped))] ^= 1 << choice.randint(8)
            (run / name).write_bytes(flipped)
            with pytest.raises(CheckpointError):
                checkpoints.check_intact(str(prefix))
        (run / name).write_bytes(original)
        checkpoints.check_intact(str(prefix))


def test_a_damaged_checkpoint_to_start_from(copied_run, configured, lenet, tmp_path):
    run = copied_run("lenet")
    damage(run, 7, DATA, "flipped")
    config = configured(f"--checkpoint_path={run / 'model.ckpt-7'}")
    with lenet(), pytest.raises(CheckpointError, match=rf"checksum .*model\.ckpt-7\.{DATA}"):
        checkpoints.starting_point(tmp_path / "new", config)


def test_the_sha256sum_tool_checks_a_checkpoint(copied_run):
    run = copied_run("lenet")
    command = ["sha256sum", "--check", "--strict", "model.ckpt-4.sha256"]
    done = subprocess.run(command, cwd=run, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"model.ckpt-4.{e}: OK" for e in (DATA, "index", "meta")]


def test_without_the_newest_checkpoint_the_one_before_is_taken(copied_run, configured, lenet):
    run = copied_run("lenet")
    shutil.move(run / "model.ckpt-7.index", run / "away")
    with lenet() as session:
        checkpoints.starting_point(run, configured())(session)
        assert session.run(tf.train.get_global_step()) == 4
