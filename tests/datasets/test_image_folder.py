import collections
import contextlib
import io
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import download_and_convert_data
from core import flags
from core.errors import DataError, FlagError
from datasets import conversion, image_folder
from datasets.conversion import Skipped
from datasets.spec import Example


def picture(number: int) -> bytes:
    """A PNG of 2x2 pixels; another for each number below 2^24."""
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0, 0] = list(number.to_bytes(3, "big"))
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def tree(root: Path, per_class: int = 4, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    names = [f"{name}/{number:03d}.png" for name in classes for number in range(per_class)]
    return write(root, {name: picture(number) for number, name in enumerate(names)})


def convert(folder: image_folder.Folder, **changes) -> list[tuple[str, Example] | Skipped]:
    settings = {
        "seed": 0,
        "validation_fraction": 0.0,
        "test_fraction": 0.0,
        "on_bad_image": "fail",
        "max_bad_fraction": 0.01,
        "max_pixels": 1000,
        "max_file_mb": 64,
        "workers": 2,
    }
    settings |= changes
    contents = image_folder.read_contents(folder, settings["max_file_mb"], settings["workers"])
    return list(image_folder.examples(folder, contents, **settings))


def converted(root: Path, **changes) -> list[tuple[str, Example] | Skipped]:
    return convert(image_folder.scan(str(root)), **changes)


def splits(root: Path, **changes) -> dict[bytes, str]:
    shares = {"validation_fraction": 0.2, "test_fraction": 0.3}
    return {example.filename: split for split, example in converted(root, **(shares | changes))}


# Classes and files


def test_classes_and_files_are_in_byte_order(tmp_path):
    names = ("z", "B", "\u00e9", "a b")
    folder = image_folder.scan(str(tree(tmp_path, 2, names)))
    assert folder.class_names == ("B", "a b", "z", "\u00e9")  # 0x42, 0x61, 0x7a, 0xc3
    assert [file.path for file in folder.files[:4]] == [
        b"B/000.png",
        b"B/001.png",
        b"a b/000.png",
        b"a b/001.png",
    ]
    assert [file.label for file in folder.files] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_class_names_are_composed_unicode(tmp_path):
    folder = image_folder.scan(str(tree(tmp_path, 1, ("cafe\u0301", "tea"))))
    assert folder.class_names == ("caf\u00e9", "tea")


def test_examples_carry_label_name_and_the_very_bytes(tmp_path):
    files = {"cat/a.png": picture(1), "dog/deep/er/b.png": picture(2)}
    assert set(converted(write(tmp_path, files))) == {
        ("train", Example(picture(1), "png", 2, 2, 0, b"cat/a.png")),
        ("train", Example(picture(2), "png", 2, 2, 1, b"dog/deep/er/b.png")),
    }


def test_junk_and_text_files_are_ignored(tmp_path):
    clean = tree(tmp_path / "clean")
    hidden = [".DS_Store", "cat/.DS_Store", "cat/._000.png", "dog/.cache/x.png", ".git/x.png"]
    managers = ["cat/Thumbs.db", "dog/desktop.ini", "dog/__MACOSX/x.png"]
    texts = ["labels.csv", "LICENSE", "README.md", "cat/caption.TXT"]
    files = [*hidden, *managers, *texts, "notes.pdf"]  # the last: no picture, outside the classes
    junk = write(tree(tmp_path / "junk"), dict.fromkeys(files, b"junk"))
    assert converted(junk) == converted(clean)
    assert image_folder.scan(str(clean)).ignored == 0
    assert image_folder.scan(str(junk)).ignored == len(files)


def test_a_picture_named_readme_is_a_picture(tmp_path):
    root = write(tree(tmp_path), {"cat/README.png": picture(99)})
    assert b"cat/README.png" in splits(root, validation_fraction=0, test_fraction=0)


ODD_NAMES = [
    b"new\nline.png",
    b"-rf.png",
    b"quote\"'.png",
    b"tab\t.png",
    b"\xff\xfe.png",
    "e\u0301.png".encode(),
    b"no extension",
    b"wrong.jpg",
    b"x" * 251 + b".png",
]


def test_odd_file_names_survive(tmp_path):
    root = tree(tmp_path)
    for number, name in enumerate(ODD_NAMES):
        with open(os.path.join(os.fsencode(root), b"cat", name), "wb") as file:
            file.write(picture(100 + number))
    names = {example.filename for _, example in converted(root)}
    assert {b"cat/" + name for name in ODD_NAMES} <= names
    assert len(names) == 8 + len(ODD_NAMES)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"cat/\xc3\xa9 \xe6\xbc\xa2.png", "cat/\u00e9 \u6f22.png"),
        (b"a\nb\r\x1b[31m\x00", r"a\nb\r\x1b[31m\x00"),
        (b"\xff\xc3.png", r"\xff\xc3.png"),
        (b"\xe2\x80\xa8", r"\u2028"),
    ],
)
def test_printable_names(path, text):
    assert image_folder.printable(path) == text
    assert image_folder.printable(os.fsdecode(path)) == text


