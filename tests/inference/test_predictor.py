import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

import datasets
from core import flags as core_flags
from core.compat import tf
from core.errors import CheckpointError, DataError, DivergedError, FlagError
from datasets import images, tfrecord
from engine import evaluation, flags, run_dir
from inference import predictor

FORMATS = ("saved_model", "frozen", "tflite", "onnx", "h5")


@pytest.fixture(scope="module")
def encoded(colour_folder):
    files = sorted(colour_folder.rglob("*.png"))
    return [images.load(file.read_bytes()).encoded for file in files]


def test_a_model_knows_what_it_is(colour_model, colour_run):
    model = colour_model.model
    assert model.class_names == ("red", "green", "blue")
    assert (model.model_name, model.image_size, model.channels) == ("lenet", 8, 3)
    assert (model.version, model.source) == (60, str(colour_run / "model.ckpt-60"))


def test_the_colours_are_told_apart(colour_model, encoded):
    found = colour_model.probabilities(encoded)  # 4 blue ones, 4 green, 4 red
    assert found.dtype == np.float32
    assert found.argmax(axis=1).tolist() == [2] * 4 + [1] * 4 + [0] * 4
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


def test_no_pictures_give_no_rows(colour_model):
    assert colour_model.probabilities([]).shape == (0, 3)


@pytest.mark.parametrize("size", [1, 5])
def test_a_picture_gives_the_same_in_any_batch(colour_model, encoded, size):
    together = colour_model.probabilities(encoded)
    for start in range(0, len(encoded), size):
        found = colour_model.probabilities(encoded[start : start + size])
        np.testing.assert_allclose(found, together[start : start + size], atol=1e-6)


def test_probabilities_are_those_of_evaluation(colour_model, colour_run, tiny_dataset):
    """On the records of the test split, through the pipeline of evaluation."""
    config = core_flags.parse(flags.define_evaluation, [f"--checkpoint_path={colour_run}"])
    config = evaluation.settings(config)
    split = datasets.load(str(tiny_dataset), "tiny", "test")
    with tf.Graph().as_default():
        evaluator = evaluation.Evaluator(split, config)
        with evaluator.batches(str(colour_run / "model.ckpt-60")) as batches:
            batches.restart()
            logits, _, _ = batches.next()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    records = [record.content for path in split.paths for record in tfrecord.read(Path(path))]
    found = colour_model.probabilities([tfrecord.picture_and_label(r)[0] for r in records])
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("format_", FORMATS)
def test_an_export_gives_what_its_checkpoint_gives(exported, colour_model, encoded, format_):
    model = predictor.open_model(str(exported(format_)))
    assert model.model.class_names == colour_model.model.class_names
    assert model.model.run.preprocessing_name == colour_model.model.run.preprocessing_name
    expected = colour_model.probabilities(encoded)
    for batch in (encoded, encoded[:1], encoded[:5]):  # of several sizes, one after the other
        np.testing.assert_allclose(model.probabilities(batch), expected[: len(batch)], atol=1e-5)
    model.close()


@pytest.mark.parametrize("format_", FORMATS)
def test_several_threads_get_their_own_answers(exported, colour_model, encoded, format_):
    model = predictor.open_model(str(exported(format_)))
    expected = colour_model.probabilities(encoded)
    wrong = []

    def ask(number):
        for _ in range(10):
            found = model.probabilities(encoded[number : number + 2])
            if not np.allclose(found, expected[number : number + 2], atol=1e-5):
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_picture_that_tensorflow_cannot_decode_is_told(colour_model):
    with pytest.raises(DataError, match="TensorFlow cannot decode it"):
        colour_model.probabilities([b"\xff\xd8\xff and no more"])


def test_weights_that_are_no_numbers_are_told(copied_colour_run, encoded):
    path = str(copied_colour_run / "model.ckpt-60")
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.import_meta_graph(f"{path}.meta")
        variables = {v.op.name: v for v in tf.global_variables()}
        saver = tf.train.Saver(variables)
        saver.restore(session, path)
        session.run(
            variables["LeNet/fc4/biases"].initializer,
            {variables["LeNet/fc4/biases"].initializer.inputs[1]: np.full(3, np.nan, np.float32)},
        )
        saver.save(session, path)
    (copied_colour_run / "model.ckpt-60.sha256").unlink()
    model = predictor.open_model(path)
    with pytest.raises(DivergedError, match="NaN or Inf"):
        model.probabilities(encoded)


@pytest.fixture
def copied_colour_run(colour_run, tmp_path):
    return Path(shutil.copytree(colour_run, tmp_path / "run"))


