"""Which copies of which records an oversampled epoch has."""

import collections
import dataclasses
import shutil

import numpy as np
import pytest

from core.compat import tf
from core.errors import DataError, FlagError
from engine import flags, imbalance, input_pipeline
from engine.oversampling import Copies

# An epoch has 8 pictures of each class that has any. Of 3 pictures each comes 8 // 3 times, and
# 8 % 3 = 2 of them once more: 0 and 1, 2 and 0, 1 and 2, 0 and 1, ...
COUNTS, EPOCH = (8, 3, 1, 0), 24
OF_THREE = [[3, 3, 2], [3, 2, 3], [2, 3, 3], [3, 3, 2]]


@pytest.fixture
def batches(load):
    """batches(directory, config, count, step) trains from a global step; arrays of each batch."""

    def batches(directory, config, count, step=0):
        with tf.Graph().as_default(), tf.Session() as session:
            global_step = tf.train.create_global_step()
            batch = input_pipeline.training_batch(load(directory), config)
            global_step.load(step, session)
            session.run(batch.start)
            wanted = batch.images, batch.labels, batch.ids
            return [session.run(wanted) for _ in range(count)]

    return batches


@pytest.fixture
def uneven(make_dataset):
    """uneven(shards) is the directory of a dataset with COUNTS."""
    return lambda shards=0: make_dataset(test=4, classes=4, counts=COUNTS, shards=shards)


def epochs_of(found):
    """The ids and labels of each whole epoch."""
    ids, labels = (np.concatenate([batch[part] for batch in found]) for part in (2, 1))
    whole = len(ids) // EPOCH * EPOCH
    return zip(ids[:whole].reshape(-1, EPOCH), labels[:whole].reshape(-1, EPOCH), strict=True)


@pytest.mark.parametrize(("shards", "readers"), [(0, 4), (3, 1), (3, 4)])
@pytest.mark.parametrize("memory", [1 << 30, 1000])
def test_every_class_comes_equally_often(
    uneven, configured, batches, load, monkeypatch, shards, readers, memory
):
    """Also if the buffer holds a part of the records."""
    monkeypatch.setattr(input_pipeline, "SHUFFLE_BYTES", memory)
    config = configured("--oversample", "--batch_size=7", f"--num_readers={readers}")
    split = load(uneven(shards))
    assert input_pipeline.epoch_size(split, config) == EPOCH
    assert input_pipeline.epoch_size(split, configured()) == 12
    of_class = [np.flatnonzero(imbalance.labels(split, 0) == label) for label in range(4)]
    orders = set()
    for number, (ids, labels) in enumerate(epochs_of(batches(uneven(shards), config, 14))):
        assert np.bincount(labels).tolist() == [8, 8, 8]
        times = np.bincount(ids, minlength=12)
        assert times[of_class[0]].tolist() == [1] * 8
        assert times[of_class[1]].tolist() == OF_THREE[number]
        assert times[of_class[2]].tolist() == [8]
        orders.add(tuple(ids))
    assert len(orders) > 1
    assert len(orders) == 4 or memory == 1000


def test_copies_are_spread_over_the_epoch(uneven, configured, batches, monkeypatch):
    """The only picture of its class comes 8 times in 24, and not all of them in a third.

    In the smaller memory there is room for two records. If these were gone through once, all eight
    would come one after the other.
    """
    for memory in (1 << 30, 1000):
        monkeypatch.setattr(input_pipeline, "SHUFFLE_BYTES", memory)
        config = configured("--oversample", "--batch_size=8")
        for _, labels in epochs_of(batches(uneven(), config, 12)):
            assert (labels.reshape(3, 8) == 2).sum(axis=1).max() <= 5


@pytest.mark.parametrize("readings", [1, 2, 3, 8])
def test_readings_share_the_copies(readings):
    labels = np.array([0, 2, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0])
    with tf.Graph().as_default(), tf.Session() as session:
        records = tf.data.Dataset.from_tensor_slices(
            (np.arange(12, dtype=np.int64), [f"record {index}" for index in range(12)])
        )
        copies = Copies(labels)
        assert (copies.most, copies.epoch_size) == (8, EPOCH)
        found = copies.of_records(records, tf.constant(1, tf.int64), readings)
        numbers, contents = session.run(tf.data.make_one_shot_iterator(found.batch(100)).get_next())
    assert contents.tolist() == [b"record %d" % (number % 12) for number in numbers]
    times = {0: 1, 2: 1, 5: 1, 6: 1, 8: 1, 9: 1, 10: 1, 11: 1, 1: 8, 3: 3, 4: 2, 7: 3}
    assert sorted(numbers) == sorted(
        copy * 12 + index for index, count in times.items() for copy in range(count)
    )
    # A reading goes through the records in their order, so the index falls when the next begins.
    ids = numbers % 12
    each = np.split(ids, np.flatnonzero(np.diff(ids) < 0) + 1)
    assert len(each) == readings
    for index, count in times.items():
        shares = [np.count_nonzero(reading == index) for reading in each]
        assert max(shares) - min(shares) <= 1
        assert sum(shares) == count


