"""The checkpoints of a run: written completely or not at all, and only so many kept."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from core.compat import tf
from core.errors import DivergedError, MachineError
from engine import checkpoint_writer, checkpoints


def checkpoint_files(step):
    ending = (".data-00000-of-00001", ".index", ".meta", ".sha256")
    return {f"model.ckpt-{step}{e}" for e in ending}


def names(directory):
    return {path.name for path in Path(directory).iterdir()}


def touch(directory, *file_names):
    for name in file_names:
        (directory / name).write_bytes(b"")


@pytest.mark.parametrize(("keep", "kept"), [(0, [0, 9, 10, 11]), (1, [11]), (3, [9, 10, 11])])
def test_retention(tmp_path, two_variables, keep, kept):
    session, _ = two_variables
    writer = checkpoint_writer.Writer(tmp_path, keep)
    for step in (0, 9, 10, 11):
        writer.save(session, step)
    assert checkpoints.steps(tmp_path) == kept
    assert names(tmp_path) == {"checkpoint"}.union(*map(checkpoint_files, kept))
    lines = (tmp_path / "checkpoint").read_text().splitlines()
    assert lines == ['model_checkpoint_path: "model.ckpt-11"'] + [
        f'all_model_checkpoint_paths: "model.ckpt-{step}"' for step in kept
    ]


def test_a_moved_directory(tmp_path, two_variables):
    session, w = two_variables
    (tmp_path / "old").mkdir()
    checkpoint_writer.Writer(tmp_path / "old", 5).save(session, 3)
    moved = (tmp_path / "old").rename(tmp_path / "new")
    latest = tf.train.latest_checkpoint(str(moved))
    assert latest == str(moved / "model.ckpt-3")
    w.load([0.0, 0.0], session)
    tf.train.Saver().restore(session, latest)
    np.testing.assert_array_equal(session.run(w), [1.0, 2.0])


def test_a_step_is_never_written_twice(tmp_path, two_variables):
    session, w = two_variables
    writer = checkpoint_writer.Writer(tmp_path, 5)
    writer.save(session, 3)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    w.load([7.0, 7.0], session)
    writer.save(session, 3)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_variables_that_are_not_finite_are_not_written(tmp_path, two_variables, bad):
    session, w = two_variables
    writer = checkpoint_writer.Writer(tmp_path, 1)
    writer.save(session, 3)
    before = names(tmp_path)
    w.load([1.0, bad], session)
    message = r"net/w is not finite at step 4 \(.*model\.ckpt-3 is the last good checkpoint\)"
    with pytest.raises(DivergedError, match=message):
        writer.save(session, 4)
    assert names(tmp_path) == before


@pytest.mark.parametrize("limit", [0, 100, 1000, 2500])
def test_a_full_disk_leaves_the_checkpoints_as_they_were(
    tmp_path, two_variables, no_file_beyond, limit
):
    session, _ = two_variables
    writer = checkpoint_writer.Writer(tmp_path, 5)
    writer.save(session, 3)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    where = "model.ckpt-3 is the last good checkpoint"
    with no_file_beyond(limit), pytest.raises(MachineError, match=where) as error:
        writer.save(session, 4)
    assert "cannot write the checkpoint of step 4: " in error.value.what
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    writer.save(session, 4)
    assert checkpoints.steps(tmp_path) == [3, 4]


def test_a_disk_without_room_for_the_checkpoints_of_the_run(tmp_path):
    with tf.Graph().as_default():
        tf.get_variable("large", [shutil.disk_usage(tmp_path).free // 4 // 3])  # 4 bytes each
        checkpoint_writer.Writer(tmp_path, 1)
        with pytest.raises(MachineError, match="disk full: a run that keeps 5 checkpoints needs"):
            checkpoint_writer.Writer(tmp_path, 5)


def test_what_interrupted_saves_and_deletions_left_goes_away(tmp_path, two_variables):
    session, _ = two_variables
    touch(tmp_path, "model.ckpt-2.data-00000-of-00001", "model.ckpt-2.meta", "model.ckpt-2.sha256")
    touch(tmp_path, "other-2.meta", "model.ckpt.meta")  # not of a step of ours
    checkpoint_writer.Writer(tmp_path, 5).save(session, 3)
    ours = {"checkpoint", *checkpoint_files(3)}
    assert names(tmp_path) == ours | {"other-2.meta", "model.ckpt.meta"}
