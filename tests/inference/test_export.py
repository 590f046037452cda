import errno
import shutil
from pathlib import Path

import numpy as np
import pytest

import export_inference_graph
from core import flags as core_flags
from core.compat import tf
from core.errors import CheckpointError, DivergedError, FlagError
from datasets import images
from engine import checkpoints, run_dir
from inference import export as exporting
from inference import predictor, source


@pytest.fixture(scope="module")
def encoded(colour_folder):
    return [images.load(file.read_bytes()).encoded for file in sorted(colour_folder.rglob("*.png"))]


def test_sample_pictures_are_the_same_every_time_and_of_several_shapes():
    samples = exporting.sample_pictures(3)
    assert len(samples) == 16
    assert samples == exporting.sample_pictures(3)
    assert len({(image.height, image.width) for image in map(images.load, samples)}) == 16


def test_a_saved_model_is_one_for_tensorflow_itself(exported, colour_model, encoded):
    expected = colour_model.probabilities(encoded)
    path = str(exported("saved_model"))
    with tf.Graph().as_default(), tf.Session() as session:
        loaded = tf.saved_model.load(session, ["serve"], path)
        signatures = loaded.signature_def
        assert sorted(signatures) == ["images", "serving_default"]
        serving = signatures["serving_default"]
        outputs = {key: info.name for key, info in serving.outputs.items()}
        found = session.run(outputs, {serving.inputs["image_bytes"].name: encoded})
        floats = signatures["images"]
        assert [d.size for d in floats.inputs["images"].tensor_shape.dim] == [-1, 8, 8, 3]
        prepared = np.zeros([2, 8, 8, 3], np.float32)
        of_zeros = session.run(
            floats.outputs["probabilities"].name, {floats.inputs["images"].name: prepared}
        )
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
    np.testing.assert_allclose(found["probability"], expected.max(axis=1), atol=1e-6)
    assert found["class"].tolist() == [b"blue"] * 4 + [b"green"] * 4 + [b"red"] * 4
    assert of_zeros.shape == (2, 3)
    assert (exported("saved_model") / "labels.txt").read_text() == "0:red\n1:green\n2:blue\n"


def test_batch_norm_is_folded_in_an_export(finished_mobilenet, export, tmp_path):
    export(finished_mobilenet, tmp_path / "x.pb", "--format=frozen")
    graph = tf.GraphDef.FromString((tmp_path / "x.pb").read_bytes())
    operations = {node.op for node in graph.node}
    assert "FusedBatchNormV3" not in operations
    assert "DepthwiseConv2dNative" in operations
    assert not any("Variable" in operation for operation in operations)


@pytest.fixture(scope="session")
def finished_mobilenet(tiny_dataset, tmp_path_factory):
    """A short run of a net with batch norm, moving averages and a head of one's own."""
    import train_image_classifier
    from engine import flags

    directory = tmp_path_factory.mktemp("mobilenet")
    arguments = [
        *(f"--train_dir={directory}", f"--dataset_dir={tiny_dataset}", "--dataset_name=tiny"),
        *("--model_name=mobilenet_v1_025", "--train_image_size=16", "--batch_size=8"),
        *("--max_number_of_steps=3", "--moving_average_decay=0.5", "--batch_norm_decay=0.5"),
        *("--learning_rate=0.001", "--head_units=24", "--head_dropout=0.3"),
    ]
    train_image_classifier.main(core_flags.parse(flags.define_training, arguments))
    return directory


@pytest.mark.parametrize("format_", [("saved_model", "1"), ("tflite", "x.tflite"), ("h5", "x.h5")])
def test_moving_averages_are_what_is_exported(
    finished_mobilenet, export, tmp_path, encoded, format_
):
    name, file = format_
    export(finished_mobilenet, tmp_path / file, f"--format={name}")
    run = run_dir.read(finished_mobilenet)
    assert run.moving_average_decay == 0.5
    read = source.read(str(finished_mobilenet), run, predictor.Machine())
    found = predictor.open_model(str(tmp_path / file)).probabilities(encoded)
    np.testing.assert_allclose(found, read.probabilities(encoded), atol=1e-5)


def test_int8_is_smaller_and_close_and_its_accuracy_is_printed(
    finished_mobilenet, export, tmp_path, capsys
):
    export(finished_mobilenet, tmp_path / "x.tflite", "--format=tflite")
    export(finished_mobilenet, tmp_path / "q.tflite", "--format=tflite", "--quantize")
    sizes = [(tmp_path / name).stat().st_size for name in ("x.tflite", "q.tflite")]
    assert sizes[1] < 0.5 * sizes[0]
    assert "accuracy on 12 pictures of the test split: " in capsys.readouterr().out