def test_a_damaged_newest_checkpoint_is_passed_over(copied_colour_run):
    run = copied_colour_run
    for file in run.glob("model.ckpt-60.*"):
        shutil.copy(file, run / file.name.replace("60", "61"))
    content = bytearray((run / "model.ckpt-61.data-00000-of-00001").read_bytes())
    content[100] ^= 1
    (run / "model.ckpt-61.data-00000-of-00001").write_bytes(content)
    assert predictor.open_model(str(run)).model.version == 60
    with pytest.raises(CheckpointError, match="damaged"):
        predictor.open_model(str(run / "model.ckpt-61"))


def test_a_checkpoint_without_a_description_says_how_to_go_on(copied_colour_run):
    (copied_colour_run / run_dir.RUN_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"no run\.json beside.*export_inference_graph"):
        predictor.open_model(str(copied_colour_run))


@pytest.mark.parametrize("name", ["none", "none.pb", "none.onnx", "none.h5", "none/model.ckpt-1"])
def test_a_path_to_nothing_is_told(tmp_path, name):
    with pytest.raises(CheckpointError, match="no such"):
        predictor.open_model(str(tmp_path / name))


@pytest.mark.parametrize("name", ["x.pb", "x.tflite", "x.onnx", "x.h5"])
@pytest.mark.parametrize("content", [b"", b"nonsense" * 100])
def test_a_file_of_something_else_is_told(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        predictor.open_model(str(tmp_path / name))


def test_a_saved_model_of_someone_else_is_told(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(CheckpointError, match="not an export of this project"):
        predictor.open_model(str(tmp_path))


def test_a_graph_of_someone_else_is_told(tmp_path):
    with tf.Graph().as_default() as graph:
        tf.constant(1)
    (tmp_path / "x.pb").write_bytes(graph.as_graph_def().SerializeToString())
    with pytest.raises(CheckpointError, match="does not describe itself"):
        predictor.open_model(str(tmp_path / "x.pb"))


@pytest.mark.parametrize("format_", FORMATS)
def test_every_flipped_bit_is_found(exported, tmp_path, format_):
    original = exported(format_)
    copy = tmp_path / original.name
    if original.is_dir():
        shutil.copytree(original, copy)
        files = [file for file in copy.rglob("*") if file.is_file()]
    else:
        shutil.copy(original, copy)
        shutil.copy(f"{original}.sha256", f"{copy}.sha256")
        files = [copy]
    random = np.random.RandomState(0)
    for file in files:
        content = file.read_bytes()
        for _ in range(20):
            damaged = bytearray(content)
            damaged[random.randint(len(content))] ^= 1 << random.randint(8)
            file.write_bytes(damaged)
            with pytest.raises(CheckpointError):
                predictor.open_model(str(copy))
        file.write_bytes(content)
    predictor.open_model(str(copy)).close()


def test_a_saved_model_with_a_file_missing_or_added_is_refused(exported, tmp_path):
    copy = tmp_path / "7"
    shutil.copytree(exported("saved_model"), copy)
    (copy / "variables" / "x").write_bytes(b"")
    with pytest.raises(CheckpointError):
        predictor.open_model(str(copy))
    (copy / "variables" / "x").unlink()
    (copy / "labels.txt").unlink()
    with pytest.raises(CheckpointError, match=r"labels\.txt is listed, but missing"):
        predictor.open_model(str(copy))


def test_of_numbered_exports_the_highest_complete_one_is_the_newest(exported, tmp_path):
    for number in ("2", "10"):
        shutil.copytree(exported("saved_model"), tmp_path / number)
    (tmp_path / "11").mkdir()  # not there yet
    (tmp_path / ".tmp-1-x-12").mkdir()
    assert predictor.newest(str(tmp_path)) == str(tmp_path / "10")
    assert predictor.open_model(str(tmp_path)).model.version == 10


def test_the_description_of_an_export_holds_nothing_of_the_machine(exported, tiny_dataset):
    for format_ in ("saved_model", "frozen", "tflite", "onnx"):
        path = exported(format_)
        file = path / "saved_model.pb" if path.is_dir() else path
        assert os.fsencode(tiny_dataset) not in file.read_bytes()


def test_a_checkpoint_that_does_not_fit_its_description_is_told(copied_colour_run):
    file = copied_colour_run / run_dir.RUN_FILE
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"class_names": ["red", "green"]}))
    with pytest.raises(FlagError, match="3 classes"):
        predictor.open_model(str(copied_colour_run))
