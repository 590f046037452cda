"""Checkpoints: finding them, telling damaged ones, and the three ways to start from them."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from core.compat import tf
from core.errors import CheckpointError, ExitCode
from engine import checkpoints

LAYERS = ("conv1", "conv2", "fc3", "fc4")
MODEL = {f"LeNet/{layer}/{kind}" for layer in LAYERS for kind in ("weights", "biases")}


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


def test_plain_tensorflow_reads_ours(finished_run, lenet, variables_of):
    path = str(finished_run("lenet") / "model.ckpt-7")
    with lenet() as session:
        tf.train.Saver().restore(session, path)
        found = values(session)
    expected = variables_of(path)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


# Damage.

DATA = "data-00000-of-00001"


@pytest.mark.parametrize("ending", ["meta", "sha256"])
@pytest.mark.parametrize("kind", ["cut", "flipped", "empty"])
def test_damage_to_what_tensorflow_does_not_check_is_found_too(copied_run, damage, ending, kind):
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


def test_the_sha256sum_tool_checks_a_checkpoint(copied_run):
    run = copied_run("lenet")
    command = ["sha256sum", "--check", "--strict", "model.ckpt-4.sha256"]
    done = subprocess.run(command, cwd=run, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"model.ckpt-4.{e}: OK" for e in (DATA, "index", "meta")]
