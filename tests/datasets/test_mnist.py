import gzip
import io
import struct

import numpy as np
import PIL.Image
import pytest

import datasets
import download_and_convert_data
from core import files, flags
from core.errors import DataError, FlagError
from datasets import conversion, mnist

COUNTS = {"train": 5, "t10k": 3}  # instead of 60,000 and 10,000
NAMES = [
    f"{prefix}-{kind}-ubyte.gz"
    for prefix in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
]


def images(prefix):
    count = COUNTS[prefix]
    return np.random.RandomState(count).randint(0, 256, (count, 28, 28)).astype(np.uint8)


def labels(prefix):
    return np.arange(COUNTS[prefix], dtype=np.uint8) + 5


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The four files of MNIST, as described at yann.lecun.com/exdb/mnist, with few pictures."""
    monkeypatch.setattr(mnist, "SPLITS", {"train": ("train", 5), "test": ("t10k", 3)})
    folder = tmp_path / "idx"
    folder.mkdir()
    for prefix, count in COUNTS.items():
        header = struct.pack(">4i", 2051, count, 28, 28)
        path = folder / f"{prefix}-images-idx3-ubyte.gz"
        path.write_bytes(gzip.compress(header + images(prefix).tobytes()))
        header = struct.pack(">2i", 2049, count)
        path = folder / f"{prefix}-labels-idx1-ubyte.gz"
        path.write_bytes(gzip.compress(header + labels(prefix).tobytes()))
    return folder


def source(folder, *more):
    arguments = ["--dataset_name=mnist", f"--source_archive={folder}", *more]
    return mnist.source(flags.parse(download_and_convert_data.define_flags, arguments))


def test_the_facts_of_the_official_files():
    assert mnist.SPLITS == {"train": ("train", 60_000), "test": ("t10k", 10_000)}
    assert mnist.CLASS_NAMES[0] == "zero"
    assert len(mnist.CLASS_NAMES) == 10


def test_every_picture_is_kept_with_its_label(folder):
    converted = list(source(folder).examples())
    assert [split for split, _ in converted] == ["train"] * 5 + ["test"] * 3
    assert [example.label for _, example in converted] == [5, 6, 7, 8, 9, 5, 6, 7]
    pixels = [
        np.asarray(PIL.Image.open(io.BytesIO(example.encoded), formats=["PNG"]))
        for _, example in converted
    ]
    assert np.array_equal(pixels, np.concatenate([images("train"), images("t10k")]))
    last = converted[-1][1]
    assert last[1:4] == ("png", 28, 28)
    assert last.filename == b"t10k-images-idx3-ubyte.gz:2"


def test_conversion(folder, tmp_path):
    made = source(folder)
    assert (made.total, made.size) == (8, 8 * 480)
    result = conversion.convert("mnist", made, str(tmp_path / "data"))
    assert result.dataset.source == {
        "sha256": {name: files.sha256(folder / name) for name in NAMES}
    }
    test = datasets.load(tmp_path / "data", "mnist", "test")
    assert (test.num_samples, test.num_classes, test.channels) == (3, 10, 1)
    again = conversion.convert("mnist", source(folder), str(tmp_path / "data"))
    assert not again.written


def test_the_folder_has_to_be_given():
    with pytest.raises(FlagError, match="mnist needs --source_archive - pass the folder with"):
        source("")


def test_a_checksum_has_no_meaning_for_a_folder(folder):
    with pytest.raises(FlagError, match="--archive_sha256 is for one file"):
        source(folder, "--archive_sha256=00ff")


def test_missing_files_are_told(folder):
    for name in NAMES[1:3]:
        (folder / name).unlink()
    with pytest.raises(FlagError, match=f"no {NAMES[1]}, {NAMES[2]} .*idx"):
        source(folder)


@pytest.mark.parametrize("file", range(4))
@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: content + bytes(1_000_000),
        lambda content: b"\0\0\x08\x02" + content[4:],
        lambda content: content[:7] + b"\x04" + content[8:],
        lambda content: content[:0],
    ],
    ids=["shorter", "longer", "much longer", "magic", "count", "empty"],
)
def test_a_file_of_another_form_is_told(folder, file, change):
    path = folder / NAMES[file]
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))
    message = rf"not {[5, 5, 3, 3][file]} items of the expected idx format \(.*{NAMES[file]}\)"
    with pytest.raises(DataError, match=message):
        list(source(folder).examples())


def test_pictures_of_another_size_are_told(folder):
    content = struct.pack(">4i", 2051, 5, 14, 56) + images("train").tobytes()
    (folder / NAMES[0]).write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match="not 5 items of the expected idx format"):
        list(source(folder).examples())


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"<html>404</html>" + content[:0],
        lambda content: content[:-10],
        lambda content: content[:20],
        lambda content: content[:-8] + bytes(8),  # the checksum
        lambda content: content[:30] + b"\xff" * 30 + content[60:],
    ],
    ids=["html", "cut at the end", "cut early", "checksum", "inside"],
)
def test_a_damaged_file_is_told(folder, damage):
    path = folder / NAMES[0]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"(cannot read the file|not 5 items).*{NAMES[0]}\)"):
        list(source(folder).examples())


def test_a_label_that_is_none_is_told_with_its_position(folder):
    content = struct.pack(">2i", 2049, 5) + bytes([0, 1, 10, 9, 9])
    (folder / NAMES[1]).write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=rf"label 10 \(.*{NAMES[1]}:2\)"):
        list(source(folder).examples())