# What a folder must not be


def test_missing_folder(tmp_path):
    with pytest.raises(FlagError, match=r"no such folder .*nowhere"):
        image_folder.scan(str(tmp_path / "nowhere"))
    write(tmp_path, {"file": b""})
    with pytest.raises(FlagError, match="no such folder"):
        image_folder.scan(str(tmp_path / "file"))


@pytest.mark.parametrize(("classes", "found"), [((), "none"), (("cat",), "cat")])
def test_fewer_than_two_classes(tmp_path, classes, found):
    with pytest.raises(FlagError, match=f"need at least 2 classes, found {found} ") as caught:
        image_folder.scan(str(tree(tmp_path, 2, classes)))
    assert caught.value.remedy.endswith("--allow_single_class") is bool(classes)


def test_a_single_class_can_be_allowed(tmp_path):
    folder = image_folder.scan(str(tree(tmp_path, 2, ("cat",))), allow_single_class=True)
    assert folder.class_names == ("cat",)
    assert [example.label for _, example in convert(folder)] == [0, 0]
    shutil.rmtree(tmp_path / "cat")
    with pytest.raises(FlagError, match="need at least 1 class, found none"):
        image_folder.scan(str(tmp_path), allow_single_class=True)


@pytest.mark.parametrize("classes", [(), ("cat", "dog")])
def test_pictures_outside_the_class_folders(tmp_path, classes):
    root = write(tree(tmp_path, 2, classes), {"stray.dat": picture(50)})
    with pytest.raises(FlagError, match=r"need at least 2 classes.*stray\.dat"):
        image_folder.scan(str(root))


@pytest.mark.parametrize(
    ("one", "other"),
    [("Cat", "cat"), ("caf\u00e9", "cafe\u0301"), ("cat", "cat "), ("STRASSE", "stra\u00dfe")],
)
def test_class_names_that_look_the_same(tmp_path, one, other):
    with pytest.raises(FlagError, match="look the same") as error:
        image_folder.scan(str(tree(tmp_path, 1, (one, other, "dog"))))
    assert ascii(one) in str(error.value)
    assert ascii(other) in str(error.value)
    assert "dog" not in error.value.what
    assert "--merge_case" in error.value.remedy


def test_class_names_that_look_the_same_can_be_merged(tmp_path):
    folder = image_folder.scan(
        str(tree(tmp_path, 1, ("cat", "dog", "Cat", "CAT "))), merge_case=True
    )
    assert folder.class_names == ("CAT ", "dog")  # by the first bytes of all: "CAT ", "Cat", "cat"
    assert folder.files == (
        (b"CAT /000.png", 0, ""),
        (b"Cat/000.png", 0, ""),
        (b"cat/000.png", 0, ""),
        (b"dog/000.png", 1, ""),
    )


def test_classes_of_divided_folders_are_merged_across_splits(tmp_path):
    files = ("train/cat/a", "train/dog/b", "test/Cat/c", "test/dog/d")
    write(tmp_path, {f"{name}.png": picture(number) for number, name in enumerate(files)})
    folder = image_folder.scan(str(tmp_path), merge_case=True)
    assert folder.class_names == ("Cat", "dog")
    assert {file.path: file.label for file in folder.files} == {
        b"train/cat/a.png": 0,
        b"train/dog/b.png": 1,
        b"test/Cat/c.png": 0,
        b"test/dog/d.png": 1,
    }


