"""Models scored on a split, what they weigh, and how long they were trained."""

import dataclasses
import shutil

import numpy as np
import pytest

import datasets
from core.compat import tf
from core.errors import DataError
from datasets import records, tfrecord
from engine import run_dir
from inference import predictor
from inference.comparison import offline
from inference.comparison.models import Candidate
from inference.comparison.tables import OFFLINE

CHECKPOINT = "model.ckpt-60"


@pytest.fixture(scope="module")
def candidate(colour_run):
    """The newest checkpoint of `colour_run`."""
    return Candidate(str(colour_run / CHECKPOINT), run_dir.read(colour_run), is_trained=True)


def of_two_classes(run, labels_offset):
    """A predictor that always answers the first of the classes that are left."""
    model = predictor.Model("none", 0, dataclasses.replace(run, labels_offset=labels_offset))
    answer = np.eye(len(model.class_names), dtype=np.float32)[0]
    return predictor.Predictor(model, lambda encoded: np.tile(answer, (len(encoded), 1)))


def test_every_record_is_scored_once_and_in_order(colour_model, tiny_dataset):
    dataset = datasets.load(tiny_dataset, "tiny", "test")
    every = []
    for path in dataset.paths:
        for serialized in tf.python_io.tf_record_iterator(path):
            feature = tf.train.Example.FromString(serialized).features.feature
            label = feature["image/class/label"].int64_list.value[0]
            every.append((feature["image/encoded"].bytes_list.value[0], label))
    scores = offline.scored(colour_model, dataset, batch_size=5)
    assert scores.count == 12
    assert scores.labels.tolist() == [label for _, label in every]
    one_by_one = [colour_model.probabilities([encoded])[0] for encoded, _ in every]
    np.testing.assert_allclose(scores.probabilities, one_by_one, atol=1e-6)


def test_a_model_is_measured_in_all_columns(candidate, tiny_dataset):
    dataset = datasets.load(tiny_dataset, "tiny", "test")
    result = offline.measure(candidate, dataset, batch_size=12)
    row = result.row()
    assert {column.key for column in OFFLINE} <= row.keys()
    assert row["top_1"] == 1.0  # the colours are easy
    weights = (5 * 5 * 3 * 32, 5 * 5 * 32 * 64, 2 * 2 * 64 * 1024, 1024 * 3)  # 8x8 pooled twice
    assert row["parameters"] == sum(weights) + 32 + 64 + 1024 + 3
    assert result.metrics.per_class[2].name == "blue"
    assert row["evaluation_seconds"] > 0


def test_an_untrained_net_is_not_scored(colour_run):
    candidate = Candidate(str(colour_run), run_dir.read(colour_run), is_trained=False)
    row = offline.measure(candidate, None, batch_size=1).row()
    assert "top_1" not in row
    assert row["training_seconds"] is row["evaluation_seconds"] is None
    assert row["bytes"] == offline.size_of(str(colour_run / CHECKPOINT))


def test_a_damaged_record_is_named(colour_run, tiny_dataset, tmp_path):
    copy = shutil.copytree(tiny_dataset, tmp_path / "copy")
    dataset = datasets.load(copy, "tiny", "test")
    path = copy / dataset.shards[1].file
    content = bytearray(path.read_bytes())
    first = records.FRAME_BYTES + records.length(bytes(content[: records.HEADER_BYTES]))
    content[first + 100] ^= 1  # in the second record
    path.write_bytes(content)
    with pytest.raises(DataError, match="checksum") as error:
        offline.scored(of_two_classes(run_dir.read(colour_run), 0), dataset, batch_size=4)
    assert error.value.where == f"{path}: record 1, offset {first}"


def test_labels_that_are_none_are_told(colour_run, tiny_dataset):
    dataset = datasets.load(tiny_dataset, "tiny", "test")
    with pytest.raises(DataError, match="label 0") as error:
        offline.scored(of_two_classes(run_dir.read(colour_run), 1), dataset, batch_size=4)
    assert dataset.shards[0].file in error.value.where


