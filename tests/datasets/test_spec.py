import dataclasses
import json
import random
import re
import shutil
import struct

import pytest

import datasets
from core.errors import DataError, FlagError
from datasets import spec
from datasets.spec import Dataset, Shard, Split

DATASET = Dataset(
    "birds",
    ("crow", "gull: herring", "Zaunkönig"),
    {
        "train": Split(
            (Shard("birds_train_0", 3, 90, "ab"), Shard("birds_train_1", 2, 60, "cd")), (2, 2, 1)
        ),
        "test": Split((Shard("birds_test_0", 1, 30, "ef"),), (0, 1, 0)),
    },
    1,
    {"seed": 3, "sha256": "0f"},
)


SHARD = {"file": "birds_train_0", "records": 3, "bytes": 90, "sha256": "ab"}


def record_file(path, count, content=b"x"):
    """Records in their frames; the checksums, which only reading looks at, are zero."""
    frame = struct.pack("<Q", len(content)) + bytes(4) + content + bytes(4)
    path.write_bytes(frame * count)
    return path


def copied(source, tmp_path):
    return shutil.copytree(source, tmp_path / "copy")


def test_a_dataset_survives_being_written_and_read(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text(DATASET.to_json(), encoding="utf-8")
    assert Dataset.read(path) == DATASET


def test_dataset_json_can_be_read_by_a_person():
    text = DATASET.to_json()
    assert "Zaunkönig" in text
    content = json.loads(text)
    assert content["splits"]["train"]["samples"] == 5
    assert next(iter(content["splits"]["train"])) == "samples"


def test_sums_over_record_files():
    assert (DATASET.splits["train"].samples, DATASET.splits["train"].bytes) == (5, 150)


@pytest.mark.parametrize(
    "change",
    [
        {"name": None, "splits": None},
        {"splits": []},
        {"splits": {"train": None}},
        {"splits": {"train": {"shards": [{}], "class_counts": []}}},
        {"splits": {"train": {"shards": [{"file": 3, "records": 1, "bytes": 2}]}}},
        {"class_names": 3},
        {"class_names": ["a", 3]},
        {"channels": "3"},
        {"channels": 2},
        {"source": None},
        {"splits": {"train": {"shards": [], "class_counts": [None]}}},
        {"splits": {"train": {"shards": [], "class_counts": [1.5]}}},
        *(
            {"splits": {"train": {"shards": [SHARD | change], "class_counts": []}}}
            for change in ({"records": "1"}, {"records": -1}, {"bytes": None}, {"sha256": 7})
        ),
    ],
)
def test_a_description_of_another_form_is_told(tmp_path, change):
    path = tmp_path / "dataset.json"
    content = json.loads(DATASET.to_json()) | change
    del content["sha256"]  # which would tell any change
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"not a dataset description: .*dataset\.json\)"):
        Dataset.read(path)


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"3", b"{}", b"\xff\xfe", DATASET.to_json().encode()[:-5]]
)
def test_what_is_no_description_is_told(tmp_path, content):
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(DataError, match="not a dataset description"):
        datasets.load(tmp_path, "birds", "train")


@pytest.mark.parametrize("file", ["../a", "/etc/passwd", "a/b", "", ".", ".."])
def test_record_files_lie_in_the_directory(tmp_path, file):
    path = tmp_path / "dataset.json"
    path.write_text(DATASET.to_json().replace("birds_test_0", file))
    with pytest.raises(DataError, match="a record file outside the directory"):
        Dataset.read(path)


def test_load(tiny_dataset):
    split = datasets.load(str(tiny_dataset), "tiny", "validation")
    assert (split.name, split.split, split.directory) == ("tiny", "validation", tiny_dataset)
    assert split.class_names == ("red", "green", "blue")
    assert (split.num_samples, split.num_classes, split.channels) == (12, 3, 3)
    first = str(tiny_dataset / "tiny_validation_00000-of-00002.tfrecord")
    assert split.paths == [first, first.replace("_00000", "_00001")]


def test_no_directory(tmp_path):
    with pytest.raises(FlagError, match=r"no such directory \(.*none\) - check --dataset_dir"):
        datasets.load(tmp_path / "none", "tiny", "train")


def test_another_name_is_answered_with_the_one_there(tiny_dataset):
    with pytest.raises(FlagError, match=r"--dataset_name is huge, but .* pass --dataset_name=tiny"):
        datasets.load(tiny_dataset, "huge", "train")