def test_int8_can_be_calibrated_by_any_pictures(colour_run, export, tmp_path, colour_folder):
    given = ["--format=tflite", "--quantize", f"--calibration_images={colour_folder}"]
    export(colour_run, tmp_path / "q.tflite", *given)
    model = predictor.open_model(str(tmp_path / "q.tflite"))
    files = sorted(colour_folder.rglob("*.png"))
    found = model.probabilities([images.load(file.read_bytes()).encoded for file in files])
    assert found.argmax(axis=1).tolist() == [2] * 4 + [1] * 4 + [0] * 4


def test_an_hdf5_file_is_a_checkpoint_for_everything(exported, colour_run, export, tmp_path):
    path = exported("h5")
    export(path, tmp_path / "x.pb", "--format=frozen")  # an export of an export
    assert predictor.open_model(str(tmp_path / "x.pb")).model.version == 60
    reader, original = (
        checkpoints.reader(str(path)),
        checkpoints.reader(str(colour_run / "model.ckpt-60")),
    )
    names = reader.get_variable_to_shape_map()
    # Weights and biases of four layers, and the step; nothing of the optimizer.
    assert len(names) == 9
    for name in names:
        np.testing.assert_array_equal(reader.get_tensor(name), original.get_tensor(name))


def test_an_export_that_differs_is_not_written(colour_run, export, tmp_path, monkeypatch):
    """The comparison is with the net as trained: other weights in the export are found."""
    from engine import freezing

    frozen = freezing.Freezer.frozen

    def tampered(self, checkpoint, config):
        graph = frozen(self, checkpoint, config)
        bias = next(node for node in graph.node if node.name == "LeNet/fc4/biases")
        value = tf.make_ndarray(bias.attr["value"].tensor) + np.float32([0.01, 0, 0])
        bias.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        return graph

    monkeypatch.setattr(freezing.Freezer, "frozen", tampered)
    with pytest.raises(DivergedError, match=r"the export differs by 0\.00\d+ from the checkpoint"):
        export(colour_run, tmp_path / "x.pb", "--format=frozen")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "output", "message"),
    [
        (["--format=frozen"], "x.onnx", r"ends in \.pb"),
        (["--format=onnx"], "x", r"ends in \.onnx"),
        (["--format=saved_model"], "x.pb", "is a directory"),
        (["--format=frozen", "--quantize"], "x.pb", "--quantize is built for --format=tflite"),
        (["--calibration_images=x"], "x", "goes with --quantize"),
        (["--is_video_model"], "x", "--is_video_model is not built"),
        (["--num_frames=3"], "x", "--is_video_model is not built"),
        (["--is_training"], "x", "--is_training goes without --checkpoint_path"),
        (["--batch_size=3"], "x", "--batch_size goes without --checkpoint_path"),
        (["--model_name=cifarnet"], "x", "--model_name=cifarnet contradicts the run"),
        (["--image_size=9"], "x", "--image_size=9 contradicts the run"),
        (["--labels_offset=1"], "x", "--labels_offset=1 contradicts the run"),
        (["--use_grayscale"], "x", "--use_grayscale=True contradicts the run"),
    ],
)
def test_flags_that_do_not_go_together(colour_run, export, tmp_path, arguments, output, message):
    with pytest.raises(FlagError, match=message):
        export(colour_run, tmp_path / output, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_never_replaced(exported, colour_run, export):
    path = exported("frozen")
    before = path.read_bytes()
    with pytest.raises(FlagError, match="exists already"):
        export(colour_run, path, "--format=frozen")
    assert path.read_bytes() == before


def test_what_a_killed_export_has_left_is_removed_by_the_next(colour_run, export, tmp_path):
    left = tmp_path / ".tmp-999999999-abc-x.pb"
    left.write_bytes(b"half")
    of_another = tmp_path / ".tmp-999999999-abc-y.pb"
    of_another.write_bytes(b"half")
    (tmp_path / ".tmp-999999999-abc-x.pb.sha256").write_bytes(b"half")
    export(colour_run, tmp_path / "x.pb", "--format=frozen")
    assert sorted(p.name for p in tmp_path.iterdir()) == [of_another.name, "x.pb", "x.pb.sha256"]


def test_no_checksum_is_left_of_an_export_that_fails_at_the_last_moment(
    colour_run, export, tmp_path, monkeypatch
):
    """The disk fills while the finished file is flushed."""

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("core.files._sync", full)
    with pytest.raises(OSError, match="No space left"):
        export(colour_run, tmp_path / "x.pb", "--format=frozen")
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_without_a_run_is_described_by_flags(
    colour_run, colour_model, export, tmp_path, tiny_dataset, encoded
):
    run = Path(shutil.copytree(colour_run, tmp_path / "run"))
    (run / run_dir.RUN_FILE).unlink()
    given = ["--format=frozen", "--model_name=lenet", "--image_size=8"]
    export(run, tmp_path / "x.pb", *given, "--dataset_name=tiny", f"--dataset_dir={tiny_dataset}")
    model = predictor.open_model(str(tmp_path / "x.pb"))
    assert model.model.class_names == ("red", "green", "blue")
    expected = colour_model.probabilities(encoded)
    np.testing.assert_allclose(model.probabilities(encoded), expected, atol=1e-6)
    with pytest.raises(FlagError, match="the checkpoint has 3 classes"):
        export(run, tmp_path / "y.pb", *given, "--dataset_name=cifar10")


def test_there_has_to_be_a_checkpoint(tmp_path, export):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        export(tmp_path / "none" / "model.ckpt-1", tmp_path / "x")


@pytest.fixture
def write_graph(tmp_path):
    """write_graph("--flag=value", ...) is the graph without weights that the script writes."""

    def write_graph(*arguments):
        path = tmp_path / "graph.pb"
        path.unlink(missing_ok=True)
        given = [f"--output_file={path}", *arguments]
        export_inference_graph.main(core_flags.parse(export_inference_graph.define, given))
        return path.read_bytes()

    return write_graph


@pytest.mark.parametrize(
    ("arguments", "shape", "classes"),
    [
        (["--model_name=inception_v1"], [-1, 224, 224, 3], 1001),
        (["--model_name=mobilenet_v1", "--labels_offset=1"], [-1, 224, 224, 3], 1000),
        (["--model_name=resnet_v1_50", "--image_size=32"], [-1, 32, 32, 3], 1001),
        (["--model_name=mobilenet_v1", "--use_grayscale"], [-1, 224, 224, 1], 1001),
        (["--model_name=cifarnet", "--dataset_name=cifar10"], [-1, 32, 32, 3], 10),
        (["--model_name=lenet", "--dataset_name=mnist", "--batch_size=7"], [7, 28, 28, 1], 10),
    ],
)
def test_a_graph_without_weights_is_that_of_research_slim(write_graph, arguments, shape, classes):
    content = tf.GraphDef.FromString(write_graph(*arguments))
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(content, name="")
    images_ = graph.get_tensor_by_name("input:0")
    assert images_.dtype == tf.float32
    assert [-1 if d is None else d for d in images_.shape.as_list()] == shape
    scope = {
        "inception_v1": "InceptionV1/Logits/Predictions",
        "mobilenet_v1": "MobilenetV1/Predictions",
    }
    name = arguments[0].removeprefix("--model_name=")
    scope |= {"resnet_v1_50": "resnet_v1_50/predictions", "cifarnet": "CifarNet/Predictions"}
    output = graph.get_tensor_by_name(f"{scope.get(name, 'Predictions')}/Reshape_1:0")
    assert output.shape.as_list()[-1] == classes


def test_the_graph_of_training_has_dropout(write_graph):
    given = ["--model_name=cifarnet", "--dataset_name=cifar10"]
    counts = [
        sum("Random" in node.op for node in tf.GraphDef.FromString(content).node)
        for content in (write_graph(*given), write_graph(*given, "--is_training"))
    ]
    # Of the initial values alone, and with a draw per step.
    assert counts[0] < counts[1]


def test_a_graph_can_be_text(write_graph):
    content = write_graph("--model_name=lenet", "--dataset_name=mnist", "--write_text_graphdef")
    assert b'node {\n  name: "input"\n  op: "Placeholder"\n' in content


def test_a_graph_needs_to_know_its_classes(write_graph):
    with pytest.raises(FlagError, match=r"nothing tells the classes of|unknown"):
        write_graph("--model_name=lenet", "--dataset_name=pets")


def test_a_graph_needs_two_classes(write_graph):
    with pytest.raises(FlagError, match="10 classes less --labels_offset=9 leave 1"):
        write_graph("--model_name=lenet", "--dataset_name=mnist", "--labels_offset=9")


def test_an_output_file_is_needed():
    config = core_flags.parse(export_inference_graph.define, [])
    with pytest.raises(FlagError, match="You must supply the path to save to with --output_file"):
        export_inference_graph.main(config)
