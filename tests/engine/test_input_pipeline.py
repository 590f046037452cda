"""Which records come, in which order, and what is said of damaged ones."""

import gzip
import io
import json
import re
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

import datasets
from core.compat import tf
from core.errors import DataError
from datasets.records import FRAME_BYTES
from engine import image_cache, input_pipeline

EPOCH = 10  # records of the training split below; a batch has 4, so epochs end inside batches
EVALUATED = sorted(
    {(n, b) for b in (1, 3, 7) for n in (1, b - 1, b, b + 1, 2 * b + 3) if n}
)  # (records, batch size)


@pytest.fixture
def batches(load):
    """batches(directory, config, count, step) trains from a global step; arrays of each batch.

    What `meanwhile` does happens after the first of them.
    """

    def batches(directory, config, count, step=0, meanwhile=lambda: None):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(config.seed)
            global_step = tf.train.create_global_step()
            dataset = load(directory)
            batch = input_pipeline.training_batch(dataset, config)
            global_step.load(step, session)
            with input_pipeline.damage_named(dataset, config.labels_offset):
                session.run(batch.start)
                found = [session.run((batch.images, batch.labels, batch.ids))]
                meanwhile()
                while len(found) < count:
                    found.append(session.run((batch.images, batch.labels, batch.ids)))
                return found

    return batches


@pytest.fixture
def one_pass(configured):
    """one_pass(directory, "--flag=value", ..., name=, split=) evaluates; arrays of each batch.

    What `meanwhile` does happens before the first of them.
    """

    def one_pass(directory, *arguments, name="shades", split="test", meanwhile=lambda: None):
        config = configured(*arguments)
        config = SimpleNamespace(**vars(config), eval_image_size=config.train_image_size)
        found = []
        with tf.Graph().as_default(), tf.Session() as session:
            dataset = datasets.load(directory, name, split)
            batch = input_pipeline.evaluation_batch(dataset, config)
            meanwhile()
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


def test_image_sizes_follow_their_schedule(make_dataset, configured, batches):
    """12.5 epochs of 2.5 steps: 6 pixels before step round(3.75) = 4, 10 before 6, then 8."""
    schedule = ["--image_size_schedule=6:1.5,10:2.5", "--preprocessing_name=pad_crop"]
    config = configured(*schedule, "--cutout_fraction=0.25")
    data = make_dataset(EPOCH, shards=3)
    straight = batches(data, config, 8)
    assert [images.shape for images, _, _ in straight] == [
        (4, size, size, 3) for size in [6] * 4 + [10] * 2 + [8] * 2
    ]
    for step in (3, 4, 7):
        assert_same(batches(data, config, 8 - step, step), straight[step:])
    # What ends does not change what follows.
    plain = batches(data, configured("--preprocessing_name=pad_crop", "--cutout_fraction=0.25"), 8)
    assert_same(straight[6:], plain[6:])


def test_cutout_blanks_a_square_of_each_training_picture(
    make_dataset, configured, batches, one_pass
):
    arguments = ["--preprocessing_name=pad_crop", "--train_image_size=16"]
    plain, cut = (
        batches(make_dataset(EPOCH), configured(*arguments, *more), 5)
        for more in ([], ["--cutout_fraction=0.5"])
    )
    boxes = set()
    for (whole, *_), (images, *_) in zip(plain, cut, strict=True):
        for one, other in zip(whole, images, strict=True):
            rows, columns = np.nonzero((one != other).any(axis=2))
            top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
            assert max(bottom - top, right - left) <= 8
            assert min(bottom - top, right - left) >= 4  # its middle is inside
            assert not other[top:bottom, left:right].any()
            boxes.add((top, left, bottom, right))
    assert len(boxes) > 10
    evaluated = [
        one_pass(make_dataset(EPOCH), *arguments, *more) for more in ([], ["--cutout_fraction=0.5"])
    ]
    assert_same(*evaluated)