def test_merging_leaves_two_classes_or_more(tmp_path):
    with pytest.raises(FlagError, match="need at least 2 classes, found Cat, cat "):
        image_folder.scan(str(tree(tmp_path, 1, ("cat", "Cat"))), merge_case=True)


@pytest.mark.parametrize("name", [b"a\nb", b"a\tb", b"\x7f", b"\xff", b"\xe2\x80\xa8"])
def test_class_names_that_break_a_line_or_are_not_unicode(tmp_path, name):
    os.makedirs(os.path.join(os.fsencode(tree(tmp_path)), name))
    with pytest.raises(FlagError, match="control characters or is not UTF-8") as error:
        image_folder.scan(str(tmp_path))
    assert str(error.value).isprintable()


def test_empty_class(tmp_path):
    root = write(tree(tmp_path), {"bird/notes.txt": b"none seen"})
    (root / "fish" / "nested").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no picture in class 'bird', 'fish'.*allow_empty_class"):
        image_folder.scan(str(root))


def test_empty_classes_can_be_allowed_and_keep_their_labels(tmp_path, caplog):
    (tree(tmp_path, 4, ("ant", "dog")) / "bird").mkdir()
    source = image_folder.source(options(tmp_path, allow_empty_class=True))
    assert source.class_names == ("ant", "bird", "dog")
    assert {example.label for _, example in source.examples()} == {0, 2}
    assert caplog.messages == ["no picture in class bird; its label is kept"]


