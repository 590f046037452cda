import os

import pytest

from core.errors import FlagError
from inference import pictures


def names(found):
    return [picture.name for picture in found]


@pytest.fixture
def tree(tmp_path, png, gray):
    for name in ("b/x.png", "a.png", "b/c/y.png", ".hidden.png", "notes.txt", "b/Thumbs.db"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(gray))
    return tmp_path


@pytest.fixture(scope="session")
def gray():
    import numpy as np

    return np.full((5, 4, 3), 128, np.uint8)


def test_a_folder_is_searched_to_its_depth_without_what_is_no_picture(tree):
    assert names(pictures.find(str(tree))) == ["a.png", "b/c/y.png", "b/x.png"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["a.png"]),
        ("**/*.png", ["a.png", "b/c/y.png", "b/x.png"]),
        ("b/*.png", ["x.png"]),
        ("b/?/y.png", ["c/y.png"]),
        ("a.png", ["a.png"]),
        ("b/[x].png", ["x.png"]),
    ],
)
def test_a_pattern_finds_paths_relative_to_its_fixed_part(tree, pattern, expected):
    assert names(pictures.find(f"{tree}/{pattern}")) == expected


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tree, png, gray):
    (tree / "[a].png").write_bytes(png(gray))
    assert names(pictures.find(f"{tree}/[a].png")) == ["[a].png"]


def test_a_relative_pattern_needs_no_folder(tree, monkeypatch):
    monkeypatch.chdir(tree)
    (found,) = pictures.find("*.png")
    assert (found.name, pictures.read(found, 1, 100).problem) == ("a.png", "")


@pytest.mark.parametrize("name", ["nowhere", "*.jpg", "empty"])
def test_nothing_found_is_told(tree, name):
    (tree / "empty").mkdir()
    with pytest.raises(FlagError, match=r"no picture there .*check --images"):
        pictures.find(f"{tree}/{name}")


def test_what_cannot_be_read_is_found_with_its_reason(tree):
    os.mkfifo(tree / "pipe.png")
    (tree / "broken.png").symlink_to("nowhere.png")
    (tree / "out.png").symlink_to("/etc/passwd")
    found = {picture.name: picture.problem for picture in pictures.find(str(tree))}
    assert found["pipe.png"] == "not a regular file"
    assert found["broken.png"] == "broken link"
    assert found["out.png"] == "link that leaves the folder"


def test_bytes_that_are_not_utf8_are_escaped_in_names_and_the_file_is_read(tmp_path, png, gray):
    path = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.png")
    with open(path, "wb") as file:
        file.write(png(gray))
    (found,) = pictures.find(str(tmp_path))
    assert found.name == r"\xff\xfe.png"
    assert pictures.read(found, 1, 100).original == png(gray)


def test_limits_and_damage_are_told_in_a_few_words(tree, png, gray):
    (tree / "cut.png").write_bytes(png(gray)[:-12])
    (tree / "page.png").write_bytes(b"<html></html>")
    (tree / "large.png").write_bytes(bytes(2_000_001))

    def problem(name, max_file_mb=2, max_pixels=100):
        return pictures.read(pictures.find(f"{tree}/{name}")[0], max_file_mb, max_pixels).problem

    assert problem("a.png") == ""
    assert problem("a.png", max_pixels=19) == "4x5 exceeds the limit of 19 pixels"
    assert problem("cut.png") == "truncated"
    assert problem("page.png") == "not an image (starts with '<html></html>')"
    assert problem("large.png") == "2.0 MB exceed the limit of 2 MB"


def test_a_file_that_is_gone_is_a_problem_of_that_file(tree):
    (found,) = pictures.find(f"{tree}/a.png")
    (tree / "a.png").unlink()
    assert pictures.read(found, 1, 100).problem == "No such file or directory"
