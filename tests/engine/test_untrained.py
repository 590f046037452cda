"""Nets that were not trained here, as run directories."""

import contextlib

import numpy as np
import pytest

from core import files
from core.errors import FlagError
from engine import checkpoints, run_dir, untrained
from inference import predictor
from preprocessing.preprocessing_factory import PREPROCESSING


def data_of(directory):
    return files.sha256(directory / "model.ckpt-0.data-00000-of-00001")


def test_what_is_written_is_a_run(tmp_path):
    untrained.write(tmp_path / "run", "lenet", 8, tuple("abc"))
    run = run_dir.read(tmp_path / "run")
    assert (run.model_name, run.image_size, run.channels) == ("lenet", 8, 3)
    assert (run.class_names, run.num_classes) == (("a", "b", "c"), 3)
    assert PREPROCESSING[run.preprocessing_name] == PREPROCESSING["lenet"]
    assert checkpoints.steps(tmp_path / "run") == [0]
    checkpoints.check_intact(checkpoints.prefix(tmp_path / "run", 0))


def test_the_default_size_is_that_of_the_net(tmp_path):
    untrained.write(tmp_path, "cifarnet", None, tuple("ab"))
    assert run_dir.read(tmp_path).image_size == 32


def test_the_weights_are_the_same_each_time(tmp_path):
    untrained.write(tmp_path / "a", "lenet", 8, tuple("abc"))
    untrained.write(tmp_path / "b", "lenet", 8, tuple("abc"))
    assert data_of(tmp_path / "a") == data_of(tmp_path / "b")
    reader = checkpoints.reader(checkpoints.prefix(tmp_path / "a", 0))
    weights = reader.get_tensor("LeNet/fc3/weights")
    # As the net's arg scope has it: normal of 0.1, cut at twice that, which leaves 0.088.
    assert 0.087 < weights.std() < 0.089
    assert np.abs(weights).max() <= 0.2
    assert not reader.get_tensor("LeNet/fc3/biases").any()


def test_it_classifies(tmp_path, png):
    """With outputs that are finite, or `probabilities` would not give them."""
    untrained.write(tmp_path, "mobilenet_v1_025", 32, tuple("abcde"))
    noise = np.random.RandomState(0).randint(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    with contextlib.closing(predictor.open_model(str(tmp_path))) as model:
        found = model.probabilities([png(pixels) for pixels in noise])
    assert model.model.class_names == tuple("abcde")
    np.testing.assert_allclose(found.sum(axis=1), [1, 1], rtol=1e-6)


def test_values_that_are_given(tmp_path):
    """Those that are left out are not in the checkpoint either."""
    asked = {}

    def values(shapes):
        asked.update(shapes)
        return {
            name: np.full(shape, 0.5, np.float32)
            for name, shape in shapes.items()
            if name.startswith("LeNet/conv")
        }

    untrained.write(tmp_path, "lenet", 8, tuple("abc"), values)
    reader = checkpoints.reader(checkpoints.prefix(tmp_path, 0))
    parts = [
        f"LeNet/{layer}/{kind}" for layer in ("conv1", "conv2") for kind in ("biases", "weights")
    ]
    assert sorted(reader.get_variable_to_shape_map()) == parts
    assert asked["LeNet/conv1/weights"] == (5, 5, 3, 32)
    assert asked["LeNet/fc4/weights"] == (1024, 3)
    assert len(asked) == 8
    assert (reader.get_tensor("LeNet/conv2/weights") == 0.5).all()


def test_a_net_without_a_head_is_a_checkpoint_alone(tmp_path):
    untrained.write(tmp_path, "lenet", 8, ())
    shapes = checkpoints.shapes_of(checkpoints.prefix(tmp_path, 0))
    assert len(shapes) == 6
    assert not any(name.startswith("LeNet/fc4") for name in shapes)
    assert not (tmp_path / "run.json").exists()


def test_an_unknown_net_is_told(tmp_path):
    with pytest.raises(FlagError, match=r"Name of network unknown lenett .*did you mean lenet\?"):
        untrained.write(tmp_path / "run", "lenett", None, tuple("abc"))
    assert not (tmp_path / "run").exists()


def test_one_class_is_too_few(tmp_path):
    with pytest.raises(FlagError, match="need at least 2"):
        untrained.write(tmp_path, "lenet", 8, ("a",))


def test_another_run_is_not_written_over(tmp_path):
    untrained.write(tmp_path, "lenet", 8, tuple("abc"))
    before = data_of(tmp_path)
    with pytest.raises(FlagError, match="not empty"):
        untrained.write(tmp_path, "lenet", 8, tuple("abcd"))
    assert (run_dir.read(tmp_path).num_classes, data_of(tmp_path)) == (3, before)
