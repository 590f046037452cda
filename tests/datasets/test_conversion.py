import csv
import hashlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import datasets
from core import files, script
from core.compat import tf
from core.errors import DataError, FlagError, LockedError, MachineError
from datasets import conversion, verification
from datasets.conversion import Skipped, Source
from datasets.spec import Dataset, Example

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("ant", "bee: honey", "cow")


def pictures(split, count, note="x"):
    """Grey pictures 0.png, 1.png, ... of noise, with labels 0, 1, 2, 0, ..."""
    for number in range(count):
        noise = hashlib.sha256(f"{note} {split} {number}".encode()).digest()
        name = f"{number}.png".encode()
        yield split, Example(png_of(noise), "png", 4, 8, number % 3, name)


def png_of(pixels):
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.frombuffer(pixels, np.uint8).reshape(4, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def source(train=10, test=4, *, num_shards=0, note="x", more=(), **settings):
    def examples():
        yield from pictures("test", test, note)
        yield from more
        yield from pictures("train", train, note)

    return Source(CLASSES, {"note": note, **settings}, examples, None, 1, num_shards)


def convert(directory, overwrite=False, **options):
    return conversion.convert("zoo", source(**options), str(directory), overwrite=overwrite)


def filenames(path):
    """The file names in the records of a file, which are read by TensorFlow."""
    records = tf.python_io.tf_record_iterator(str(path))
    return [
        tf.train.Example.FromString(record)
        .features.feature["image/filename"]
        .bytes_list.value[0]
        .decode()
        for record in records
    ]


def names(directory):
    return sorted(path.name for path in directory.iterdir() if path.name != ".lock")


def contents(directory):
    return {name: (directory / name).read_bytes() for name in names(directory)}


def test_one_file_per_split(tmp_path):
    result = convert(tmp_path / "made" / "here")
    assert result.written
    directory = tmp_path / "made" / "here"
    assert names(directory) == [
        "dataset.json",
        "labels.txt",
        "zoo_test.tfrecord",
        "zoo_train.tfrecord",
    ]
    assert filenames(directory / "zoo_train.tfrecord") == [f"{i}.png" for i in range(10)]
    assert (directory / "labels.txt").read_text() == "0:ant\n1:bee: honey\n2:cow\n"


def test_dataset_json_says_what_was_written(tmp_path):
    result = convert(tmp_path, num_shards=2, seed=7)
    dataset = Dataset.read(tmp_path / "dataset.json")
    assert dataset == result.dataset
    assert (dataset.name, dataset.class_names, dataset.channels) == ("zoo", CLASSES, 1)
    assert dataset.source == {"note": "x", "seed": 7}
    assert list(dataset.splits) == ["train", "test"]  # in this order, though test came first
    # 10 pictures with labels 0 1 2 0 1 2 0 1 2 0; 4 with labels 0 1 2 0.
    assert dataset.splits["train"].class_counts == (4, 3, 3)
    assert dataset.splits["test"].class_counts == (2, 1, 1)
    for split in dataset.splits.values():
        for shard in split.shards:
            content = (tmp_path / shard.file).read_bytes()
            assert shard.bytes == len(content)
            assert shard.sha256 == hashlib.sha256(content).hexdigest()
            assert shard.records == len(filenames(tmp_path / shard.file))


def test_pictures_are_dealt_out_so_that_reading_files_in_turn_gives_the_order_back(tmp_path):
    convert(tmp_path, num_shards=4)
    dealt = [filenames(tmp_path / f"zoo_train_{i:05d}-of-00004.tfrecord") for i in range(4)]
    assert dealt == [
        ["0.png", "4.png", "8.png"],
        ["1.png", "5.png", "9.png"],
        ["2.png", "6.png"],
        ["3.png", "7.png"],
    ]


def test_there_are_no_more_files_than_pictures(tmp_path):
    convert(tmp_path, train=3, test=1, num_shards=5)
    assert names(tmp_path)[2:] == [
        "zoo_test_00000-of-00001.tfrecord",
        "zoo_train_00000-of-00003.tfrecord",
        "zoo_train_00001-of-00003.tfrecord",
        "zoo_train_00002-of-00003.tfrecord",
    ]
    split = datasets.load(tmp_path, "zoo", "train")
    assert [shard.records for shard in split.shards] == [1, 1, 1]


def test_the_same_dataset_is_not_written_again(tmp_path):
    first = convert(tmp_path, num_shards=2)
    before = {path: path.stat() for path in tmp_path.glob("[!.]*")}
    second = convert(tmp_path, num_shards=2)
    assert not second.written
    assert second.dataset == first.dataset
    for path, then in before.items():
        now = path.stat()
        assert (now.st_ino, now.st_mtime_ns) == (then.st_ino, then.st_mtime_ns)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[5] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [Path.unlink, cut, flip_a_bit])
