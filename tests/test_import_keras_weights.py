"""The script that imports weights of keras.applications, on files that Keras wrote."""

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

import import_keras_weights as script
from core import flags as core_flags
from engine import checkpoints, keras_weights, run_dir

NET, SIZE = "mobilenet_v1_025", 32


def write_as_downloaded(model, path):
    """In the layout of the files that Keras downloads."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path


@pytest.fixture(scope="module")
def model():
    return keras_weights.application(NET, 3, SIZE)


@pytest.fixture(scope="module")
def weights(model, tmp_path_factory):
    return write_as_downloaded(model, tmp_path_factory.mktemp("keras") / "mobilenet.h5")


def import_(weights, directory, *arguments):
    given = [f"--model_name={NET}", f"--weights={weights}", f"--output_dir={directory}"]
    script.main(core_flags.parse(script.define, [*given, f"--image_size={SIZE}", *arguments]))
    return directory


def tensor(directory, name):
    return checkpoints.reader(checkpoints.prefix(directory, 0)).get_tensor(name)


def test_what_is_written_is_a_run(model, weights, run_script, tmp_path):
    labels, out = tmp_path / "labels.txt", tmp_path / "out"
    labels.write_text("0:cat\n1:dog: big\n2:Fuß\n", encoding="utf-8")
    given = [f"--model_name={NET}", f"--weights={weights}", f"--output_dir={out}"]
    more = [f"--image_size={SIZE}", "--num_classes=3", f"--labels_file={labels}"]
    done = run_script("import_keras_weights.py", *given, *more)
    assert (done.returncode, done.stdout) == (
        0,
        f"wrote mobilenet_0.25_32 of Keras as {NET} to {out}\n",
    )
    assert "Traceback" not in done.stderr
    run = run_dir.read(out)
    assert (run.model_name, run.image_size, run.preprocessing_name) == (NET, SIZE, "inception")
    assert run.class_names == ("cat", "dog: big", "Fuß")
    assert checkpoints.resolve(str(out)) == checkpoints.prefix(out, 0)  # intact
    first, norm = model.get_layer("conv1").kernel, model.get_layer("conv_pw_13_bn").moving_variance
    np.testing.assert_array_equal(tensor(out, "MobilenetV1/Conv2d_0/weights"), first.numpy())
    name = "MobilenetV1/Conv2d_13_pointwise/BatchNorm/moving_variance"
    np.testing.assert_array_equal(tensor(out, name), norm.numpy())
    assert len(checkpoints.shapes_of(checkpoints.prefix(out, 0))) == 137


def test_a_file_of_save_weights(model, tmp_path):
    model.save_weights(tmp_path / "x.weights.h5")
    out = import_(tmp_path / "x.weights.h5", tmp_path / "out", "--num_classes=3")
    assert run_dir.read(out).class_names == ("0", "1", "2")
    head = model.get_layer("conv_preds").bias.numpy()
    np.testing.assert_array_equal(tensor(out, "MobilenetV1/Logits/Conv2d_1c_1x1/biases"), head)


@pytest.mark.slow
def test_weights_without_a_head_are_fine_tuned(tmp_path, tiny_dataset, caplog):
    import train_image_classifier
    from engine import flags

    headless = keras_weights.application(NET, 0, SIZE)
    path = write_as_downloaded(headless, tmp_path / "notop.h5")
    out = import_(path, tmp_path / "out", "--num_classes=0")
    assert not (out / "run.json").exists()
    run = [f"--train_dir={tmp_path / 'run'}", f"--dataset_dir={tiny_dataset}", "--batch_size=4"]
    net = [f"--model_name={NET}", f"--train_image_size={SIZE}", f"--checkpoint_path={out}"]
    steps = ["--dataset_name=tiny", "--max_number_of_steps=1", "--learning_rate=0"]
    config = core_flags.parse(flags.define_training, [*run, *net, *steps])
    caplog.set_level("INFO", logger="absl")
    train_image_classifier.main(config)
    assert "The head MobilenetV1/Logits is new: the checkpoint has none" in caplog.text
    assert "Restored 135 of 137 model variables" in caplog.text
    kernel = headless.get_layer("conv_pw_13").kernel.numpy()
    before = "MobilenetV1/Conv2d_13_pointwise/weights"
    np.testing.assert_array_equal(tensor(tmp_path / "run", before), kernel)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ({"model_name": None}, 2, "--model_name is needed"),
        ({"weights": None}, 2, "--weights is needed"),
        ({"output_dir": None}, 2, "--output_dir is needed"),
        ({"model_name": "lenet"}, 2, "keras.applications has no lenet - known: mobilenet_v1, "),
        ({"weights": "{tmp}/none.h5"}, 5, "no such file ({tmp}/none.h5)"),
        ({"weights": "{tmp}/text.h5"}, 5, "not a file of weights: "),
        ({"weights": "{tmp}/cut.h5"}, 5, "not a file of weights: "),
        ({"num_classes": 4}, 2, "MobileNet of Keras does not take that: "),
        ({"model_name": "mobilenet_v1_050"}, 2, "MobileNet of Keras does not take that: "),
        ({"image_size": 31}, 2, "MobileNet of Keras does not take that: Input size must be"),
        ({"labels_file": "{tmp}/two.txt"}, 2, "the file names 2 classes, not 0 to 2"),
        ({"labels_file": "{tmp}/text.h5"}, 3, "not an id:name line ({tmp}/text.h5:1)"),
        ({"output_dir": "{tmp}"}, 2, "the directory is not empty"),
    ],
)
def test_what_does_not_go(weights, failure, tmp_path, arguments, code, message):
    (tmp_path / "text.h5").write_text("no weights")
    (tmp_path / "two.txt").write_text("0:cat\n2:dog\n")
    (tmp_path / "cut.h5").write_bytes(weights.read_bytes()[:300_000])
    given = {"model_name": NET, "weights": weights, "output_dir": "{tmp}/out", "num_classes": 3}
    given |= {"image_size": SIZE} | arguments
    flags = [f"--{name}={value}" for name, value in given.items() if value is not None]
    found, line = failure(script, *(flag.format(tmp=tmp_path) for flag in flags))
    assert found == code
    assert message.format(tmp=tmp_path) in line
    assert "\n" not in line
    assert not list(tmp_path.glob("out/*"))


def test_no_network(monkeypatch, failure, tmp_path):
    """Stands for one that is down, where there is one."""

    def get_file(*_, **__):
        raise Exception("URL fetch failure on https://example.com: None -- unknown name\nmore")

    monkeypatch.setattr(keras.src.applications.mobilenet.file_utils, "get_file", get_file)
    given = [f"--model_name={NET}", "--weights=imagenet", f"--output_dir={tmp_path}/out"]
    assert failure(script, *given) == (
        4,
        "cannot download the weights: URL fetch failure on https://example.com: None -- unknown "
        "name",
    )