def test_labels_are_counted_from_the_offset(colour_run, tmp_path):
    from datasets import conversion
    from datasets.spec import Example

    pixels = np.zeros((4, 8, 8, 3), np.uint8)
    examples = [
        ("test", Example(encoded, "png", 8, 8, label))
        for encoded, label in zip(tfrecord.encode_png([pixels]), (1, 2, 2, 1), strict=True)
    ]
    source = conversion.Source(("none", "cat", "dog"), {}, lambda: iter(examples), num_shards=1)
    conversion.convert("pets", source, str(tmp_path))
    run = dataclasses.replace(run_dir.read(colour_run), class_names=("none", "cat", "dog"))
    dataset = datasets.load(tmp_path, "pets", "test")
    scores = offline.scored(of_two_classes(run, 1), dataset, batch_size=3)
    assert scores.labels.tolist() == [0, 1, 1, 0]
    assert scores.confusion.tolist() == [[2, 0], [2, 0]]


def test_the_size_of_a_checkpoint_is_that_of_index_and_data(tmp_path):
    for ending, size in (("index", 3), ("data-00000-of-00001", 50), ("meta", 700), ("sha256", 9)):
        (tmp_path / f"model.ckpt-7.{ending}").write_bytes(bytes(size))
    (tmp_path / "model.ckpt-70.index").write_bytes(bytes(1000))
    assert offline.size_of(str(tmp_path / "model.ckpt-7")) == 53


def test_the_size_of_an_export_is_that_of_all_its_files(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "variables.index").write_bytes(bytes(30))
    (tmp_path / "saved_model.pb").write_bytes(bytes(400))
    assert offline.size_of(str(tmp_path)) == 430
    assert offline.size_of(str(tmp_path / "saved_model.pb")) == 400


def write_events(path, *times):
    with tf.python_io.TFRecordWriter(str(path)) as writer:
        for step, time in enumerate(times):
            writer.write(tf.Event(wall_time=time, step=step).SerializeToString())


def test_training_is_as_long_as_its_event_files_tell(tmp_path):
    assert offline.training_seconds(tmp_path) is None
    write_events(tmp_path / "events.out.tfevents.1.host", 100, 103, 107.5)
    assert offline.training_seconds(tmp_path) == 7.5
    write_events(tmp_path / "events.out.tfevents.2.host", 200, 201)  # resumed
    (tmp_path / "eval").mkdir()
    write_events(tmp_path / "eval" / "events.out.tfevents.3.host", 300, 400)
    assert offline.training_seconds(tmp_path) == 8.5
    write_events(tmp_path / "events.out.tfevents.4.host", 500)
    assert offline.training_seconds(tmp_path) == 8.5


@pytest.mark.parametrize("cut", [1, 5, 20, 30])
def test_a_torn_last_event_does_not_count(tmp_path, cut):
    path = tmp_path / "events.out.tfevents.1.host"
    write_events(path, 100, 103, 107.5)
    content = path.read_bytes()
    last = records.FRAME_BYTES + len(tf.Event(wall_time=107.5, step=2).SerializeToString())
    assert last == 27
    path.write_bytes(content[:-cut])
    assert offline.training_seconds(tmp_path) == (3 if cut < last else 0)


@pytest.mark.parametrize("content", [b"", b"nonsense that is no event file"])
def test_a_file_without_events_does_not_count(tmp_path, content):
    (tmp_path / "events.out.tfevents.1.host").write_bytes(content)
    assert offline.training_seconds(tmp_path) is None


def test_the_training_of_a_run(colour_run):
    seconds = 0.0
    for path in colour_run.glob("events.out.tfevents.*"):
        times = [event.wall_time for event in tf.train.summary_iterator(str(path))]
        seconds += times[-1] - times[0]
    assert seconds > 0
    assert offline.training_seconds_of(str(colour_run / CHECKPOINT)) == seconds
    assert offline.training_seconds_of(str(colour_run / "model.ckpt-0")) is None
    assert offline.training_seconds_of(str(colour_run / "export.pb")) is None
