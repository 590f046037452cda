"""A checkpoint in one HDF5 file, by itself and in the place of a checkpoint."""

import json

import h5py
import numpy as np
import pytest

import export_inference_graph
from core import flags as core_flags
from core.errors import CheckpointError
from engine import checkpoints, hdf5

RUN = {"model_name": "lenet"}


@pytest.fixture
def written(tmp_path):
    """A file of three variables: one inside the other's name, and a scalar."""
    path = tmp_path / "x.h5"
    variables = {
        "net/w": np.arange(6, dtype=np.float32).reshape(2, 3),
        "net/w/average": np.ones([2, 3], np.float32),
        "global_step": np.int64(7),
    }
    hdf5.write(path, variables, RUN)
    return path


def test_what_is_written_is_read(written):
    reader = hdf5.Reader(str(written))
    shapes = reader.get_variable_to_shape_map()
    assert shapes == {"net/w": [2, 3], "net/w/average": [2, 3], "global_step": []}
    np.testing.assert_array_equal(reader.get_tensor("net/w"), [[0, 1, 2], [3, 4, 5]])
    assert (reader.run_json(), checkpoints.step_of(str(written))) == (RUN, 7)


def test_any_tool_for_hdf5_shows_the_arrays(written):
    with h5py.File(written) as file:
        assert file["net/w/average:0"][()].tolist() == [[1, 1, 1], [1, 1, 1]]
        assert json.loads(file.attrs["run_json"]) == RUN


def test_a_damaged_array_is_found_by_its_checksum(written):
    content = bytearray(written.read_bytes())
    content[content.index(np.arange(6, dtype=np.float32).tobytes()) + 5] ^= 1
    written.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoints.check_intact(str(written))


def test_a_file_that_exists_is_not_replaced(written):
    with pytest.raises(OSError, match="exists"):
        hdf5.write(written, {}, RUN)


@pytest.mark.parametrize(
    "net",
    ["lenet", pytest.param("mobilenet_v1_025", marks=pytest.mark.slow)],  # with moving averages
)
def test_evaluation_takes_it_for_the_checkpoint(copied_run, make_dataset, evaluate, tmp_path, net):
    run, path = copied_run(net), tmp_path / "x.h5"
    arguments = [f"--checkpoint_path={run}", "--format=h5", f"--output_file={path}"]
    export_inference_graph.main(core_flags.parse(export_inference_graph.define, arguments))
    results = []
    for place in (run, path):
        evaluate(place, f"--dataset_dir={make_dataset()}", f"--eval_dir={tmp_path / 'eval'}")
        results.append(json.loads((tmp_path / "eval" / "results.json").read_text()))
    for name in ("accuracy", "loss", "recall_5", "global_step", "images"):
        assert results[0][name] == results[1][name]
    assert results[1]["checkpoint"] == str(path)


def test_training_starts_from_it(copied_run, make_dataset, train, tmp_path, variables_of):
    run, path = copied_run("lenet"), tmp_path / "x.h5"
    arguments = [f"--checkpoint_path={run}", "--format=h5", f"--output_file={path}"]
    export_inference_graph.main(core_flags.parse(export_inference_graph.define, arguments))
    frozen = [f"--checkpoint_path={path}", "--trainable_scopes=LeNet/fc4", "--optimizer=sgd"]
    train(make_dataset(), tmp_path / "run", "--max_number_of_steps=1", *frozen)
    before, after = variables_of(run / "model.ckpt-7"), variables_of(tmp_path / "run/model.ckpt-1")
    np.testing.assert_array_equal(before["LeNet/conv1/weights"], after["LeNet/conv1/weights"])
    assert (before["LeNet/fc4/weights"] != after["LeNet/fc4/weights"]).any()