def test_a_folder_without_any_picture_is_no_dataset(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    folder = image_folder.scan(str(tmp_path), allow_empty_class=True)
    with pytest.raises(DataError, match="no picture in it"):
        convert(folder, test_fraction=0.5)


def test_a_class_whose_pictures_are_all_bad_is_not_an_empty_one(tmp_path):
    root = write(tree(tmp_path), {"emu/a.png": b"bad"})
    folder = image_folder.scan(str(root), allow_empty_class=True)
    with pytest.raises(DataError, match=r"no picture of class 'emu' to train on \(0 in other"):
        convert(folder, on_bad_image="skip", max_bad_fraction=1)


# Links and other things that are no files


def test_links(tmp_path):
    outside = write(tmp_path, {"outside.png": picture(70)}) / "outside.png"
    root = tree(tmp_path / "data")
    (root / "cat" / "inside.png").symlink_to("../dog/000.png")
    (root / "cat" / "outside.png").symlink_to(outside)
    (root / "cat" / "broken.png").symlink_to("nothing")
    (root / "cat" / "itself.png").symlink_to("itself.png")
    (root / "cat" / "loop").symlink_to(".")
    (root / "cat" / "up").symlink_to("..")
    (root / "dog" / "there").symlink_to("back.png")
    (root / "dog" / "back.png").symlink_to("there")
    (root / "dog" / "zero.png").symlink_to("/dev/zero")
    (root / "linked").symlink_to("cat")
    folder = image_folder.scan(str(root))
    assert folder.class_names == ("cat", "dog")
    assert image_folder.File(b"cat/inside.png", 0) in folder.files
    assert len(folder.files) == 9
    assert folder.bad == (
        ("cat/broken.png", "broken link"),
        ("cat/itself.png", "broken link"),
        ("cat/loop", "link to a folder (not followed)"),
        ("cat/outside.png", "link that leaves the folder"),
        ("cat/up", "link to a folder (not followed)"),
        ("dog/back.png", "broken link"),
        ("dog/there", "broken link"),
        ("dog/zero.png", "link that leaves the folder"),
        ("linked", "link to a folder (not followed)"),
    )


def test_a_link_to_the_folder_itself_is_followed(tmp_path):
    tree(tmp_path / "data")
    (tmp_path / "link").symlink_to("data")
    assert converted(tmp_path / "link") == converted(tmp_path / "data")


@pytest.mark.timeout(20)
def test_a_fifo_is_bad_and_never_opened(tmp_path):
    root = tree(tmp_path)
    os.mkfifo(root / "cat" / "pipe.png")
    with pytest.raises(DataError, match=r"^not a regular file \(.*cat/pipe\.png\)"):
        converted(root)
    folder = image_folder.scan(str(root))
    (root / "cat" / "000.png").unlink()
    os.mkfifo(root / "cat" / "000.png")  # after the scan
    found = convert(folder, on_bad_image="skip", max_bad_fraction=1)
    bad = [item for item in found if isinstance(item, Skipped)]
    assert bad == [("cat/pipe.png", "not a regular file"), ("cat/000.png", "not a regular file")]


@pytest.mark.timeout(20)
def test_sockets_and_devices_are_bad_and_never_opened(tmp_path):
    root = tree(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "cat" / "socket.png"))
    names = ["cat/socket.png"]
    if os.geteuid() == 0:  # nobody else may make a device
        os.mknod(root / "cat" / "zero.png", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        names.append("cat/zero.png")
    found = converted(root, on_bad_image="skip", max_bad_fraction=1)
    bad = [item for item in found if isinstance(item, Skipped)]
    assert bad == [(name, "not a regular file") for name in names]


@contextlib.contextmanager
def not_as_root():
    """Within the block the process is no longer root, who may read everything."""
    before = os.geteuid()
    os.seteuid(before or 65534)  # nobody
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_that_may_not_be_read_is_bad():
    # Not in tmp_path, which belongs to whoever runs the tests alone.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        root = tree(Path(directory))
        (root / "cat" / "000.png").chmod(0)
        denied = r"^Permission denied \(.*cat/000\.png\)"
        with not_as_root(), pytest.raises(DataError, match=denied):
            converted(root)


def test_a_folder_named_like_a_picture_is_a_folder(tmp_path):
    root = write(tree(tmp_path), {"cat/x.png/y.png": picture(80)})
    assert b"cat/x.png/y.png" in {example.filename for _, example in converted(root)}


# Bad files

BAD = {
    "empty.png": (b"", "empty file"),
    "page.jpg": (b"<html><body>Not found", "not an image (starts with '<html><body>Not ')"),
    "cut.png": (picture(1)[:-5], "truncated"),
    "big.bmp": (None, "40x30 exceeds the limit of 1000 pixels"),
    "two\nlines.png": (b"", "empty file"),
}


def with_bad(root: Path, name: str, per_class: int = 4) -> Path:
    content = BAD[name][0]
    if content is None:
        buffer = io.BytesIO()
        PIL.Image.new("RGB", (40, 30)).save(buffer, "BMP")
        content = buffer.getvalue()
    return write(tree(root, per_class), {f"dog/{name}": content})


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_stops_the_conversion(tmp_path, name):
    with pytest.raises(DataError) as error:
        converted(with_bad(tmp_path, name))
    assert error.value.what == BAD[name][1]
    assert error.value.where == f"{tmp_path}/dog/{name}".replace("\n", r"\n")
    assert "--on_bad_image=skip" in error.value.remedy
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_skipped_and_told(tmp_path, name):
    found = converted(with_bad(tmp_path, name), on_bad_image="skip", max_bad_fraction=0.2)
    told = [item for item in found if isinstance(item, Skipped)]
    assert told == [(f"dog/{name}".replace("\n", r"\n"), BAD[name][1])]
    assert len(found) == 9


def test_animations_are_told_in_one_line(tmp_path, caplog):
    frames = [PIL.Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    root = tree(tmp_path)
    for name in ("cat/b.gif", "cat/a.gif", "dog/c.webp", "dog/d.png", "dog/e.tiff"):
        frames[0].save(root / name, save_all=True, append_images=frames[1:])
    frames[0].save(root / "dog" / "one.gif")
    assert len(converted(root)) == 14
    assert caplog.messages == [
        "of pictures with several frames the first one is taken: 5, such as cat/a.gif"
    ]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_what_a_file_is_called_does_not_matter(tmp_path, kind):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (6, 4), "red").save(buffer, kind)
    endings = ("png", "jpg", "gif", "bmp", "webp", "tiff", "txt.jpeg", "")
    root = write(tree(tmp_path), {f"cat/x.{end}": buffer.getvalue() for end in endings})
    made = {example[:4] for _, example in converted(root) if example.filename.startswith(b"cat/x.")}
    assert len(made) == 1
    assert made.pop()[1] == ("jpeg" if kind in ("JPEG", "WEBP") else "png")


def test_too_many_bad_files(tmp_path):
    root = with_bad(tmp_path, "empty.png", per_class=2)  # 1 of 5
    assert len(converted(root, on_bad_image="skip", max_bad_fraction=0.2)) == 5
    with pytest.raises(DataError, match=r"1 of 5 files.*max_bad_fraction=0\.19 .*empty file"):
        converted(root, on_bad_image="skip", max_bad_fraction=0.19)


def test_a_file_that_vanishes_is_bad(tmp_path):
    folder = image_folder.scan(str(tree(tmp_path)))
    (tmp_path / "dog" / "003.png").unlink()
    with pytest.raises(DataError, match=r"^No such file or directory \(.*dog/003\.png\)"):
        convert(folder)


def test_a_file_that_changes_while_converting_is_bad(tmp_path):
    source = image_folder.source(options(tree(tmp_path)))
    (tmp_path / "dog" / "003.png").write_bytes(picture(77))  # another picture, as good as the first
    with pytest.raises(DataError, match=r"^changed during the conversion \(.*dog/003\.png\)"):
        list(source.examples())


def test_pictures_that_vanish_or_change_while_others_are_converted_can_be_skipped(tmp_path):
    root = tree(tmp_path, 20)
    source = image_folder.source(options(root, on_bad_image="skip", max_bad_fraction=1))
    stream = iter(source.examples())
    before = [next(stream)]
    taken = {example.filename for _, example in before}
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))
    for name in names[::2]:
        (root / name).unlink()
    for name in names[1::2]:
        (root / name).write_bytes(picture(len(name) + 999))
    with contextlib.suppress(DataError):  # too few are left to train on
        before.extend(stream)
    reasons = {item.reason for item in before if isinstance(item, Skipped)}
    assert reasons == {"No such file or directory", "changed during the conversion"}
    assert len(taken) == 1


