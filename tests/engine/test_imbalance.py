"""Weights of classes: from counts, from a file, in the log, in run.json."""

import json

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from core.errors import DataError, FlagError
from engine import imbalance

UNEVEN = (7, 2, 1)


@pytest.fixture
def written(tmp_path):
    """written(text) is the path of a file of it."""

    def written(text):
        path = tmp_path / "weights.txt"
        path.write_bytes(text.encode())
        return path

    return written


def without_manifest(directory):
    """What research/slim would have written of a dataset of ours."""
    (directory / "dataset.json").unlink()
    return directory


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.repeat([0, 1, 2], [70, 21, 9])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    found = imbalance.balanced(np.array([70, 21, 9]))
    np.testing.assert_allclose(found, expected, rtol=1e-15)
    assert np.mean(np.array(found)[labels]) == pytest.approx(1, rel=1e-12)


def test_a_class_without_pictures_weighs_nothing():
    """The others have what they would have without it."""
    assert imbalance.balanced(np.array([6, 0, 2])) == [8 / (2 * 6), 0, 8 / (2 * 2)]


@pytest.mark.parametrize("is_counted", [False, True])
def test_weights_of_a_split(make_dataset, load, configured, caplog, is_counted):
    caplog.set_level("INFO", logger="absl")
    data = make_dataset(test=4, counts=UNEVEN, shards=2, copy=is_counted)
    if is_counted:
        without_manifest(data)
    config = configured("--class_weights=balanced")
    assert imbalance.class_weights(load(data), config) == [10 / 21, 10 / 6, 10 / 3]
    assert caplog.messages == ["Class weights: shade0 0.4762, shade1 1.667, shade2 3.333"]
    assert imbalance.class_weights(load(data), configured()) is None


def test_labels_offset_and_an_empty_class(make_dataset, load, configured, caplog):
    data = make_dataset(test=4, classes=5, counts=(0, 6, 0, 2, 0))
    config = configured("--class_weights=balanced", "--labels_offset=1")
    assert imbalance.class_weights(load(data), config) == [8 / 12, 0, 8 / 4, 0]
    assert caplog.messages[0] == "No pictures, hence no weight: shade2, shade4"


def test_counts_that_are_not_those_of_the_labels_after_the_offset(make_dataset, load, configured):
    split = load(make_dataset(test=4, counts=UNEVEN))
    config = configured("--class_weights=balanced", "--labels_offset=1")
    with pytest.raises(DataError, match=r"^label 0 is not in 1\.\.2 .*: record \d, offset"):
        imbalance.class_weights(split, config)


def test_of_many_classes_the_log_says_the_range(make_dataset, load, configured, caplog):
    caplog.set_level("INFO", logger="absl")
    data = make_dataset(test=1, classes=11, counts=(2,) * 5 + (1, 4) + (2,) * 4)
    imbalance.class_weights(load(data), configured("--class_weights=balanced"))
    # 23 / (11 x 4) and 23 / 11
    assert caplog.messages == ["Class weights: shade6 0.5227, ..., shade5 2.091"]


@pytest.mark.parametrize(
    "text",
    ["a:1\nb:c:2.5\n c:0\n", "\ufeff c: 0\r\n\r\nb:c: 25e-1 \r\na:1", " c:-0\na:1.0\nb:c:2.5"],
)
def test_a_file_of_weights(written, text):
    found = imbalance.read_weights(written(text), ["a", "b:c", " c"])
    assert list(found.items()) == [("a", 1), ("b:c", 2.5), (" c", 0)]


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("a:1\nb\n", "not name:weight: b", 2),
        ("a:1\n:2\n", "not name:weight: :2", 2),
        ("a:1\nb:2\nd:3", "no class is named 'd': they are a, b", 3),
        ("a:1\n b:2", "no class is named ' b': they are a, b", 2),
        ("a:1\n\na:1\nb:1", "a second weight for a", 3),
        *(
            (f"a:1\nb:{weight}", f"the weight of b is not a finite number from 0: {weight}", 2)
            for weight in ("-1", "nan", "inf", "1e39", "1e999", "x", "1,5", "")
        ),
        ("b:1", "no weight for a ", None),
        ("", "no weight for a, b ", None),
        ("a:0\nb:1e-50", "all weights are 0 ", None),
    ],
)
def test_refused_files_are_told_with_the_line(written, text, message, line):
    path = written(text)
    with pytest.raises(FlagError) as caught:
        imbalance.read_weights(path, ["a", "b"])
    assert str(caught.value).startswith(message)
    assert caught.value.where == (f"{path}:{line}" if line else str(path))
    assert caught.value.exit_code == 2


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "picture").write_bytes(b"\x89PNG\xff")
    for path, reason in (
        (tmp_path / "nowhere", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / "picture", "not UTF-8"),
    ):
        with pytest.raises(FlagError, match=f"^--class_weights cannot be read: {reason} "):
            imbalance.read_weights(path, ["a", "b"])


def test_run_json_holds_the_weights_of_a_file(make_dataset, train, written, tmp_path):
    """Another name of the file is no change, another weight is one."""
    data, run = make_dataset(), tmp_path / "run"
    path = written("shade0:1\nshade1:2.5\nshade2:0.1\n")

    def go_on(steps, path, *arguments):
        train(data, run, f"--class_weights={path}", f"--max_number_of_steps={steps}", *arguments)
        return json.loads((run / "run.json").read_text())

    content = go_on(1, path)
    weights = {"shade0": 1.0, "shade1": 2.5, "shade2": 0.1}
    assert content["settings"]["class_weights"] == weights
    assert f"--class_weights={path}\n" in (run / "flags.txt").read_text()
    content = go_on(2, path.rename(tmp_path / "moved.txt"))
    assert content["changes"] == []
    path = written("shade0:1\nshade1:2.5\nshade2:0.2\n")
    with pytest.raises(FlagError) as caught:
        go_on(3, path)
    assert caught.value.what == (
        "--class_weights was {'shade2': 0.1} in the run so far, now it is {'shade2': 0.2}"
    )
    content = go_on(3, path, "--allow_config_change")
    now = weights | {"shade2": 0.2}
    assert content["changes"] == [{"step": 2, "class_weights": [weights, now]}]
    with pytest.raises(FlagError, match="now it is balanced"):
        go_on(4, "balanced")


def test_the_weights_reach_the_training(make_dataset, train, variables_of, written, tmp_path):
    """With plain SGD, twice the weight is twice the step."""
    given = ("--optimizer=sgd", "--weight_decay=0", "--max_number_of_steps=1")
    for weight in (1, 2):
        path = written("".join(f"shade{number}:{weight}\n" for number in range(3)))
        train(make_dataset(), tmp_path / str(weight), *given, f"--class_weights={path}")
    before, once, twice = (
        variables_of(tmp_path / checkpoint)["LeNet/fc4/weights"]
        for checkpoint in ("1/model.ckpt-0", "1/model.ckpt-1", "2/model.ckpt-1")
    )
    assert np.abs(once - before).max() > 1e-4
    np.testing.assert_allclose(twice - before, 2 * (once - before), rtol=1e-3, atol=1e-7)