def test_another_split_is_answered_with_those_there(tiny_dataset):
    message = "split name val was not recognized .* - splits here: train, validation, test$"
    with pytest.raises(FlagError, match=message):
        datasets.load(tiny_dataset, "tiny", "val")


def test_a_missing_record_file(tiny_dataset, tmp_path):
    directory = copied(tiny_dataset, tmp_path)
    (directory / "tiny_train_00001-of-00002.tfrecord").unlink()
    message = r"shard 2 of 2 is missing \(.*copy/tiny_train_00001-of-00002.tfrecord\) - convert"
    with pytest.raises(DataError, match=message):
        datasets.load(directory, "tiny", "train")
    assert datasets.load(directory, "tiny", "test").num_samples == 12


@pytest.mark.parametrize("change", [-1, 1, -100])
def test_a_record_file_of_another_size(tiny_dataset, tmp_path, change):
    path = copied(tiny_dataset, tmp_path) / "tiny_train_00000-of-00002.tfrecord"
    content = path.read_bytes()
    path.write_bytes((content + b"x")[: len(content) + change])
    sizes = f"shard 1 of 2 has {len(content) + change} bytes, {len(content)} were written"
    with pytest.raises(DataError, match=re.escape(f"{sizes} ({path})")):
        datasets.load(path.parent, "tiny", "train")


def test_files_that_dataset_json_does_not_name_are_not_read(tiny_dataset, tmp_path):
    directory = copied(tiny_dataset, tmp_path)
    record_file(directory / "tiny_train_00002-of-00010.tfrecord", 5)
    assert datasets.load(directory, "tiny", "train").num_samples == 36


def test_a_split_without_records(tmp_path):
    empty = dataclasses.replace(DATASET, splits={"train": Split((), (0, 0, 0))})
    (tmp_path / "dataset.json").write_text(empty.to_json())
    with pytest.raises(DataError, match="split train holds no records"):
        datasets.load(tmp_path, "birds", "train")


# Directories as research/slim writes them, without dataset.json.


def test_cifar10_of_research_slim(tmp_path):
    record_file(tmp_path / "cifar10_train.tfrecord", 7)
    record_file(tmp_path / "cifar10_test.tfrecord", 2)
    (tmp_path / "labels.txt").write_text(
        "".join(f"{label}:{name}\n" for label, name in enumerate("abcdefghij"))
    )
    split = datasets.load(tmp_path, "cifar10", "test")
    assert (split.num_samples, split.num_classes, split.channels) == (2, 10, 3)
    assert split.class_names == tuple("abcdefghij")
    assert split.paths == [str(tmp_path / "cifar10_test.tfrecord")]


def test_flowers_of_research_slim_are_read_in_the_order_of_their_numbers(tmp_path):
    for number in (4, 0, 3, 1, 2):
        name = f"flowers_train_{number:05d}-of-00005.tfrecord"
        record_file(tmp_path / name, number)
        record_file(tmp_path / name.replace("train", "validation"), 1)
    split = datasets.load(tmp_path, "flowers", "train")
    assert [shard.records for shard in split.shards] == [0, 1, 2, 3, 4]
    assert split.class_names == ("0", "1", "2", "3", "4")


@pytest.mark.parametrize(
    ("name", "file", "classes", "channels"),
    [
        ("mnist", "mnist_train.tfrecord", 10, 1),
        ("imagenet", "train-00000-of-00001", 1001, 3),
        ("visualwakewords", "train.record-00000-of-00001", 2, 3),
    ],
)
def test_other_datasets_of_research_slim(tmp_path, name, file, classes, channels):
    record_file(tmp_path / file, 3)
    split = datasets.load(tmp_path, name, "train")
    assert (split.num_samples, split.num_classes, split.channels) == (3, classes, channels)


def test_any_other_name_with_labels(tmp_path):
    record_file(tmp_path / "birds_train.tfrecord", 3)
    (tmp_path / "labels.txt").write_text("0:crow\n2:wren\n")
    split = datasets.load(tmp_path, "birds", "train")
    assert split.class_names == ("crow", "1", "wren")


