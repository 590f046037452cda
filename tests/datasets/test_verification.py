"""Every kind of damage of a dataset on disk, and what --verify says of it."""

import dataclasses
import gzip
import io
import shutil
import struct
import zlib

import numpy as np
import PIL.Image
import pytest

import datasets
from core import files
from core.compat import tf
from core.errors import DataError, FlagError, LockedError
from datasets import conversion, spec, tfrecord, verification
from datasets.spec import Dataset, Example, Shard, Split

CLASSES = ("ant", "bee")
SHARD = "zoo_train.tfrecord"
CHECKSUM = "does not agree with its checksum"


def example(png, number):
    """Picture `number` of 2x2 pixels, with labels 0, 1, 0, ..."""
    pixels = np.full((2, 2, 3), number, np.uint8)
    return Example(png(pixels), "png", 2, 2, number % 2, f"{number}.png".encode())


@pytest.fixture(scope="session")
def zoo(tmp_path_factory, png):
    """Directory of the dataset "zoo", to read only: 4 pictures to train on and 2 to test on."""
    directory = tmp_path_factory.mktemp("zoo")

    def examples():
        yield from (("train", example(png, number)) for number in range(4))
        yield from (("test", example(png, number)) for number in range(4, 6))

    conversion.convert("zoo", conversion.Source(CLASSES, {}, examples), str(directory))
    return directory


@pytest.fixture
def copy(zoo, tmp_path):
    """A copy of "zoo", to damage."""
    return shutil.copytree(zoo, tmp_path / "copy")


def faults(directory, name=None):
    """What is said of each fault, and where it is, without the directory."""
    found = verification.verify(str(directory), name).faults
    return [(fault.what, fault.where.removeprefix(f"{directory}/")) for fault in found]


def starts(content):
    """Where each record of a file starts, and where the last one ends."""
    found = [0]
    while found[-1] < len(content):
        found.append(found[-1] + 16 + struct.unpack_from("<Q", content, found[-1])[0])
    return found


def at(number, content, file=SHARD):
    return f"{file}: record {number}, offset {starts(content)[number]}"


def write_records(path, serialized):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in serialized:
            writer.write(record)


def describe(directory, counts, classes=CLASSES):
    """Writes a dataset.json that agrees with the one record file that is there."""
    path = directory / SHARD
    shard = Shard(SHARD, sum(counts), path.stat().st_size, files.sha256(path))
    dataset = Dataset("zoo", classes, {"train": Split((shard,), counts)})
    (directory / "dataset.json").write_text(dataset.to_json())
    (directory / "labels.txt").write_text(spec.labels_text(classes))


def state(directory):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in directory.iterdir()}


# What is whole


def test_nothing_is_wrong_with_what_the_converter_wrote(zoo):
    report = verification.verify(str(zoo))
    assert report == (Dataset.read(zoo / "dataset.json"), [], [])


def test_nothing_is_changed(copy):
    (copy / ".lock").unlink()
    before = state(copy)
    verification.verify(str(copy))
    assert state(copy) == before


def test_what_an_older_version_wrote_has_no_checksum_and_is_read(copy):
    text = (copy / "dataset.json").read_text()
    head, _, checksum = text.rpartition(',\n  "sha256"')
    assert checksum.count("\n") == 2  # the last key
    (copy / "dataset.json").write_text(head + "\n}\n")
    assert faults(copy) == []


# Damage to record files


def test_one_bit_in_any_byte_of_a_record_file_is_found_with_its_record(copy):
    path = copy / SHARD
    content = path.read_bytes()
    edges = starts(content)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        number = sum(edge <= position for edge in edges) - 1
        within = position - edges[number]
        if within >= 12:
            what = f"damaged: the content {CHECKSUM}"
        else:
            lost = f"; {4 - number} of 4 records are lost"
            what = f"damaged: the length {CHECKSUM}{lost}"
            if number == 0:
                what = f"not a TFRecord file, or its first bytes are damaged{lost}"
        assert faults(copy) == [(what, at(number, content))]


def test_a_record_file_cut_at_any_byte_is_told(copy):
    path = copy / SHARD
    content = path.read_bytes()
    edges = starts(content)
    for size in range(len(content)):
        path.write_bytes(content[:size])
        number = sum(edge <= size for edge in edges) - 1
        if size in edges:
            expected = (f"{number} records, 4 were written", SHARD)
        else:
            lost = f"truncated; {4 - number} of 4 records are lost"
            expected = (lost, at(number, content))
        assert faults(copy) == [expected]