def test_a_huge_file_is_refused_unread(tmp_path):
    root = tree(tmp_path)
    os.truncate(root / "cat" / "000.png", 3 << 30)  # sparse: takes no space
    with pytest.raises(DataError, match=r"^3221\.2 MB exceed the limit of 64 MB \(.*cat/000"):
        converted(root)


@pytest.mark.parametrize(("size", "is_refused"), [(1_000_000, False), (1_000_001, True)])
def test_the_limit_on_files_is_inclusive(tmp_path, size, is_refused):
    root = write(tree(tmp_path), {"cat/a.png": picture(50) + bytes(size - len(picture(50)))})
    found = converted(root, max_file_mb=1, on_bad_image="skip", max_bad_fraction=1)
    assert (Skipped("cat/a.png", "1.0 MB exceed the limit of 1 MB") in found) is is_refused
    assert len(found) == 9


# Splits and order


def test_fractions_are_about_right(tmp_path):
    # 400 files: 120 +- 9 test, 80 +- 8 validation (binomial); bounds at 4 standard deviations.
    count = collections.Counter(splits(tree(tmp_path, 200)).values())
    assert abs(count["test"] - 120) < 37
    assert abs(count["validation"] - 80) < 32
    assert count.total() == 400


def test_the_split_is_a_pure_function_of_content_and_seed():
    # By coreutils: SHA-256 of b"0:" and the SHA-256 of the content begins with edbada71 for b"a",
    # 1748dfa4 for b"b", 8f35e1f6 for b"c"; over 2^32 that is 0.929, 0.091, 0.559.
    found = [image_folder.split_of(content, 0, 0.3, 0.3) for content in (b"a", b"b", b"c")]
    assert found == ["train", "test", "validation"]
    contents = [b"%d" % number for number in range(100)]
    first, second = (
        [image_folder.split_of(content, seed, 0.2, 0.3) for content in contents] for seed in (0, 1)
    )
    assert first != second