def test_the_same_dataset_is_written_again_if_it_is_damaged(tmp_path, damage):
    convert(tmp_path, num_shards=2)
    whole = contents(tmp_path)
    for file in ("zoo_train_00001-of-00002.tfrecord", "labels.txt"):
        damage(tmp_path / file)
        assert convert(tmp_path, num_shards=2).written
        assert contents(tmp_path) == whole


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("zoo", {"note": "y"}, "another dataset; note: x there, y asked for"),
        ("zoo", {"seed": 3}, "another dataset; seed: None there, 3 asked for"),
        ("farm", {"note": "y"}, "another dataset; dataset_name: zoo there, farm asked for"),
    ],
)
def test_another_dataset_is_not_replaced_unasked(tmp_path, name, settings, message):
    convert(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(FlagError, match=message) as caught:
        conversion.convert(name, source(**settings), str(tmp_path))
    assert caught.value.exit_code == 2
    assert caught.value.remedy.startswith("pass --overwrite")
    assert contents(tmp_path) == before


def test_a_replaced_dataset_leaves_nothing_of_its_own_behind(tmp_path):
    convert(tmp_path, num_shards=3, more=[Skipped("a", "b")])
    (tmp_path / "notes.txt").write_text("mine")
    convert(tmp_path, num_shards=2, train=5, note="y", overwrite=True)
    assert names(tmp_path) == [
        "dataset.json",
        "labels.txt",
        "notes.txt",
        "zoo_test_00000-of-00002.tfrecord",
        "zoo_test_00001-of-00002.tfrecord",
        "zoo_train_00000-of-00002.tfrecord",
        "zoo_train_00001-of-00002.tfrecord",
    ]
    assert datasets.load(tmp_path, "zoo", "train").num_samples == 5


def test_overwriting_gives_the_same_bytes_as_writing(tmp_path):
    convert(tmp_path / "a", num_shards=2)
    convert(tmp_path / "b", note="y")
    convert(tmp_path / "b", num_shards=2, overwrite=True)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_damaged_dataset_json_stands_in_the_way_until_overwritten(tmp_path):
    convert(tmp_path)
    whole = contents(tmp_path)
    cut(tmp_path / "dataset.json")
    cut(tmp_path / "dataset.json")
    with pytest.raises(DataError, match=r"not a dataset description.* with --overwrite"):
        convert(tmp_path)
    assert convert(tmp_path, overwrite=True).written
    assert contents(tmp_path) == whole


def test_what_was_left_out_is_listed(tmp_path):
    skipped = [Skipped("a, b.jpg", 'not "an" image'), Skipped("c\nd.jpg", "empty file")]
    result = convert(tmp_path, more=skipped)
    assert result.skipped == skipped
    with (tmp_path / "skipped.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["path", "reason"], *map(list, skipped)]
    assert result.dataset.splits["train"].samples == 10


def failing():
    yield from pictures("validation", 3)
    raise DataError("a picture is bad")


@pytest.mark.parametrize("num_shards", [0, 2])
def test_a_failed_conversion_leaves_nothing(tmp_path, num_shards):
    with pytest.raises(DataError, match="a picture is bad"):
        convert(tmp_path, num_shards=num_shards, more=failing())
    assert names(tmp_path) == []
    assert not files.is_locked(tmp_path)


def test_a_failed_conversion_leaves_an_older_dataset_as_it_was(tmp_path):
    convert(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(DataError):
        convert(tmp_path, note="y", more=failing(), overwrite=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("largest", ["zoo_train.tfrecord", "skipped.csv", "dataset.json"])
def test_a_disk_that_is_full_at_any_moment_leaves_an_older_dataset_as_it_was(
    tmp_path, no_file_beyond, largest
):
    """With each of the files in turn as the one for which there is no room."""
    new = {"train": 30, "test": 1, "note": "new", "overwrite": True}
    if largest == "skipped.csv":
        new |= {"train": 3, "more": [Skipped("a", "b" * 100)] * 50}
    elif largest == "dataset.json":
        new |= {"train": 3, "setting": "long " * 2000}
    convert(tmp_path / "new", **new)
    sizes = {name: len(content) for name, content in contents(tmp_path / "new").items()}
    size = sizes.pop(largest)
    assert size > max(sizes.values())
    convert(tmp_path / "old", train=1, test=1, note="old", more=[Skipped("c", "d")])
    before = contents(tmp_path / "old")
    for limit in sorted({*range(0, size, size // 25), *sizes.values(), size - 1}):
        with no_file_beyond(limit), pytest.raises(Exception) as caught:  # noqa: PT011
            convert(tmp_path / "old", **new)
        assert type(script.classified(caught.value)) is MachineError
        assert contents(tmp_path / "old") == before
    with no_file_beyond(size):
        convert(tmp_path / "old", **new)
    assert contents(tmp_path / "old") == contents(tmp_path / "new")


def test_a_conversion_that_cannot_fit_is_not_begun(tmp_path):
    convert(tmp_path)
    before = contents(tmp_path)
    begun = []
    huge = Source(CLASSES, {}, lambda: begun.append(1) or [], size=1 << 60)
    message = r"disk full: the zoo dataset needs about 1152921504606\.8 MB, .* are free"
    with pytest.raises(MachineError, match=message) as caught:
        conversion.convert("zoo", huge, str(tmp_path), overwrite=True)
    assert caught.value.exit_code == 4
    assert contents(tmp_path) == before
    assert not begun


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(MachineError, match="cannot make the directory: Not a directory"):
        convert(tmp_path / "file" / "zoo")


@pytest.mark.parametrize("name", ["../zoo", "a/b", "/zoo", "..", ".tmp-zoo", "", "\udcff", "a\nb"])
def test_a_name_that_cannot_be_that_of_a_file(tmp_path, name):
    with pytest.raises(FlagError, match="cannot be part of a file name"):
        conversion.convert(name, source(), str(tmp_path / "data"))
    assert names(tmp_path) == []


# Conversions in other processes, which are killed.

KILLED = {"num_shards": 2, "train": 5, "test": 2, "note": "new"}
OLDER = {
    **{"num_shards": 3, "train": 4, "test": 3, "note": "old"},
    "more": [Skipped("a.png", "empty file")],
}
_EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "shutil.rmtree", "picture"}


def convert_until(directory, moment):
    """Converts, and kills its own process just before what it does to files for that time."""
    left = [moment]

    def hook(event, _):
        if event in _EVENTS:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    made = source(**KILLED)

    def examples():
        for item in made.examples():
            sys.audit("picture")
            yield item

    killed = Source(made.class_names, made.settings, examples, None, 1, made.num_shards)
    conversion.convert("zoo", killed, directory, overwrite=True)


def convert_for_ever(directory):
    def examples():
        yield from pictures("train", 1)
        print(os.getpid(), flush=True)
        time.sleep(1000)

    conversion.convert("zoo", Source(CLASSES, {}, examples), directory)


def serve():
    """Runs each line of standard input in a fork of this process and prints how that ended."""
    for line in sys.stdin:
        directory, moment = line.split()
        child = os.fork()
        if not child:
            if moment == "never":
                convert_for_ever(directory)
            else:
                convert_until(directory, int(moment))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


class Converter:
    """A process that has TensorFlow and converts in forks of itself."""

    def __init__(self, process):
        self._process = process

    def ask(self, directory, moment):
        self._process.stdin.write(f"{directory} {moment}\n")
        self._process.stdin.flush()

    def answer(self):
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def converter():
    code = f"import runpy; runpy.run_path({__file__!r})['serve']()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        yield Converter(process)
        process.stdin.close()


def is_whole(directory):
    """Whether the dataset that is there is complete; it must be, or be refused."""
    try:
        loaded = [datasets.load(directory, "zoo", split) for split in ("train", "test")]
    except DataError:
        return False
    for split in loaded:
        for shard in split.shards:
            assert files.sha256(files.committed(directory, shard.file)) == shard.sha256
    return True


@pytest.mark.parametrize("older", [False, True])
def test_a_conversion_killed_at_any_moment_can_be_run_again(tmp_path, converter, older):
    convert(tmp_path / "expected", **KILLED)
    expected = contents(tmp_path / "expected")
    if older:
        convert(tmp_path / "older", **OLDER)
    notes = set()
    for moment in range(1000):
        directory = tmp_path / str(moment)
        if older:
            shutil.copytree(tmp_path / "older", directory)
        else:
            directory.mkdir()
        converter.ask(directory, moment)
        code = converter.answer()
        if code == 0:  # it has nothing left to do at that moment
            break
        assert code == -signal.SIGKILL
        note = "none"
        if is_whole(directory):
            assert verification.verify(str(directory)).faults == []
            manifest = files.committed(directory, "dataset.json")
            note = Dataset.read(manifest).source["note"]
        else:
            with pytest.raises(DataError):
                verification.verify(str(directory), "zoo")
        notes.add(note)
        convert(directory, overwrite=older, **KILLED)
        assert contents(directory) == expected
    assert moment > 25  # 7 pictures, 6 files to flush, 6 renames, and more
    assert notes == ({"old", "new"} if older else {"none", "new"})


def test_of_two_converters_the_second_is_told_about_the_first(tmp_path, converter):
    converter.ask(tmp_path, "never")
    pid = converter.answer()
    holder = f"in use by process {pid} on {socket.gethostname()}"
    with pytest.raises(LockedError, match=holder) as caught:
        convert(tmp_path)
    assert caught.value.exit_code == 6
    with pytest.raises(DataError, match="was interrupted"):
        datasets.load(tmp_path, "zoo", "train")
    os.kill(pid, signal.SIGKILL)
    assert converter.answer() == -signal.SIGKILL
    assert convert(tmp_path).written
    assert "zoo_train.tfrecord" in names(tmp_path)
