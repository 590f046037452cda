"""Which records come, in which order, and what is said of damaged ones."""

import json
import struct
from types import SimpleNamespace

import numpy as np
import pytest

import datasets
from core.compat import tf
from core.errors import DataError
from datasets import tfrecord
from datasets.records import FRAME_BYTES
from datasets.spec import Example
from engine import input_pipeline

EPOCH = 10  # records of the training split below; a batch has 4, so epochs end inside batches
EVALUATED = sorted(
    {(n, b) for b in (1, 3, 7) for n in (1, b - 1, b, b + 1, 2 * b + 3) if n}
)  # (records, batch size)


@pytest.fixture
def batches(load):
    """batches(directory, config, count, step) trains from a global step; arrays of each batch."""

    def batches(directory, config, count, step=0):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(config.seed)
            global_step = tf.train.create_global_step()
            dataset = load(directory)
            batch = input_pipeline.training_batch(dataset, config)
            global_step.load(step, session)
            with input_pipeline.damage_named(dataset, config.labels_offset):
                session.run(batch.start)
                return [session.run((batch.images, batch.labels, batch.ids)) for _ in range(count)]

    return batches


@pytest.fixture
def one_pass(configured):
    """one_pass(directory, "--flag=value", ..., name=, split=) evaluates; arrays of each batch."""

    def one_pass(directory, *arguments, name="shades", split="test"):
        config = configured(*arguments)
        config = SimpleNamespace(**vars(config), eval_image_size=config.train_image_size)
        found = []
        with tf.Graph().as_default(), tf.Session() as session:
            dataset = datasets.load(directory, name, split)
            batch = input_pipeline.evaluation_batch(dataset, config)
            with input_pipeline.damage_named(dataset, config.labels_offset):
                session.run(batch.start)
                while True:
                    try:
                        found.append(session.run((batch.images, batch.labels, batch.ids)))
                    except tf.errors.OutOfRangeError:
                        return found

    return one_pass


