import contextlib

import numpy as np
import pytest

from core import files
from core.errors import FlagError
from engine import checkpoints, run_dir
from inference import predictor
from inference.comparison import random_init
from preprocessing.preprocessing_factory import PREPROCESSING


def data_of(directory):
    return files.sha256(directory / "model.ckpt-0.data-00000-of-00001")


def test_what_is_written_is_a_run(tmp_path):
    random_init.write("lenet", 8, 3, tmp_path / "run")
    run = run_dir.read(tmp_path / "run")
    assert (run.model_name, run.image_size, run.channels) == ("lenet", 8, 3)
    assert (run.class_names, run.num_classes) == (("0", "1", "2"), 3)
    assert PREPROCESSING[run.preprocessing_name] == PREPROCESSING["lenet"]
    assert checkpoints.steps(tmp_path / "run") == [0]
    checkpoints.check_intact(checkpoints.prefix(tmp_path / "run", 0))


def test_the_default_size_is_that_of_the_net(tmp_path):
    random_init.write("cifarnet", None, 2, tmp_path)
    assert run_dir.read(tmp_path).image_size == 32


def test_the_weights_are_the_same_each_time(tmp_path):
    random_init.write("lenet", 8, 3, tmp_path / "a")
    random_init.write("lenet", 8, 3, tmp_path / "b")
    assert data_of(tmp_path / "a") == data_of(tmp_path / "b")
    reader = checkpoints.reader(checkpoints.prefix(tmp_path / "a", 0))
    weights = reader.get_tensor("LeNet/fc3/weights")
    # As the net's arg scope has it: normal of 0.1, cut at twice that, which leaves 0.088.
    assert 0.087 < weights.std() < 0.089
    assert np.abs(weights).max() <= 0.2
    assert not reader.get_tensor("LeNet/fc3/biases").any()


def test_it_classifies(tmp_path, png):
    """With outputs that are finite, or `probabilities` would not give them."""
    random_init.write("mobilenet_v1_025", 32, 5, tmp_path)
    noise = np.random.RandomState(0).randint(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    with contextlib.closing(predictor.open_model(str(tmp_path))) as model:
        found = model.probabilities([png(pixels) for pixels in noise])
    assert model.model.class_names == ("0", "1", "2", "3", "4")
    np.testing.assert_allclose(found.sum(axis=1), [1, 1], rtol=1e-6)


def test_an_unknown_net_is_told(tmp_path):
    with pytest.raises(FlagError, match=r"Name of network unknown lenett .*did you mean lenet\?"):
        random_init.write("lenett", None, 3, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_class_is_too_few(tmp_path):
    with pytest.raises(FlagError, match="need at least 2"):
        random_init.write("lenet", 8, 1, tmp_path)


def test_another_run_is_not_written_over(tmp_path):
    random_init.write("lenet", 8, 3, tmp_path)
    before = data_of(tmp_path)
    with pytest.raises(FlagError, match="not empty"):
        random_init.write("lenet", 8, 4, tmp_path)
    assert (run_dir.read(tmp_path).num_classes, data_of(tmp_path)) == (3, before)