AUGMENTATION = {
    "recipe_augmentation": "--norecipe_augmentation",
    "rotation_degrees": "--rotation_degrees=30",
    "zoom_range": "--zoom_range=0.3",
    "shift_fraction": "--shift_fraction=0.2",
    "flip_left_right": "--flip_left_right",
    "flip_up_down": "--flip_up_down",
    "brightness_range": "--brightness_range=0.3",
    "contrast_range": "--contrast_range=0.5",
    "saturation_range": "--saturation_range=0.5",
    "hue_range": "--hue_range=0.2",
    "cutout_fraction": "--cutout_fraction=0.5",
    "erasing_probability": "--erasing_probability=0.5",
    "randaugment_layers": "--randaugment_layers=1",
}


@pytest.mark.parametrize("flag", AUGMENTATION.values(), ids=AUGMENTATION)
def test_each_flag_of_augmentation_changes_the_pictures_alone(
    make_dataset, configured, batches, flag
):
    plain, changed = (
        batches(make_dataset(EPOCH), configured("--preprocessing_name=pad_crop", *more), 3)
        for more in ([], [flag])
    )
    assert not np.array_equal(changed[0][0], plain[0][0])
    for (images, *rest), (_, *expected) in zip(changed, plain, strict=True):
        assert images.shape == (4, 8, 8, 3)
        for found, wanted in zip(rest, expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_all_augmentation_goes_on_where_the_global_step_stands(make_dataset, configured, batches):
    config = configured("--preprocessing_name=vgg", *list(AUGMENTATION.values())[1:])
    data = make_dataset(EPOCH, shards=3)
    straight = batches(data, config, 6)
    assert_same(batches(data, config, 2, 4), straight[4:])
    images = np.concatenate([images for images, _, _ in straight])
    ids = np.array(ids_of(straight))
    for record in set(ids[:EPOCH]) & set(ids[EPOCH : 2 * EPOCH]):  # another picture in each epoch
        first, second = images[ids == record][:2]
        assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "preprocessing", ["cifarnet", "imagenet", "inception", "lenet", "pad_crop", "vgg"]
)
def test_without_the_augmentation_of_the_recipe_pictures_are_those_of_evaluation(
    make_dataset, configured, batches, one_pass, preprocessing
):
    arguments = [f"--preprocessing_name={preprocessing}", "--norecipe_augmentation"]
    data = make_dataset(EPOCH)
    (evaluated,) = one_pass(data, *arguments, f"--batch_size={EPOCH}", split="train")
    for images, _, ids in batches(data, configured(*arguments), 3):
        np.testing.assert_array_equal(images, evaluated[0][ids])


def test_the_draws_of_the_recipe_do_not_depend_on_the_flags(make_dataset, configured, batches):
    """Pictures that are erased as a whole but for a part are those of the recipe in that part."""
    arguments = ["--preprocessing_name=pad_crop", "--train_image_size=16"]
    plain, erased = (
        batches(make_dataset(EPOCH), configured(*arguments, *more), 3)
        for more in ([], ["--erasing_probability=1"])
    )
    for (images, *_), (others, *_) in zip(plain, erased, strict=True):
        same = (images == others).all(axis=3).mean(axis=(1, 2))
        assert np.all((same > 0.5) & (same < 1))  # at most 0.4 are erased


@pytest.mark.parametrize("arguments", [["--use_grayscale"], []], ids=["made grey", "grey"])
def test_grey_pictures_take_all_flags(make_dataset, configured, batches, arguments):
    data = make_dataset(EPOCH) if arguments else make_dataset(EPOCH, channels=1)
    found = batches(data, configured(*arguments, *AUGMENTATION.values()), 2)
    for images, _, _ in found:
        assert images.shape == (4, 8, 8, 1)
        assert np.isfinite(images).all()


