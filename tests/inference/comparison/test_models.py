"""Models found and named, and the pictures that they are compared on."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

import datasets
from core.errors import CheckpointError, FlagError
from datasets import tfrecord
from engine import run_dir
from inference.comparison import models
from inference.comparison.models import Candidate

NO_FLAGS = {"dataset_dir": None, "dataset_name": None, "dataset_split_name": "test"}


@pytest.fixture
def run(colour_run):
    """What `colour_run` says of itself."""
    return run_dir.read(colour_run)


def flags(**values):
    return SimpleNamespace(**{**NO_FLAGS, **values})


def trained(**runs):
    return {name: Candidate(f"runs/{name}", run, is_trained=True) for name, run in runs.items()}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/a", "runs/b/"], ["a", "b"]),
        (["x/pets/1", "y/pets/1", "runs/a"], ["x/pets/1", "y/pets/1", "a"]),
        (["x/a", "y/a", "y/b"], ["x/a", "y/a", "b"]),
        (["runs/a/model.ckpt-7", "runs/a"], ["model.ckpt-7", "a"]),
        (["/a", "/b/a"], ["/a", "b/a"]),
    ],
)
def test_names_are_as_short_as_they_can_be(paths, names):
    assert models.named(paths) == dict(zip(names, paths, strict=True))


def test_a_model_that_stands_there_twice_is_refused():
    with pytest.raises(FlagError, match="runs/a/ stands there twice"):
        models.named(["runs/a/", "runs/b", "runs/a"])


def test_a_mistyped_path_is_told_before_anything_is_opened(tmp_path):
    (tmp_path / "damaged.pb").write_bytes(b"nonsense")
    paths = [str(tmp_path / "damaged.pb"), str(tmp_path / "none")]
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        models.gather(paths, [], None, tmp_path)


def test_models_are_gathered(colour_run, run, tmp_path):
    config = SimpleNamespace(image_size=12, num_classes=4)
    found = models.gather([str(colour_run)], ["lenet"], config, tmp_path)
    own, net = found.values()
    assert list(found) == [colour_run.name, "lenet"]
    # The checkpoint of now, in case that training goes on.
    assert own == Candidate(str(colour_run / "model.ckpt-60"), run, is_trained=True)
    assert own.described == f"lenet, 8x8 pixels, 3 classes: {colour_run}/model.ckpt-60"
    assert (net.run.image_size, net.run.num_classes, net.is_trained) == (12, 4, False)
    assert net.described == "lenet, 12x12 pixels, 4 classes: random weights"


def test_the_dataset_is_that_of_the_first_model_that_names_one(run, tiny_dataset, tmp_path):
    export = dataclasses.replace(run, dataset_dir="")
    elsewhere = dataclasses.replace(run, dataset_dir=str(tmp_path / "none"))
    dataset = models.dataset_of(trained(a=export, b=run, c=elsewhere), flags())
    assert (dataset.directory, dataset.split) == (tiny_dataset, "test")
    given = flags(dataset_dir=str(tiny_dataset), dataset_split_name="validation")
    for runs in ({"a": export}, {"a": elsewhere}):
        dataset = models.dataset_of(trained(**runs), given)
        assert (dataset.directory, dataset.split) == (tiny_dataset, "validation")
    with pytest.raises(FlagError, match="pass --dataset_dir"):
        models.dataset_of(trained(a=export), flags())
    untrained = {"a": Candidate("a", run, is_trained=False)}
    assert models.dataset_of(untrained, flags()) is None


def test_models_of_other_classes_are_refused(run):
    other = dataclasses.replace(run, class_names=("cat", "dog", "emu", "fox"))
    with pytest.raises(FlagError) as error:
        models.dataset_of(trained(a=run, b=other), flags())
    assert error.value.what == (
        "b knows 4 classes (cat, dog, emu, ...), the dataset has 3 classes (red, green, blue)"
    )


def test_the_pictures_of_a_dataset(run, tiny_dataset, tmp_path):
    dataset = datasets.load(tiny_dataset, "tiny", "train")  # 36 pictures
    folder = models.write_pictures(trained(a=run), dataset, tmp_path / "pictures")
    paths = sorted(folder.iterdir())
    assert len(paths) == 32
    first = next(tfrecord.read(tiny_dataset / dataset.shards[0].file))
    assert paths[0].read_bytes() == tfrecord.picture_and_label(first.content)[0]


def test_noise_where_there_is_no_dataset(run, tmp_path):
    sizes = {str(size): dataclasses.replace(run, image_size=size) for size in (8, 20)}
    folders = [
        models.write_pictures(trained(**sizes), None, tmp_path / name) for name in ("a", "b")
    ]
    contents = [[path.read_bytes() for path in sorted(f.iterdir())] for f in folders]
    assert contents[0] == contents[1]
    assert len(set(contents[0])) == 32
    with PIL.Image.open(folders[0] / "00") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (20, 20, 3)
    assert 60 < pixels.std() < 90  # 74 if every value of a byte is as likely