def test_any_other_name_without_labels(tmp_path):
    record_file(tmp_path / "birds_train.tfrecord", 3)
    with pytest.raises(DataError, match=r"neither dataset\.json nor labels\.txt tells the classes"):
        datasets.load(tmp_path, "birds", "train")


@pytest.mark.parametrize(("name", "split"), [("cifar10", "validation"), ("/x", "train")])
def test_no_record_files(tmp_path, name, split):
    record_file(tmp_path / "cifar10_train.tfrecord", 3)
    message = f"no dataset.json, and no record files of {name}, split {split} .* - convert it"
    with pytest.raises(DataError, match=message):
        datasets.load(tmp_path, name, split)


@pytest.mark.parametrize("split", ["*", "tr[a]in", "/train", "../train"])
def test_a_split_is_no_pattern(tmp_path, split):
    record_file(tmp_path / "train-00000-of-00001", 3)
    with pytest.raises(DataError, match="no record files"):
        datasets.load(tmp_path, "imagenet", split)


@pytest.mark.parametrize(
    "files",
    [
        ["00000-of-00003", "00002-of-00003"],
        ["00000-of-00002"],
        ["00000-of-00001", "00000-of-00002", "00001-of-00002"],
        ["00000-of-00001", "extra"],
    ],
)
def test_record_files_that_are_not_one_numbered_set(tmp_path, files):
    for file in files:
        record_file(tmp_path / f"flowers_train_{file}.tfrecord", 1)
    with pytest.raises(DataError, match=f"{len(files)} record files, not numbered 0 to"):
        datasets.load(tmp_path, "flowers", "train")


def test_a_record_file_that_is_cut_short(tmp_path):
    path = record_file(tmp_path / "cifar10_train.tfrecord", 3, b"x" * 100)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"cut short at record 2 .*cifar10_train\.tfrecord:232\)"):
        datasets.load(tmp_path, "cifar10", "train")


def test_an_interrupted_conversion_is_not_taken_for_data_of_research_slim(tmp_path):
    record_file(tmp_path / "cifar10_train.tfrecord", 3)
    (tmp_path / ".tmp-1-ab").mkdir()
    with pytest.raises(DataError, match="a conversion into this directory was interrupted"):
        datasets.load(tmp_path, "cifar10", "train")


# labels.txt


def random_names(seed):
    """Class names of any characters but the two that end a line."""
    source = random.Random(seed)
    ranges = [(0x20, 0x7F), (0xA0, 0xD7FF), (0x0B, 0x0C), (0x1C, 0x1F), (0x85, 0x85)]
    ranges += [(0x2028, 0x2029), (0xE000, 0x10FFFF), (0x3A, 0x3A)]

    def name():
        length = source.randint(0, 12)
        return "".join(chr(source.randint(*source.choice(ranges))) for _ in range(length))

    return tuple(name() for _ in range(30))


@pytest.mark.parametrize("seed", range(20))
def test_labels_survive_being_written_and_read(tmp_path, seed):
    names = random_names(seed)
    (tmp_path / "labels.txt").write_text(spec.labels_text(names), encoding="utf-8")
    assert spec.read_labels(tmp_path / "labels.txt") == dict(enumerate(names))


def test_labels_have_the_form_of_research_slim():
    assert spec.labels_text(("airplane", "a:b")) == "0:airplane\n1:a:b\n"


@pytest.mark.parametrize(
    "text", ["0:a\n\n1:b: c\n \n", "0:a\r\n1:b: c\r\n", "1:b: c\n0:a", " 0 :a\n1:b: c"]
)
def test_labels_written_by_hand(tmp_path, text):
    (tmp_path / "labels.txt").write_bytes(text.encode())
    assert spec.read_labels(tmp_path / "labels.txt") == {0: "a", 1: "b: c"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"0:a\nb\n", r"not an id:name line \(.*labels.txt:2\)"),
        (b"a:0\n", r"labels.txt:1"),
        (b"-1:a\n", r"labels.txt:1"),
        ("²:a\n".encode(), r"labels.txt:1"),
        (b"0:a\n\n:b\n", r"labels.txt:3"),
        (b"0:\xe9\n", r"not UTF-8: .*labels.txt:2\)"),
        (b"\n\n", r"no class in it"),
        (b"", r"no class in it"),
    ],
)
def test_labels_of_another_form_are_told_with_their_line(tmp_path, content, message):
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        spec.read_labels(tmp_path / "labels.txt")