@pytest.mark.parametrize("preprocessing", ["cifarnet", "inception"])
def test_kept_pictures_give_the_same_batches(
    make_dataset, configured, batches, preprocessing, monkeypatch
):
    monkeypatch.setattr(image_cache, "WORTHWHILE_BYTES", 1)
    arguments = [f"--preprocessing_name={preprocessing}", "--num_preprocessing_threads=3"]
    kept, anew = (
        batches(make_dataset(EPOCH, shards=3), configured(*arguments, flag), 8)
        for flag in ("--cache_decoded_images", "--nocache_decoded_images")
    )
    assert_same(kept, anew)


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
    del manifest["sha256"]
    (data / "dataset.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"label 2 is not in 0\.\.1 .*train\.tfrecord: record 2"):
        batches(data, configured(), 3)
    with pytest.raises(DataError, match=r"label 2 is not in 0\.\.1 .*test\.tfrecord: record 2"):
        one_pass(data)


def flip(path, offset):
    """Flips a bit of record 4, so far behind its start."""
    content, start = bytearray(path.read_bytes()), 0
    for _ in range(4):
        start += FRAME_BYTES + struct.unpack_from("<Q", content, start)[0]
    content[start + offset] ^= 1
    path.write_bytes(content)
    return start


CHECKSUM = "does not agree with its checksum"


@pytest.mark.parametrize(
    ("offset", "problem"),
    [
        (0, f"the length {CHECKSUM}; 6 of 10 records are lost"),  # a length of 8 bytes
        (9, f"the length {CHECKSUM}; 6 of 10 records are lost"),  # its checksum of 4
        (12 + 20, f"the content {CHECKSUM}"),
    ],
)
def test_flipped_bit(make_dataset, configured, batches, one_pass, offset, problem):
    data = make_dataset(EPOCH, EPOCH, copy=offset)
    for split in ("train", "test"):
        path = data / f"shades_{split}.tfrecord"
        start = flip(path, offset)
        message = re.escape(f"damaged: {problem} ({path}: record 4, offset {start})")
        with pytest.raises(DataError, match=message) as caught:
            batches(data, configured(), 3) if split == "train" else one_pass(data)
        assert caught.value.exit_code == 3


def same_size(content, size):
    return (content * (size // len(content) + 1))[:size]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (gzip.compress(np.random.RandomState(0).bytes(10_000)), "not a TFRecord file (gzip data?)"),
        (b"once upon a time\n", "not a TFRecord file, or its first bytes are damaged"),
        (bytes(16), "not a TFRecord file, or its first bytes are damaged"),
    ],
    ids=["gzip", "text", "zeros"],
)
def test_another_file_of_the_same_size(
    make_dataset, configured, batches, one_pass, content, problem
):
    data = make_dataset(EPOCH, 5, copy=problem + str(len(content)))
    for path in data.glob("*.tfrecord"):
        path.write_bytes(same_size(content, path.stat().st_size))
    message = re.escape(problem) + "; {} of {} records are lost .*: record 0, offset 0"
    with pytest.raises(DataError, match=message.format(EPOCH, EPOCH)):
        batches(data, configured(), 3)
    with pytest.raises(DataError, match=message.format(5, 5)):
        one_pass(data)


def cut_at_a_record(path):
    content = path.read_bytes()
    path.write_bytes(content[: FRAME_BYTES + struct.unpack_from("<Q", content)[0]])


def repeat(path):
    path.write_bytes(path.read_bytes() * 2)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (Path.unlink, "shard 2 of 3 is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "truncated; 1 of 3 records are"),
        (lambda path: path.write_bytes(path.read_bytes() + b"more" * 5), "damaged: the length"),
        (cut_at_a_record, "1 records, 3 were written"),
        (repeat, "6 records, 3 were written"),
    ],
    ids=["removed", "cut", "longer", "cut at a record", "repeated"],
)
@pytest.mark.timeout(60)
def test_a_record_file_that_changes_meanwhile(
    make_dataset, configured, batches, one_pass, change, problem
):
    data = make_dataset(EPOCH, EPOCH - 1, shards=3, copy=problem)
    name = "shades_{}_00001-of-00003.tfrecord"

    def damage(split):
        change(data / name.format(split))

    with pytest.raises(DataError, match=f"{problem}.*{name.format('train')}"):
        batches(data, configured(), 100, meanwhile=lambda: damage("train"))
    with pytest.raises(DataError, match=f"{problem}.*{name.format('test')}"):
        one_pass(data, meanwhile=lambda: damage("test"))


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