@pytest.mark.parametrize(
    ("garbage", "what"),
    [
        (b"x", "truncated after the last record"),
        (b"7 bytes", "truncated after the last record"),
        (b"\0" * 11, "truncated after the last record"),
        (b"\0" * 12, f"damaged: the length {CHECKSUM} after the last record"),
        (b"garbage" * 100, f"damaged: the length {CHECKSUM} after the last record"),
    ],
)
def test_what_was_appended_is_told(copy, garbage, what):
    content = (copy / SHARD).read_bytes()
    (copy / SHARD).write_bytes(content + garbage)
    assert faults(copy) == [(what, f"{SHARD}: record 4, offset {len(content)}")]


@pytest.mark.parametrize(
    ("order", "what"),
    [
        ((0, 1, 2, 3, 2), "5 records, 4 were written"),
        ((0, 2, 3), "3 records, 4 were written"),
        ((1, 0, 2, 3), "not the records that were written"),
        ((0, 1, 2, 2), "not the records that were written"),
        ((0, 1, 0, 3), "not the records that were written"),
    ],
)
def test_records_that_were_repeated_exchanged_or_left_out_are_told(copy, order, what):
    content = (copy / SHARD).read_bytes()
    edges = starts(content)
    (copy / SHARD).write_bytes(b"".join(content[edges[i] : edges[i + 1]] for i in order))
    found = faults(copy)
    assert found[0][0].startswith(what)
    assert found[0][1] == SHARD
    assert len(found) == 1


def test_a_record_file_of_another_dataset_is_told(copy):
    shutil.copy(copy / "zoo_test.tfrecord", copy / SHARD)
    assert faults(copy) == [("2 records, 4 were written", SHARD)]


def test_missing_record_files_are_told(copy):
    (copy / SHARD).unlink()
    (copy / "zoo_test.tfrecord").unlink()
    assert faults(copy) == [
        ("shard 1 of 1 is missing", SHARD),
        ("shard 1 of 1 is missing", "zoo_test.tfrecord"),
    ]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (gzip.compress(b"records" * 100), "not a TFRecord file (gzip data?)"),
        (b"one line of text\n" * 9, "not a TFRecord file, or its first bytes are damaged"),
        (b"text", "truncated"),
    ],
    ids=["gzip", "text", "short text"],
)
def test_what_is_no_record_file_is_told(copy, content, what):
    (copy / SHARD).write_bytes(content)
    assert faults(copy) == [(f"{what}; 4 of 4 records are lost", f"{SHARD}: record 0, offset 0")]