def test_adding_and_renaming_files_moves_no_other(tmp_path):
    before = splits(tree(tmp_path, 30))
    write(tmp_path, {f"ant/{number}.png": picture(1000 + number) for number in range(20)})
    after = splits(tmp_path)
    assert before.items() <= after.items()
    (tmp_path / "dog" / "000.png").rename(tmp_path / "dog" / "zebra.png")
    assert splits(tmp_path)[b"dog/zebra.png"] == before[b"dog/000.png"]


def test_copies_of_a_picture_share_a_split(tmp_path):
    root = tree(tmp_path, 40)
    shutil.copytree(root / "cat", root / "dog" / "again")
    found = splits(root)
    for number in range(40):
        name = b"%03d.png" % number
        assert found[b"cat/" + name] == found[b"dog/again/" + name]
    assert set(found.values()) == {"train", "validation", "test"}


def test_order_is_mixed_and_independent_of_listing(tmp_path):
    one = tree(tmp_path / "one", 20)
    other = tmp_path / "other"
    for path in sorted(one.rglob("*.png"), reverse=True):
        write(other, {str(path.relative_to(one)): path.read_bytes()})
    found = converted(one)
    assert found == converted(other)
    assert found == converted(one, workers=1)
    assert sorted(found) == sorted(converted(one, seed=1))
    assert found != converted(one, seed=1)
    labels = [example.label for _, example in found]
    # 40 files in random order change class about 19.5 +- 3.1 times; one class each, once.
    assert np.count_nonzero(np.diff(labels)) >= 8


def test_memory_holds_few_pictures_at_a_time(tmp_path):
    folder = image_folder.scan(str(tree(tmp_path, 20)))
    stream = image_folder.examples(
        folder,
        image_folder.read_contents(folder, 64, 2),
        seed=0,
        validation_fraction=0,
        test_fraction=0,
        on_bad_image="skip",
        max_bad_fraction=1,
        max_pixels=1000,
        max_file_mb=64,
        workers=2,
    )
    found = [next(stream)]
    for path in tmp_path.rglob("*.png"):
        path.unlink()
    with contextlib.suppress(DataError):  # too few are left to train on
        found.extend(stream)
    # 2 workers have read at most 2 * 2 + 1 files when the first is taken; the others are gone.
    assert len(found) == 40
    assert sum(not isinstance(item, Skipped) for item in found) <= 5


def test_a_split_that_stays_empty(tmp_path):
    with pytest.raises(DataError, match="none of the 4 pictures fell to the validation split"):
        converted(tree(tmp_path, 2), validation_fraction=1e-9)


def test_a_class_without_a_picture_to_train_on(tmp_path):
    with pytest.raises(DataError, match=r"no picture of class 'cat' to train on \(2 in other"):
        converted(tree(tmp_path, 2), test_fraction=1)


# Folders that are divided already


def divided(root: Path, validation: str = "validation") -> Path:
    files = ["train/cat/a", "train/dog/b", f"{validation}/cat/c", "test/cat/d", "test/dog/e"]
    return write(root, {f"{name}.png": picture(number) for number, name in enumerate(files)})


@pytest.mark.parametrize("validation", ["validation", "val"])
def test_a_divided_folder_keeps_its_splits(tmp_path, validation):
    root = divided(tmp_path, validation)
    folder = image_folder.scan(str(root))
    assert folder.class_names == ("cat", "dog")
    assert folder.splits == ("train", "validation", "test")
    found = convert(folder, test_fraction=1, validation_fraction=0)
    assert {(split, example.label, example.filename) for split, example in found} == {
        ("train", 0, b"train/cat/a.png"),
        ("train", 1, b"train/dog/b.png"),
        ("validation", 0, f"{validation}/cat/c.png".encode()),
        ("test", 0, b"test/cat/d.png"),
        ("test", 1, b"test/dog/e.png"),
    }