def record(encoded, label, key="image/class/label"):
    """A record as others write it."""
    features = tf.train.Features()
    features.feature["image/encoded"].bytes_list.value.append(encoded)
    kind = "float_list" if isinstance(label, float) else "int64_list"
    getattr(features.feature[key], kind).value.append(label)
    return tf.train.Example(features=features).SerializeToString()


def saved(file_format):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (4, 4)).save(buffer, file_format)
    return buffer.getvalue()


PNG, TIFF = saved("PNG"), saved("TIFF")
OF_OTHERS = {
    "no Example": (b"\xff\xfe not an Example", "not a tf.Example"),
    "no keys": (b"", r"record has keys \[\], expected \['image/encoded', 'image/class/label'"),
    "other keys": (
        record(PNG, 1, "label"),
        r"record has keys \['image/encoded', 'label'\], expect",
    ),
    "float label": (record(PNG, 1.0), "image/class/label is no int64_list of one value"),
    "label -1": (record(PNG, -1), r"label -1 is not in 0\.\.1"),
    "label 2": (record(PNG, 2), r"label 2 is not in 0\.\.1"),
    "label 2^40": (record(PNG, 2**40), rf"label {2**40} is not in 0\.\.1"),
    "no picture": (record(b"GIF8", 0), r"not an image \(starts with 'GIF8'\)"),
    "half a picture": (record(PNG[:30], 0), "truncated"),
    "TIFF": (record(TIFF, 0), "TensorFlow cannot decode it: "),
}


@pytest.mark.parametrize("name", OF_OTHERS)
def test_records_of_others(tmp_path, configured, batches, one_pass, name):
    damaged, problem = OF_OTHERS[name]
    (tmp_path / "labels.txt").write_text("0:a\n1:b\n")
    for split in ("train", "test"):
        with tf.io.TFRecordWriter(str(tmp_path / f"shades_{split}.tfrecord")) as writer:
            for serialized in (record(PNG, 1), damaged, record(PNG, 0)):
                writer.write(serialized)
    place = f"record 1, offset {FRAME_BYTES + len(record(PNG, 1))}"
    with pytest.raises(DataError, match=rf"^{problem}.* \(.*shades_test\.tfrecord: {place}\)"):
        one_pass(tmp_path)
    with pytest.raises(DataError, match=rf"^{problem}.* \(.*shades_train\.tfrecord: {place}\)"):
        batches(tmp_path, configured(), 3)


def test_training_and_evaluation_name_the_record(make_dataset, train, evaluate, tmp_path):
    data = make_dataset(EPOCH, EPOCH, copy="trained on")
    start = flip(data / "shades_train.tfrecord", 40)
    message = f"damaged: the content {CHECKSUM} .*{{}}: record 4, offset {{}}"
    with pytest.raises(DataError, match=message.format("shades_train.tfrecord", start)):
        train(data, tmp_path / "run", "--max_number_of_steps=3")
    flip(data / "shades_train.tfrecord", 40)  # back
    train(data, tmp_path / "run", "--max_number_of_steps=1")
    start = flip(data / "shades_test.tfrecord", 40)
    with pytest.raises(DataError, match=message.format("shades_test.tfrecord", start)):
        evaluate(tmp_path / "run")
    assert not (tmp_path / "run" / "eval" / "results.json").exists()


def test_grey_pictures(make_dataset, configured, batches, one_pass):
    grey = make_dataset(EPOCH, channels=1)
    ((images, _, _),) = batches(grey, configured("--model_name=cifarnet"), 1)
    assert images.shape == (4, 8, 8, 1)
    assert one_pass(grey)[0][0].shape == (4, 8, 8, 1)


def test_use_grayscale(make_dataset, configured, batches, one_pass):
    ((images, _, _),) = batches(make_dataset(EPOCH), configured("--use_grayscale"), 1)
    assert images.shape == (4, 8, 8, 1)
    assert one_pass(make_dataset(EPOCH), "--use_grayscale")[0][0].shape == (4, 8, 8, 1)