def test_a_length_that_no_file_has_room_for_is_told(copy):
    # With a right checksum; who believes it asks for 2^60 bytes of memory.
    write_records(copy / "other", [b""])
    huge = bytearray((copy / "other").read_bytes())
    huge[:8] = struct.pack("<Q", 1 << 60)
    # Bits of the crc change by the crc of what changes in the length, which starts from 0.
    crc = 0
    for byte in huge[:8]:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    zeros = (struct.unpack_from("<I", huge, 8)[0] - 0xA282EAD8) & 0xFFFFFFFF
    crc ^= ((zeros >> 17) | (zeros << 15)) & 0xFFFFFFFF
    struct.pack_into("<I", huge, 8, (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
    (copy / SHARD).write_bytes(huge)
    assert faults(copy) == [("truncated; 4 of 4 records are lost", f"{SHARD}: record 0, offset 0")]


def test_all_faults_are_told(copy):
    content = bytearray((copy / SHARD).read_bytes())
    edges = starts(content)
    content[edges[0] + 20] ^= 1
    content[edges[2] + 20] ^= 1
    content[edges[3]] ^= 1
    (copy / SHARD).write_bytes(content)
    (copy / "zoo_test.tfrecord").unlink()
    (copy / "labels.txt").write_text("0:ant\n1:wasp\n")
    whole = (copy / SHARD).read_bytes()
    assert faults(copy) == [
        ("not what dataset.json says", "labels.txt:2"),
        (f"damaged: the content {CHECKSUM}", f"{SHARD}: record 0, offset 0"),
        (f"damaged: the content {CHECKSUM}", f"{SHARD}: record 2, offset {edges[2]}"),
        (
            f"damaged: the length {CHECKSUM}; 1 of 4 records are lost",
            f"{SHARD}: record 3, offset {edges[3]}",
        ),
        ("shard 1 of 1 is missing", "zoo_test.tfrecord"),
    ]
    assert (copy / SHARD).read_bytes() == whole


# Records that are whole, and yet none


def feature(**values):
    """A record with these features; the names stand for image/..., __ for a slash."""
    record = tf.train.Example()
    for name, value in values.items():
        kind, value = {
            bytes: ("bytes_list", [value]),
            int: ("int64_list", [value]),
            float: ("float_list", [value]),
            list: ("int64_list", value),
        }[type(value)]
        key = f"image/{name.replace('__', '/')}"
        getattr(record.features.feature[key], kind).value.extend(value)
    return record.SerializeToString()


def bomb():
    """A PNG of a few bytes that claims to have 50000x50000 pixels."""
    header = struct.pack(">4sIIBBBBB", b"IHDR", 50000, 50000, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    return start + struct.pack(">II4s", zlib.crc32(header), 10, b"IDAT") + bytes(14)


def saved(file_format, **options):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (4, 4), "red").save(buffer, file_format, **options)
    return buffer.getvalue()


PNG = saved("PNG")
EXPECTED = "expected ['image/encoded', 'image/class/label', 'image/filename']"
BAD_RECORDS = {
    "no Example": (b"\xff\xfe no Example", "not a tf.Example"),
    "random bytes": (np.random.RandomState(0).bytes(100), "not a tf.Example"),
    "what only protobuf reads": (
        feature(encoded=PNG, class__label=1) + b"\x13\x14",
        "not a tf.Example",
    ),
    "no features": (b"", f"record has keys [], {EXPECTED}"),
    "other keys": (
        feature(data=PNG, label=1),
        f"record has keys ['image/data', 'image/label'], {EXPECTED}",
    ),
    "no label": (feature(encoded=PNG), f"record has keys ['image/encoded'], {EXPECTED}"),
    "float label": (
        feature(encoded=PNG, class__label=1.0),
        "image/class/label is no int64_list of one value",
    ),
    "two labels": (
        feature(encoded=PNG, class__label=[0, 1]),
        "image/class/label is no int64_list of one value",
    ),
    "file name of another type": (
        feature(encoded=PNG, class__label=1, filename=7),
        "image/filename is no bytes_list of one value",
    ),
    "label -1": (feature(encoded=PNG, class__label=-1), "label -1 is not in 0..1"),
    "label 2": (feature(encoded=PNG, class__label=2), "label 2 is not in 0..1"),
    "label 2^40": (feature(encoded=PNG, class__label=2**40), f"label {2**40} is not in 0..1"),
    "empty picture": (feature(encoded=b"", class__label=1), "empty file"),
    "half a picture": (feature(encoded=PNG[: len(PNG) // 2], class__label=1), "truncated"),
    "page": (
        feature(encoded=b"<html>404</html>", class__label=1),
        "not an image (starts with '<html>404</html>')",
    ),
    "bomb": (
        feature(encoded=bomb(), class__label=1),
        "50000x50000 exceeds the limit of 64000000 pixels",
    ),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_a_record_that_cannot_be_trained_on_is_told_with_its_place(tmp_path, name):
    damaged, what = BAD_RECORDS[name]
    good = feature(encoded=PNG, class__label=0)
    write_records(tmp_path / SHARD, [good, good, damaged, good])
    describe(tmp_path, (4, 0))
    content = (tmp_path / SHARD).read_bytes()
    assert faults(tmp_path) == [(what, at(2, content))]
    # And for data that research/slim wrote, of which nothing is written down:
    (tmp_path / "dataset.json").unlink()
    assert faults(tmp_path, "zoo") == [(what, at(2, content))]


def test_pictures_that_tensorflow_reads_though_no_converter_writes_them_are_good(tmp_path):
    kinds = [saved(kind) for kind in ("GIF", "BMP", "WEBP", "JPEG", "PNG")]
    write_records(tmp_path / SHARD, [feature(encoded=kind, class__label=0) for kind in kinds])
    describe(tmp_path, (5, 0))
    assert faults(tmp_path) == []


def test_a_picture_that_only_tensorflow_cannot_read_is_told(tmp_path):
    write_records(tmp_path / SHARD, [feature(encoded=saved("TIFF"), class__label=0)])
    describe(tmp_path, (1, 0))
    ((what, where),) = faults(tmp_path)
    assert what.startswith("TensorFlow cannot decode it: Unknown image file format.")
    assert where == f"{SHARD}: record 0, offset 0"


def test_a_limit_that_the_conversion_raised_holds(zoo, copy):
    dataset = Dataset.read(zoo / "dataset.json")
    for limit, count in ((4, 0), (3, 6)):  # the pictures have 4 pixels
        changed = dataclasses.replace(dataset, source={"max_pixels": limit})
        (copy / "dataset.json").write_text(changed.to_json())
        assert len(faults(copy)) == count


def test_counts_per_class_are_compared(zoo, copy):
    dataset = Dataset.read(zoo / "dataset.json")
    split = dataclasses.replace(dataset.splits["test"], class_counts=(2, 0))
    changed = dataclasses.replace(dataset, splits={**dataset.splits, "test": split})
    (copy / "dataset.json").write_text(changed.to_json())
    what = "split test has [1, 1] records per class, dataset.json says [2, 0]"
    assert verification.verify(str(copy)).faults[0].what == what
    assert len(faults(copy)) == 1


# dataset.json and labels.txt


def test_one_bit_in_any_byte_of_dataset_json_is_found(copy):
    path = copy / "dataset.json"
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"not a dataset description"):
            Dataset.read(path)


def test_dataset_json_cut_anywhere_is_found(copy):
    path = copy / "dataset.json"
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"not a dataset description"):
            Dataset.read(path)


def test_a_damaged_dataset_json_ends_training_and_verification(copy):
    path = copy / "dataset.json"
    path.write_text(path.read_text().replace('"bee"', '"bae"'))
    message = r"does not agree with its own checksum.*dataset\.json\) - .* with --overwrite"
    with pytest.raises(DataError, match=message):
        datasets.load(copy, "zoo", "train")
    with pytest.raises(DataError, match=message):
        verification.verify(str(copy))


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (b"", 1),
        (b"0:ant\n1:bee", 3),
        (b"0:ant\n1:bea\n", 2),
        (b"0:bee\n1:ant\n", 1),
        (b"0:ant\n1:bee\n2:cow\n", 3),
        (b"0:ant\n1:bee\n\xff", 3),
        (b"0:ant\r\n1:bee\n", 1),
    ],
)
def test_labels_that_are_not_those_of_dataset_json_are_told(copy, labels, line):
    (copy / "labels.txt").write_bytes(labels)
    assert faults(copy) == [("not what dataset.json says", f"labels.txt:{line}")]


def test_missing_labels_are_told(copy):
    (copy / "labels.txt").unlink()
    assert faults(copy) == [("labels.txt is missing", "labels.txt")]


# What else lies there


def test_record_files_that_are_not_part_of_the_dataset_are_warned_about(copy):
    for name in ("zoo_train_00000-of-00010.tfrecord", "train-00001-of-00002", "notes.txt"):
        (copy / name).write_bytes(b"not read")
    report = verification.verify(str(copy))
    assert report.faults == []
    assert report.warnings == [
        f"{copy}/train-00001-of-00002: not part of the dataset, and not read",
        f"{copy}/zoo_train_00000-of-00010.tfrecord: not part of the dataset, and not read",
    ]


def test_a_conversion_cut_short_is_told(copy):
    (copy / ".tmp-1-ab").mkdir()
    report = verification.verify(str(copy))
    assert report.faults == []  # the older dataset is whole
    left = "left by an interrupted conversion; the next one removes it"
    assert report.warnings == [f"{copy}/.tmp-1-ab: {left}"]
    (copy / "dataset.json").unlink()
    with pytest.raises(DataError, match="a conversion into this directory was interrupted"):
        verification.verify(str(copy), "zoo")


def test_while_a_conversion_goes_on_nothing_can_be_said(copy):
    with files.locked(copy), pytest.raises(LockedError, match="a conversion is writing"):
        verification.verify(str(copy))


def test_what_cannot_be_verified(zoo, tmp_path):
    with pytest.raises(FlagError, match=r"no such directory \(.*none\) - check --dataset_dir"):
        verification.verify(str(tmp_path / "none"))
    with pytest.raises(FlagError, match="--dataset_name is farm, but the directory holds zoo"):
        verification.verify(str(zoo), "farm")
    with pytest.raises(FlagError, match=r"no dataset\.json .* pass --dataset_name"):
        verification.verify(str(tmp_path))
    with pytest.raises(DataError, match=r"no dataset\.json, and no record files of zoo"):
        verification.verify(str(tmp_path), "zoo")


# Data that research/slim wrote


def flowers(directory, splits=("train", "validation")):
    record = feature(encoded=PNG, class__label=3, format=b"jpg", height=4, width=4)
    for split in splits:
        for number in range(5):
            path = directory / f"flowers_{split}_{number:05d}-of-00005.tfrecord"
            write_records(path, [record] * (number + 1))


def test_data_of_research_slim_is_verified(tmp_path):
    flowers(tmp_path)
    dataset, found, warnings = verification.verify(str(tmp_path), "flowers")
    assert (found, warnings) == ([], [])
    assert {name: split.samples for name, split in dataset.splits.items()} == {
        "train": 15,
        "validation": 15,
    }


def test_damage_to_data_of_research_slim_is_told(tmp_path):
    flowers(tmp_path)
    first, second, last = (
        tmp_path / f"flowers_{name}-of-00005.tfrecord"
        for name in ("train_00001", "train_00002", "validation_00004")
    )
    first.write_bytes(first.read_bytes()[:-1])
    content = bytearray(second.read_bytes())
    content[30] ^= 1
    second.write_bytes(content)
    last.unlink()
    edge = starts(content)[1]  # all records are alike
    assert [fault[0] for fault in faults(tmp_path, "flowers")] == [
        "4 record files, not numbered 0 to 4 of 5",
        "truncated",
        f"damaged: the content {CHECKSUM}",
    ]
    assert faults(tmp_path, "flowers")[1][1] == f"{first.name}: record 1, offset {edge}"


def test_a_split_of_research_slim_without_records_is_told(tmp_path):
    (tmp_path / "cifar10_train.tfrecord").write_bytes(b"")
    assert [what for what, _ in faults(tmp_path, "cifar10")] == ["split train holds no records"]


def test_the_larger_shards_of_a_split(tiny_dataset):
    report = verification.verify(str(tiny_dataset), "tiny")
    assert report.faults == []
    counted = []
    split = datasets.load(tiny_dataset, "tiny", "validation")
    assert list(verification.record_faults(split, count=counted.append)) == []
    # Labels go round, 0, 1, 2, 0, ..., and pictures are dealt out to two files in turn.
    assert counted == [0, 2, 1, 0, 2, 1, 1, 0, 2, 1, 0, 2]


def test_labels_below_an_offset_are_told(zoo):
    split = datasets.load(zoo, "zoo", "train")
    found = list(verification.record_faults(split, labels_offset=1))
    assert [fault.what for fault in found] == ["label 0 is not in 1..1"] * 2


def test_labels_without_a_look_at_the_pictures(tiny_dataset, tmp_path):
    """Pictures are dealt out to two files in turn; labels go round: 0, 1, 2, 0, ..."""
    split = datasets.load(tiny_dataset, "tiny", "validation")
    assert split.class_counts == (4, 4, 4)
    assert verification.labels(split) == [0, 2, 1, 0, 2, 1, 1, 0, 2, 1, 0, 2]
    no_picture = [feature(encoded=b"?", class__label=label) for label in (1, 0, 1)]
    write_records(tmp_path / SHARD, no_picture)
    describe(tmp_path, (1, 2))
    assert verification.labels(datasets.load(tmp_path, "zoo", "train")) == [1, 0, 1]


def test_labels_of_damaged_records_are_told(tmp_path):
    good = feature(encoded=PNG, class__label=1)
    for bad, what in ((0, "label 0 is not in 1..1"), (2, "label 2 is not in 1..1")):
        write_records(tmp_path / SHARD, [good, feature(encoded=PNG, class__label=bad), good])
        describe(tmp_path, (1, 2))
        with pytest.raises(DataError, match=rf"^{what} .*{SHARD}: record 1, offset"):
            verification.labels(datasets.load(tmp_path, "zoo", "train"), labels_offset=1)
    write_records(tmp_path / SHARD, [good, good, good])
    describe(tmp_path, (0, 3))
    content = bytearray((tmp_path / SHARD).read_bytes())
    content[starts(content)[1]] ^= 1  # the length of the second
    (tmp_path / SHARD).write_bytes(content)
    what = "the length does not agree with its checksum; 2 of 3 records are lost"
    with pytest.raises(DataError, match=f"{what} .*record 1"):
        verification.labels(datasets.load(tmp_path, "zoo", "train"))
    write_records(tmp_path / SHARD, [good, good])
    describe(tmp_path, (0, 2))
    split = datasets.load(tmp_path, "zoo", "train")
    shards = (dataclasses.replace(split.shards[0], records=3),)
    with pytest.raises(DataError, match="2 records, 3 were written"):
        verification.labels(dataclasses.replace(split, shards=shards))


def test_records_are_read_as_tensorflow_reads_them(zoo):
    path = zoo / SHARD
    expected = list(tf.python_io.tf_record_iterator(str(path)))
    read = list(tfrecord.read(path))
    assert [record.content for record in read] == expected
    assert [record.offset for record in read] == starts(path.read_bytes())[:-1]