def test_a_class_that_only_the_test_split_has(tmp_path):
    root = write(divided(tmp_path), {"test/emu/f.png": picture(9)})
    with pytest.raises(DataError, match=r"no picture of class 'emu' to train on \(1 in other"):
        converted(root)


def test_the_same_picture_in_two_splits_is_warned_about(tmp_path, caplog):
    root = divided(tmp_path)
    shutil.copy(root / "train" / "cat" / "a.png", root / "test" / "dog" / "again.png")
    shutil.copy(root / "train" / "cat" / "a.png", root / "train" / "cat" / "twice.png")
    write(root, {"train/cat/none.png": b"", "test/cat/none.png": b""})  # bad, and no picture
    source = image_folder.source(options(root, on_bad_image="skip", max_bad_fraction=1))
    assert [text for text in caplog.messages if "splits" in text] == [
        "test/dog/again.png and train/cat/a.png are the same picture, in two splits",
        "test/dog/again.png and train/cat/twice.png are the same picture, in two splits",
    ]
    assert len(list(source.examples())) == 9


@pytest.mark.parametrize("classes", [("train", "bus"), ("train", "test"), ("test", "val")])
def test_classes_that_are_named_like_splits(tmp_path, classes):
    folder = image_folder.scan(str(tree(tmp_path, 2, classes)))
    assert folder.class_names == tuple(sorted(classes))
    assert folder.splits == ()


# For the converter


def options(root: Path, **changes):
    settings = {
        "image_dir": root,
        "max_image_pixels": 1000,
        "validation_fraction": 0.0,
        "test_fraction": 0.0,
        "num_shards": 2,
    } | changes
    return flags.parse(
        download_and_convert_data.define_flags, [f"--{k}={v}" for k, v in settings.items()]
    )


def test_source(tmp_path):
    source = image_folder.source(options(tree(tmp_path)))
    assert source.class_names == ("cat", "dog")
    assert (source.total, source.num_shards) == (8, 2)
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.png")]
    assert sum(sizes) < source.size < sum(sizes) + 8 * 1000
    assert list(source.examples()) == converted(tmp_path)


def test_settings_tell_other_data_apart(tmp_path):
    def settings():
        return image_folder.source(options(tmp_path / "data")).settings

    tree(tmp_path / "data")
    before = settings()
    assert settings() == before
    path = tmp_path / "data" / "dog" / "000.png"
    content = path.read_bytes()
    path.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    changed = settings()
    assert changed != before
    path.write_bytes(content)
    assert settings() == before
    path.rename(path.with_name("other.png"))
    assert settings() not in (before, changed)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"max_file_mb": 3}, {"max_image_pixels": 9}, {"num_shards": 3}]
)
def test_settings_hold_what_the_records_depend_on(tmp_path, change):
    tree(tmp_path)
    before = image_folder.source(options(tmp_path)).settings
    assert image_folder.source(options(tmp_path, **change)).settings != before


def test_an_empty_class_less_is_another_dataset(tmp_path):
    (tree(tmp_path / "data") / "ant").mkdir()
    for expected in (True, False):
        source = image_folder.source(options(tmp_path / "data", allow_empty_class=True))
        assert conversion.convert("x", source, str(tmp_path / "to")).written is expected
    (tmp_path / "data" / "ant").rmdir()
    source = image_folder.source(options(tmp_path / "data"))
    message = r"another dataset; 3 classes \(ant, cat, dog\) there, 2 classes \(cat, dog\) asked"
    with pytest.raises(FlagError, match=message):
        conversion.convert("x", source, str(tmp_path / "to"))


def test_the_records_take_about_the_space_that_was_said(tmp_path):
    noise = np.random.RandomState(0)
    for number in range(40):
        pixels = noise.randint(0, 256, (30, 40, 3)).astype(np.uint8)
        path = tmp_path / "data" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(pixels).save(path)
    source = image_folder.source(options(tmp_path / "data", max_image_pixels=10_000))
    dataset = conversion.convert("x", source, str(tmp_path / "to")).dataset
    written = sum(split.bytes for split in dataset.splits.values())
    assert written <= source.size < 1.1 * written