@pytest.mark.parametrize(
    ("shards", "preprocessing", "memory"),
    [(0, "cifarnet", 1 << 30), (3, "inception", 1 << 30), (3, "cifarnet", 1000)],
)
def test_training_goes_on_where_the_global_step_stands(
    uneven, configured, batches, monkeypatch, shards, preprocessing, memory
):
    monkeypatch.setattr(input_pipeline, "SHUFFLE_BYTES", memory)
    flag = f"--preprocessing_name={preprocessing}"
    config = configured("--oversample", "--batch_size=5", flag)
    straight = batches(uneven(shards), config, 12)  # 60 pictures: epochs end in batches 5 and 10
    for step in (4, 9):
        resumed = batches(uneven(shards), config, 12 - step, step)
        for one, other in zip(resumed, straight[step:], strict=True):
            for array, wanted in zip(one, other, strict=True):
                np.testing.assert_array_equal(array, wanted)


def test_each_copy_is_distorted_otherwise(uneven, configured, batches):
    """Also between epochs: of the picture that comes 8 times in each, no two of 32 are the same."""
    config = configured("--oversample", "--batch_size=8", "--model_name=cifarnet")
    found = batches(uneven(), config, 12)
    images, labels = (np.concatenate([batch[part] for batch in found]) for part in (0, 1))
    copies = images[labels == 2]
    assert len(copies) == 32
    assert len({copy.tobytes() for copy in copies}) == 32


def test_classes_of_one_size_are_left_as_they_are(make_dataset, configured, batches):
    """Order and pictures are those without the flag."""
    plain, balanced = (
        batches(make_dataset(9, shards=3), configured("--model_name=cifarnet", *more), 6)
        for more in ([], ["--oversample"])
    )
    for one, other in zip(plain, balanced, strict=True):
        for array, wanted in zip(one, other, strict=True):
            np.testing.assert_array_equal(array, wanted)


def test_data_of_research_slim(uneven, configured, batches, load, tmp_path):
    data = shutil.copytree(uneven(), tmp_path / "data")
    (data / "dataset.json").unlink()
    config = configured("--oversample", "--batch_size=8")
    assert input_pipeline.epoch_size(load(data), config) == EPOCH
    for one, other in zip(batches(data, config, 6), batches(uneven(), config, 6), strict=True):
        np.testing.assert_array_equal(one[2], other[2])


def test_what_the_log_says(uneven, configured, batches, caplog):
    caplog.set_level("INFO", logger="absl")
    batches(uneven(), configured("--oversample"), 1)
    assert [line for line in caplog.messages if "versampl" in line] == [
        "No pictures to oversample: shade3",
        "Oversampling: an epoch has 24 pictures, 8 of each class; one comes up to 8 times.",
    ]


def test_a_damaged_record_is_told_before_training(uneven, configured, batches, tmp_path):
    data = shutil.copytree(uneven(3), tmp_path / "data")
    path = data / "shades_train_00001-of-00003.tfrecord"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    message = f"^damaged: the content does not agree with its checksum .{path}: record 0, offset 0"
    with pytest.raises(DataError, match=message):
        batches(data, configured("--oversample"), 1)


def test_other_labels_than_dataset_json_says(uneven, load):
    split = dataclasses.replace(load(uneven()), class_counts=(7, 4, 1, 0))
    message = r"^split train has \[8, 3, 1, 0\] records per class, dataset.json says \[7, 4, 1, 0\]"
    with pytest.raises(DataError, match=message):
        Copies.of(split, 0)


def test_balancing_twice_is_refused(configured):
    flags.check_training(configured("--dataset_dir=D", "--oversample", "--class_weights=FILE"))
    with pytest.raises(FlagError, match="would balance the classes twice - leave one of them out"):
        flags.check_training(
            configured("--dataset_dir=D", "--oversample", "--class_weights=balanced")
        )


def test_many_epochs_give_every_record_its_turn():
    """Of 10 and 7 pictures: after 7 epochs each of the 7 came 10 times."""
    labels = np.repeat([0, 1], [10, 7])
    times = collections.Counter()
    with tf.Graph().as_default(), tf.Session() as session:
        records = tf.data.Dataset.range(17).map(lambda index: (index, ""))
        epoch = tf.placeholder(tf.int64, [])
        found = Copies(labels).of_records(records, epoch, 1).batch(100)
        iterator = tf.data.make_initializable_iterator(found)
        following = iterator.get_next()
        for number in range(7):
            session.run(iterator.initializer, {epoch: number})
            numbers, _ = session.run(following)
            assert len(numbers) == 20
            times.update((numbers % 17).tolist())
    assert times == dict.fromkeys(range(10), 7) | dict.fromkeys(range(10, 17), 10)