def ids_of(found):
    return np.concatenate([ids for _, _, ids in found]).tolist()


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for array, wanted in zip(one, other, strict=True):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("shards", [0, 3])
@pytest.mark.parametrize("readers", [1, 4])
def test_training_sees_every_record_once_per_epoch(
    make_dataset, configured, batches, shards, readers
):
    config = configured(f"--num_readers={readers}")
    ids = ids_of(batches(make_dataset(EPOCH, shards=shards), config, 10))
    epochs = [ids[start : start + EPOCH] for start in range(0, 40, EPOCH)]
    assert all(sorted(epoch) == list(range(EPOCH)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_seed_decides_the_order(make_dataset, configured, batches):
    data = make_dataset(EPOCH, shards=3)
    first, again, other = (
        batches(data, configured(f"--seed={seed}", "--model_name=cifarnet"), 6)
        for seed in (0, 0, 1)
    )
    assert_same(again, first)
    assert ids_of(other) != ids_of(first)


@pytest.mark.parametrize(
    ("shards", "readers", "preprocessing"),
    [(0, 4, "cifarnet"), (3, 1, "cifarnet"), (3, 4, "cifarnet"), (3, 4, "inception")],
)
def test_training_goes_on_where_the_global_step_stands(
    make_dataset, configured, batches, shards, readers, preprocessing
):
    config = configured(f"--preprocessing_name={preprocessing}", f"--num_readers={readers}")
    data = make_dataset(EPOCH, shards=shards)
    straight = batches(data, config, 6)  # 24 records: epochs end in batches 2 and 4
    for step in (1, 3, 5):
        assert_same(batches(data, config, 6 - step, step), straight[step:])


def test_augmentation_differs_between_epochs(make_dataset, configured, batches):
    found = batches(make_dataset(EPOCH), configured("--model_name=cifarnet"), 5)
    images = np.concatenate([images for images, _, _ in found])
    ids = np.array(ids_of(found))
    for record in range(EPOCH):
        first, second = images[ids == record]
        assert not np.array_equal(first, second)


@pytest.mark.parametrize("preprocessing", ["cifarnet", "inception"])
def test_threads_do_not_show(make_dataset, configured, batches, preprocessing):
    one, many = (
        batches(
            make_dataset(EPOCH, shards=3),
            configured(
                f"--preprocessing_name={preprocessing}", f"--num_preprocessing_threads={threads}"
            ),
            5,
        )
        for threads in (1, 8)
    )
    assert_same(many, one)


def test_the_largest_seed_and_a_far_step(make_dataset, configured, batches):
    config = configured(f"--seed={2**31 - 2}", "--model_name=cifarnet")
    data = make_dataset(EPOCH)
    far = 10**9
    assert_same(batches(data, config, 1, far + 1), batches(data, config, 2, far)[1:])


def test_a_batch_larger_than_the_split(make_dataset, configured, batches):
    ids = ids_of(batches(make_dataset(3, 1), configured("--batch_size=8"), 3))
    assert [sorted(ids[start : start + 3]) for start in range(0, 24, 3)] == [[0, 1, 2]] * 8


def test_training_and_evaluation_agree_on_ids(make_dataset, configured, batches, one_pass):
    data = make_dataset(EPOCH, shards=3)
    evaluated = one_pass(data, split="train")
    pictures = {
        record: (image, label)
        for batch in evaluated
        for image, label, record in zip(*batch, strict=True)
    }
    for images, labels, ids in batches(data, configured(), 3):  # LeNet's pictures are not distorted
        for image, label, record in zip(images, labels, ids, strict=True):
            np.testing.assert_array_equal(image, pictures[record][0])
            assert label == pictures[record][1]


@pytest.mark.parametrize(("records", "batch_size"), EVALUATED)
def test_evaluation_sees_every_record_once(make_dataset, one_pass, records, batch_size):
    found = one_pass(make_dataset(1, records), f"--batch_size={batch_size}")
    assert ids_of(found) == list(range(records))
    assert [len(labels) for _, labels, _ in found[:-1]] == [batch_size] * (len(found) - 1)
    assert len(found[-1][1]) == (records - 1) % batch_size + 1
    assert np.concatenate([labels for _, labels, _ in found]).tolist() == [
        record % 3 for record in range(records)
    ]


def test_evaluation_reads_all_shards(make_dataset, one_pass):
    found = one_pass(make_dataset(1, 8, shards=3), "--batch_size=5")
    assert ids_of(found) == list(range(8))
    # Pictures are dealt out in turn, 0 3 6 | 1 4 7 | 2 5, and picture p has label p % 3.
    labels = np.concatenate([labels for _, labels, _ in found])
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]


def test_labels_offset(make_dataset, configured, batches, one_pass):
    data = make_dataset(EPOCH, 5, first_label=1)  # labels 1, 2, 1, 2, ...
    found = one_pass(data, "--labels_offset=1")
    assert np.concatenate([labels for _, labels, _ in found]).tolist() == [0, 1, 0, 1, 0]
    for _, labels, ids in batches(data, configured("--labels_offset=1"), 3):
        np.testing.assert_array_equal(labels, ids % 2)


def test_label_below_the_offset(make_dataset, configured, batches):
    with pytest.raises(DataError, match=r"label 0 is not in 1\.\.2 .*train\.tfrecord: record 0"):
        batches(make_dataset(EPOCH), configured("--labels_offset=1"), 3)


def test_label_beyond_the_classes(make_dataset, configured, batches, one_pass):
    data = make_dataset(EPOCH, copy=1)
    manifest = json.loads((data / "dataset.json").read_text())
    manifest["class_names"].pop()
    (data / "dataset.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"label 2 is not in 0\.\.1 .*train\.tfrecord: record 2"):
        batches(data, configured(), 3)
    with pytest.raises(DataError, match=r"label 2 is not in 0\.\.1 .*test\.tfrecord: record 2"):
        one_pass(data)


@pytest.mark.parametrize(("part", "offset"), [("length", 0), ("content", 12 + 20)])
def test_flipped_bit(make_dataset, configured, batches, one_pass, part, offset):
    data = make_dataset(EPOCH, EPOCH, copy=part)
    for split in ("train", "test"):
        path = data / f"shades_{split}.tfrecord"
        content, start = bytearray(path.read_bytes()), 0
        for _ in range(4):  # to record 4; a length of 8 bytes stands in front
            start += FRAME_BYTES + struct.unpack_from("<Q", content, start)[0]
        content[start + offset] ^= 1
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged record.*shades_train\.tfrecord: record 4\)"):
        batches(data, configured(), 3)
    with pytest.raises(DataError, match=r"damaged record.*shades_test\.tfrecord: record 4\)"):
        one_pass(data)


@pytest.mark.parametrize("kind", [tf.errors.ResourceExhaustedError, tf.errors.AbortedError])
def test_errors_that_are_not_of_the_data_are_left_alone(make_dataset, load, kind):
    data = make_dataset(copy="two faults")
    path = data / "shades_train.tfrecord"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    with pytest.raises(kind, match="of the machine"), input_pipeline.damage_named(load(data), 0):
        raise kind(None, None, "a fault of the machine")


def test_an_error_without_damage_is_raised_as_it_is(make_dataset, load):
    kind = tf.errors.InvalidArgumentError
    dataset = load(make_dataset())
    with pytest.raises(kind, match="of the net"), input_pipeline.damage_named(dataset, 0):
        raise kind(None, None, "a fault of the net")


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(b"\xff\xfe not an Example", id="no Example"),
        pytest.param(tf.train.Example().SerializeToString(), id="no keys"),
        pytest.param(tfrecord.serialize(Example(b"GIF8", "png", 2, 2, 0)), id="no picture"),
    ],
)
def test_records_of_others(tmp_path, one_pass, damaged):
    (tmp_path / "labels.txt").write_text("0:a\n1:b\n")
    good = tfrecord.serialize(
        Example(next(tfrecord.encode_png(np.zeros((1, 4, 4, 3), np.uint8))), "png", 4, 4, 1)
    )
    with tf.io.TFRecordWriter(str(tmp_path / "mine_test.tfrecord")) as writer:
        for record in (good, damaged, good):
            writer.write(record)
    with pytest.raises(DataError, match=r"damaged record: .+ \(.*mine_test\.tfrecord: record 1\)"):
        one_pass(tmp_path, name="mine")


def test_grey_pictures(make_dataset, configured, batches, one_pass):
    grey = make_dataset(EPOCH, channels=1)
    ((images, _, _),) = batches(grey, configured("--model_name=cifarnet"), 1)
    assert images.shape == (4, 8, 8, 1)
    assert one_pass(grey)[0][0].shape == (4, 8, 8, 1)


def test_use_grayscale(make_dataset, configured, batches, one_pass):
    ((images, _, _),) = batches(make_dataset(EPOCH), configured("--use_grayscale"), 1)
    assert images.shape == (4, 8, 8, 1)
    assert one_pass(make_dataset(EPOCH), "--use_grayscale")[0][0].shape == (4, 8, 8, 1)
