"""The run directory: flags.txt, run.json, and what may not change on a resume."""

import dataclasses
import json

import pytest

from core import files
from core import flags as core_flags
from core.errors import CheckpointError, FlagError, LockedError
from engine import flags, run_dir


@pytest.fixture
def described(load, make_dataset, configured):
    """described("--flag=value", ..., data=) is (run, dataset, configuration)."""

    def described(*arguments, data=None):
        dataset, config = load(data or make_dataset()), configured(*arguments)
        return run_dir.describe(dataset, config), dataset, config

    return described


def test_run_json(finished_run, make_dataset):
    content = json.loads((finished_run("mobilenet_v1_025") / "run.json").read_text())
    manifest = json.loads((make_dataset() / "dataset.json").read_text())
    environment = content.pop("environment")
    assert isinstance(content.pop("command"), list)
    assert content == {
        "dataset_name": "shades",
        "dataset_dir": str(make_dataset()),
        "model_name": "mobilenet_v1_025",
        "preprocessing_name": "inception",
        "image_size": 16,
        "channels": 3,
        "use_grayscale": False,
        "class_names": ["shade0", "shade1", "shade2"],
        "labels_offset": 0,
        "moving_average_decay": 0.9,
        "max_number_of_steps": 7,
        "seed": 0,
        "dataset": {
            "split": "train",
            "samples": 10,
            "sha256": [manifest["splits"]["train"]["shards"][0]["sha256"]],
        },
    }
    assert environment.keys() >= {"python", "tensorflow", "numpy", "git_commit"}
    assert environment["tensorflow"].startswith("2.21")
    assert environment["inter_op_threads"] == environment["intra_op_threads"] == 0


def test_flags_txt_gives_the_configuration_back(finished_run, make_dataset):
    run = finished_run("cifarnet")
    again = core_flags.parse(flags.define_training, [f"--flagfile={run / 'flags.txt'}"])
    defaults = core_flags.parse(flags.define_training, [])
    changed = {
        name: value
        for name, value in dataclasses.asdict(again).items()
        if name != "given" and value != getattr(defaults, name)
    }
    assert changed == {
        "train_dir": str(run),
        "dataset_dir": str(make_dataset()),
        "dataset_name": "shades",
        "model_name": "cifarnet",
        "preprocessing_name": "cifarnet",
        "train_image_size": 8,
        "batch_size": 4,
        "max_number_of_steps": 7,
        "save_interval_steps": 4,
        "save_summaries_steps": 3,
        "optimizer": "momentum",
        "num_epochs_per_decay": 1.0,
    }


@pytest.mark.parametrize(
    ("argument", "attribute", "value"),
    [
        ("--train_dir=/a b/#c=d", "train_dir", "/a b/#c=d"),
        ("--ignore_missing_vars", "ignore_missing_vars", True),
        ("--moving_average_decay=0.9999", "moving_average_decay", 0.9999),
        ("--opt_epsilon=1e-08", "opt_epsilon", 1e-8),
        ("--trainable_scopes=A/b,C", "trainable_scopes", "A/b,C"),
    ],
)
def test_values_survive_flags_txt(described, tmp_path, argument, attribute, value):
    run, dataset, config = described(argument)
    with run_dir.opened(run, dataset, dataclasses.replace(config, train_dir=str(tmp_path))):
        # The value that stands in the file is that of the run, its directory here apart.
        text = (tmp_path / "flags.txt").read_text()
    if attribute == "train_dir":
        text = text.replace(str(tmp_path), config.train_dir)
    (tmp_path / "again").write_text(text)
    again = core_flags.parse(flags.define_training, [f"--flagfile={tmp_path / 'again'}"])
    assert getattr(again, attribute) == value


def test_read_gives_back_what_was_described(described, tmp_path):
    run, dataset, config = described(f"--train_dir={tmp_path}")
    with run_dir.opened(run, dataset, config) as directory:
        assert directory == tmp_path
    assert run_dir.read(tmp_path) == run
    assert run.num_classes == 3


def test_read_without_and_with_damage(tmp_path):
    assert run_dir.read(tmp_path) is None
    for damaged in ("", "{", "[]", "{}", '{"model_name": "lenet"}'):
        (tmp_path / "run.json").write_text(damaged)
        with pytest.raises(CheckpointError, match=r"damaged.*run\.json"):
            run_dir.read(tmp_path)


def test_too_few_classes(described):
    with pytest.raises(FlagError, match="3 classes less --labels_offset=2 leave 1, need at least"):
        described("--labels_offset=2")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--model_name=cifarnet", "model_name lenet, now it is cifarnet"),
        ("--preprocessing_name=vgg", "preprocessing_name lenet, now it is vgg"),
        ("--train_image_size=12", "image_size 8, now it is 12"),
        ("--use_grayscale", "use_grayscale False, now it is True"),
        ("--labels_offset=1", "labels_offset 0, now it is 1"),
        ("--moving_average_decay=0.9", "moving_average_decay None, now it is 0.9"),
    ],
)
def test_what_may_not_change_on_a_resume(described, copied_run, argument, message):
    directory = copied_run("lenet")
    before = (directory / "flags.txt").read_text(), (directory / "run.json").read_text()
    run, dataset, config = described(f"--train_dir={directory}", argument)
    with (
        pytest.raises(FlagError, match=f"the run was made with {message}"),
        run_dir.opened(run, dataset, config),
    ):
        pass
    assert ((directory / "flags.txt").read_text(), (directory / "run.json").read_text()) == before


def test_classes_may_not_change_on_a_resume(described, copied_run, make_dataset):
    directory = copied_run("lenet")
    data = make_dataset(classes=4)
    run, dataset, config = described(f"--train_dir={directory}", data=data)
    message = "class_names shade0, shade1, shade2, now it is shade0, shade1, shade2, shade3"
    with pytest.raises(FlagError, match=message), run_dir.opened(run, dataset, config):
        pass


def test_what_may_change_on_a_resume(described, copied_run):
    directory = copied_run("lenet")
    run, dataset, config = described(f"--train_dir={directory}", "--max_number_of_steps=9")
    with run_dir.opened(run, dataset, config):
        assert run_dir.read(directory).max_number_of_steps == 9


def test_it_is_held_and_swept(described, tmp_path):
    run, dataset, config = described(f"--train_dir={tmp_path}")
    (tmp_path / ".tmp-1-interrupted").mkdir()
    with run_dir.opened(run, dataset, config):
        assert files.is_locked(tmp_path)
        assert not files.unfinished(tmp_path)
        with pytest.raises(LockedError), run_dir.opened(run, dataset, config):
            pass
    assert not files.is_locked(tmp_path)
