import csv
import io
import json
import os
import types
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from core.errors import DataError, FlagError, MachineError
from datasets import images
from inference import classification, pictures


@pytest.fixture
def classify(colour_model, tmp_path):
    """classify(folder, name, **flags) gives the summary and the path of what was written."""

    def classify(folder, name="out/predictions.csv", **given):
        settings = {"output": str(tmp_path / name), "copy_to": None, "top_k": 5, "batch_size": 5}
        settings |= {"escape_formulas": True, "max_file_mb": 1, "max_image_pixels": 10_000}
        config = types.SimpleNamespace(**(settings | given))
        found = pictures.find(str(folder))
        return classification.classify(colour_model, found, config), Path(config.output)

    return classify


def rows(path):
    return list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))


@pytest.fixture
def mixed(colour_folder, tmp_path):
    """A folder of three pictures, one of each colour, and three files that are none."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("red", "green", "blue"):
        (folder / f"{name}.png").write_bytes((colour_folder / name / "0.png").read_bytes())
    (folder / "empty.png").write_bytes(b"")
    (folder / "page.jpg").write_bytes(b"<html>")
    os.mkfifo(folder / "pipe.png")
    return folder


def test_the_table_has_a_row_per_file_with_the_most_probable_classes(classify, mixed, colour_model):
    summary, path = classify(mixed)
    header, *found = rows(path)
    assert header == [
        *("path", "class", "probability", "class_2", "probability_2"),
        *("class_3", "probability_3", "error"),  # of five that are asked for, all three
    ]
    assert [row[0] for row in found] == [
        *("blue.png", "empty.png", "green.png", "page.jpg", "pipe.png", "red.png")
    ]
    assert [row[1] for row in found] == ["blue", "", "green", "", "", "red"]
    assert [row[-1] for row in found] == [
        *("", "empty file", "", "not an image (starts with '<html>')", "not a regular file", "")
    ]
    assert all(row[1:-1] == [""] * 6 for row in found if row[-1])
    encoded = images.load((mixed / "green.png").read_bytes()).encoded
    (expected,) = colour_model.probabilities([encoded])
    green = dict(zip(found[2][1::2], map(float, found[2][2::2]), strict=False))
    assert green == pytest.approx(
        dict(zip(("red", "green", "blue"), expected, strict=True)), abs=1e-6
    )
    assert sorted(green.values(), reverse=True) == list(green.values())
    assert (summary.count, summary.unreadable) == (6, 3)
    assert summary.first_problem == "empty.png: empty file"


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_rows_do_not_depend_on_the_batch_size(classify, mixed, batch_size):
    _, expected = classify(mixed)
    _, path = classify(mixed, "other.csv", batch_size=batch_size)
    for row, other in zip(rows(path)[1:], rows(expected)[1:], strict=True):
        assert (row[:2], row[-1]) == (other[:2], other[-1])
        if not row[-1]:
            assert float(row[2]) == pytest.approx(float(other[2]), abs=1e-6)


def test_top_k_limits_the_columns(classify, colour_folder):
    _, path = classify(colour_folder, top_k=1)
    header, *found = rows(path)
    assert header == ["path", "class", "probability", "error"]
    assert [row[0].split("/")[0] for row in found] == [row[1] for row in found]
    assert len(found) == 12


def test_json_lines_say_the_same(classify, mixed):
    _, table = classify(mixed)
    _, path = classify(mixed, "lines.json", top_k=2)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for line, row in zip(lines, rows(table)[1:], strict=True):
        assert line["path"] == row[0]
        assert line["error"] == (row[-1] or None)
        assert line["class"] == (row[1] or None)
        assert len(line["predictions"]) == (0 if row[-1] else 2)
        if not row[-1]:
            assert line["probability"] == line["predictions"][0]["probability"] == float(row[2])
            second = line["predictions"][1]
            assert (second["class"], second["probability"]) == (row[3], float(row[4]))
            assert ("red", "green", "blue")[second["label"]] == row[3]


NAMES = ["a,b.png", 'say "x".png', "line\nend.png", "größe.png", " blank .png", "it's.png"]
FORMULAS = ["=1+1.png", "+x.png", "-x.png", "@x.png", "\tx.png", "\rx.png"]


def test_names_survive_a_round_trip_and_formulas_are_defused(classify, colour_folder, tmp_path):
    folder = tmp_path / "names"
    folder.mkdir()
    for name in NAMES + FORMULAS:
        (folder / name).write_bytes((colour_folder / "red" / "0.png").read_bytes())
    order = sorted(NAMES + FORMULAS, key=str.encode)
    _, path = classify(folder)
    defused = [f"'{name}" if name in FORMULAS else name for name in order]
    assert [row[0] for row in rows(path)[1:]] == defused
    _, path = classify(folder, escape_formulas=False)
    assert [row[0] for row in rows(path)[1:]] == order
    _, path = classify(folder, "names.json")
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    assert [json.loads(line)["path"] for line in lines] == order


def test_pictures_are_copied_into_the_folders_of_their_classes(classify, colour_folder, tmp_path):
    target = tmp_path / "sorted"
    classify(colour_folder, copy_to=str(target))
    copies = {str(path.relative_to(target)): path for path in target.rglob("*.png")}
    assert sorted(copies) == sorted(
        f"{name}/{name}/{number}.png" for name in ("red", "green", "blue") for number in range(4)
    )
    for name, path in copies.items():
        assert path.read_bytes() == (colour_folder / name.partition("/")[2]).read_bytes()


def test_what_is_no_picture_is_not_copied(classify, mixed, tmp_path):
    classify(mixed, copy_to=str(tmp_path / "sorted"))
    copied = sorted(path.name for path in (tmp_path / "sorted").rglob("*.*"))
    assert copied == ["blue.png", "green.png", "red.png"]


def test_copies_go_to_a_new_place_outside_the_pictures(colour_folder, tmp_path):
    found = pictures.find(str(colour_folder))
    classification.check_copy_to(str(tmp_path / "new"), found)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for place, message in (
        (tmp_path / "full", "not empty"),
        (tmp_path / "full" / "x", "not a folder"),
        (colour_folder / "sorted", "lies in that of the pictures"),
    ):
        with pytest.raises(FlagError, match=message):
            classification.check_copy_to(str(place), found)


def test_equal_probabilities_are_ranked_by_label():
    found = classification.ranked(np.array([0.25, 0.5, 0.25], np.float32), ("a", "b", "c"), 3)
    assert [(name, label) for name, label, _ in found] == [("b", 1), ("a", 0), ("c", 2)]


@pytest.mark.parametrize("class_name", ["..", ".", "a/../../b", "/etc", ""])
def test_no_class_name_leads_out_of_the_folder_of_copies(tmp_path, class_name):
    content = pictures.Content(pictures.Picture(b".", b"../../x.png"), b"x", b"x")
    target = tmp_path / "target"
    classification._copy(content, class_name, target)
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert target in path.parents
    assert path.parent != target


def test_a_full_disk_leaves_the_table_before(classify, colour_folder, no_file_beyond):
    _, path = classify(colour_folder, top_k=1)
    before = path.read_bytes()
    with no_file_beyond(200), pytest.raises(OSError, match="File too large"):
        classify(colour_folder)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_table_that_cannot_be_written_is_told_before_any_work(classify, colour_folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="cannot make the directory"):
        classify(colour_folder, "file/x.csv")


def test_only_a_file_is_replaced(classify, colour_folder, tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(FlagError, match="not a file"):
        classify(colour_folder, "pipe.csv")
    with pytest.raises(FlagError, match="not a file"):
        classify(colour_folder, "")  # the folder itself


def test_of_a_link_the_file_that_it_points_to_is_written(classify, colour_folder, tmp_path):
    (tmp_path / "link.csv").symlink_to("elsewhere/table.csv")
    classify(colour_folder, "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert len(rows(tmp_path / "elsewhere" / "table.csv")) == 13


def test_what_a_killed_classification_has_left_is_removed(classify, colour_folder, tmp_path):
    left = tmp_path / "out" / ".tmp-999999999-abc-predictions.csv"
    left.parent.mkdir()
    left.touch()
    _, path = classify(colour_folder)
    assert list(left.parent.iterdir()) == [path]


def test_damage_in_a_jpeg_costs_that_picture_alone(classify, colour_folder, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b", "c", "d"):
        picture = PIL.Image.open(colour_folder / "green" / "2.png")
        picture.save(folder / f"{name}.jpg", quality=95)
    content = (folder / "b.jpg").read_bytes()
    table = content.index(b"\xff\xc4") + 5  # of Huffman codes: how many there are of each length
    (folder / "b.jpg").write_bytes(content[:table] + b"\xff" * 16 + content[table + 16 :])
    (folder / "c.jpg").write_bytes(content[:-40])
    summary, path = classify(folder)
    found = rows(path)[1:]
    assert [row[1] for row in found] == ["green", "", "", "green"]
    with pytest.raises(DataError) as error:
        images.load((folder / "b.jpg").read_bytes())
    assert [row[-1] for row in found[1:3]] == [error.value.what, "truncated"]
    assert summary.unreadable == 2
