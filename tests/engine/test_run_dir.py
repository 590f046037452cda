"""The run directory: flags.txt, run.json, and what may not change on a resume."""

import dataclasses
import json
import os
import re
import shutil

import pytest

from core import files
from core import flags as core_flags
from core.errors import CheckpointError, FlagError, LockedError
from engine import flags, run_dir

# What else the runs of `finished_run` were given; the threads are settled.
SAME = ("--dataset_name=shades", "--learning_rate_decay_type=fixed")


@pytest.fixture
def described(load, make_dataset, configured):
    """described("--flag=value", ..., data=) is (run, dataset, configuration)."""

    def described(*arguments, data=None):
        dataset = load(data or make_dataset())
        config = run_dir.settled(dataset, configured(*arguments))
        return run_dir.describe(dataset, config), dataset, config

    return described


def test_run_json(finished_run, make_dataset):
    content = json.loads((finished_run("mobilenet_v1_025") / "run.json").read_text())
    manifest = json.loads((make_dataset() / "dataset.json").read_text())
    environment, settings = content.pop("environment"), content.pop("settings")
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
        "depth_multiplier": None,
        "stem_stride": None,
        "head_units": 0,
        "dataset": {
            "split": "train",
            "samples": 10,
            "sha256": [manifest["splits"]["train"]["shards"][0]["sha256"]],
        },
        "validation": None,
    }
    assert environment.keys() == {
        *("python", "tensorflow", "numpy", "cpu", "onednn", "precision", "git_commit")
    }
    assert environment["precision"] == "float32"
    assert environment["tensorflow"].startswith("2.21")
    assert settings["seed"] == 0
    assert settings["optimizer"] == "rmsprop"
    cores = len(os.sched_getaffinity(0))
    assert settings["inter_op_threads"] == settings["intra_op_threads"] == cores
    # Each of these may differ when the run is resumed, without a consequence for the weights.
    assert not settings.keys() & {"max_number_of_steps", "train_dir", "save_interval_secs", "given"}


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


def test_steps_that_follow_from_epochs_can_be_given_anew(described, configured, tmp_path):
    run, dataset, config = described(f"--train_dir={tmp_path}", "--max_number_of_epochs=2")
    assert config.max_number_of_steps == 5  # 10 pictures in batches of 4
    with run_dir.opened(run, dataset, config):
        pass
    longer = configured(f"--flagfile={tmp_path}/flags.txt", "--max_number_of_epochs=4")
    assert run_dir.settled(dataset, longer).max_number_of_steps == 10


def test_read_gives_back_what_was_described(described, tmp_path):
    run, dataset, config = described(f"--train_dir={tmp_path}")
    with run_dir.opened(run, dataset, config) as directory:
        assert directory == tmp_path
    assert run_dir.read(tmp_path) == run
    assert run.num_classes == 3


def test_read_a_run_from_before_nets_had_a_size(described, tmp_path):
    run, dataset, config = described(f"--train_dir={tmp_path}", "--model_name=mobilenet_v1")
    with run_dir.opened(run, dataset, config):
        pass
    content = json.loads((tmp_path / "run.json").read_text())
    del content["depth_multiplier"], content["stem_stride"], content["head_units"]
    (tmp_path / "run.json").write_text(json.dumps(content))
    assert run_dir.read(tmp_path) == run


def test_read_without_and_with_damage(tmp_path):
    assert run_dir.read(tmp_path) is None
    for damaged in ("", "{", "[]", "{}", '{"model_name": "lenet"}'):
        (tmp_path / "run.json").write_text(damaged)
        with pytest.raises(CheckpointError, match=r"damaged.*run\.json"):
            run_dir.read(tmp_path)


def test_a_batch_larger_than_the_split(described):
    described("--batch_size=10")
    with pytest.raises(
        FlagError, match="--batch_size=11 is more than the 10 pictures of the train"
    ):
        described("--batch_size=11")


def test_more_steps_to_accumulate_than_steps(described):
    described("--accumulate_steps=5", "--max_number_of_epochs=2")
    message = "--accumulate_steps=6 is more than the 5 steps of the run"
    with pytest.raises(FlagError, match=message):
        described("--accumulate_steps=6", "--max_number_of_epochs=2")


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
        ("--stem_stride=1", "stem_stride None, now it is 1"),
        ("--head_units=8", "head_units 0, now it is 8"),
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


def test_what_may_change_on_a_resume(described, copied_run, caplog):
    directory = copied_run("lenet")
    free = ("--max_number_of_steps=9", "--save_interval_secs=5", "--num_preprocessing_threads=1")
    run, dataset, config = described(f"--train_dir={directory}", "--optimizer=sgd", *SAME, *free)
    with run_dir.opened(run, dataset, config):
        assert run_dir.read(directory).max_number_of_steps == 9
    assert json.loads((directory / "run.json").read_text())["changes"] == []
    assert not caplog.messages


@pytest.mark.parametrize(
    ("argument", "name", "before", "now"),
    [
        ("--optimizer=momentum", "optimizer", "sgd", "momentum"),
        ("--learning_rate=0.001", "learning_rate", 0.01, 0.001),
        ("--batch_size=5", "batch_size", 4, 5),
        ("--seed=3", "seed", 0, 3),
        ("--weight_decay=0", "weight_decay", 0.00004, 0.0),
        ("--intra_op_threads=7", "intra_op_threads", len(os.sched_getaffinity(0)), 7),
        ("--trainable_scopes=LeNet/fc4", "trainable_scopes", None, "LeNet/fc4"),
    ],
)
def test_a_change_of_the_training_has_to_be_allowed(
    described, copied_run, argument, name, before, now
):
    directory = copied_run("lenet")
    files_before = (directory / "flags.txt").read_text(), (directory / "run.json").read_text()
    given = (f"--train_dir={directory}", "--optimizer=sgd", *SAME, argument)
    run, dataset, config = described(*given)
    message = re.escape(f"--{name} was {before} in the run so far, now it is {now} (")
    with pytest.raises(FlagError, match=message), run_dir.opened(run, dataset, config):
        pass
    after = (directory / "flags.txt").read_text(), (directory / "run.json").read_text()
    assert after == files_before

    run, dataset, config = described(*given, "--allow_config_change")
    with run_dir.opened(run, dataset, config):
        pass
    assert "allow_config_change" not in (directory / "flags.txt").read_text()
    run, dataset, config = described(*given)  # that is now the run
    with run_dir.opened(run, dataset, config):
        pass
    changes = json.loads((directory / "run.json").read_text())["changes"]
    assert changes == [{"step": 7, name: [before, now]}]


def test_a_flag_that_a_run_is_older_than_had_its_default(described, copied_run):
    directory = copied_run("lenet")
    content = json.loads((directory / "run.json").read_text())
    del content["settings"]["focal_gamma"]
    (directory / "run.json").write_text(json.dumps(content))
    given = (f"--train_dir={directory}", "--optimizer=sgd", *SAME)
    message = "--focal_gamma was 0.0 in the run so far, now it is 2.0"
    other = run_dir.opened(*described(*given, "--focal_gamma=2"))
    with pytest.raises(FlagError, match=message), other:
        pass
    with run_dir.opened(*described(*given)):
        pass


def test_a_change_of_the_data_has_to_be_allowed(described, copied_run, make_dataset):
    directory = copied_run("lenet")
    given = (f"--train_dir={directory}", "--optimizer=sgd", *SAME)
    data = make_dataset(train=11)
    run, dataset, config = described(*given, data=data)
    message = r"train split is not the one .* \(10 pictures then, 11 now\)"
    with pytest.raises(FlagError, match=message), run_dir.opened(run, dataset, config):
        pass
    run, dataset, config = described(*given, "--allow_dataset_change", data=data)
    with run_dir.opened(run, dataset, config):
        (change,) = json.loads((directory / "run.json").read_text())["changes"]
    assert [record["samples"] for record in change["dataset"]] == [10, 11]


def test_data_that_were_moved_are_the_same(described, copied_run, make_dataset, tmp_path):
    directory = copied_run("lenet")
    moved = shutil.copytree(make_dataset(), tmp_path / "moved")
    given = (f"--train_dir={directory}", "--optimizer=sgd", *SAME)
    run, dataset, config = described(*given, data=moved)
    with run_dir.opened(run, dataset, config):
        assert run_dir.read(directory).dataset_dir == str(moved)


def test_another_machine_is_warned_about(described, copied_run, caplog):
    directory = copied_run("lenet")
    content = json.loads((directory / "run.json").read_text())
    content["environment"] |= {"tensorflow": "2.20.0", "cpu": "Z80", "precision": "?"}
    (directory / "run.json").write_text(json.dumps(content))
    run, dataset, config = described(f"--train_dir={directory}", "--optimizer=sgd", *SAME)
    with run_dir.opened(run, dataset, config):
        pass
    assert [line.split(",")[0] for line in caplog.messages] == [
        "tensorflow was 2.20.0 in the run so far",
        "cpu was Z80 in the run so far",
        "precision was ? in the run so far",
    ]


def test_threads_are_those_of_the_run_unless_given(
    load, make_dataset, configured, copied_run, tmp_path
):
    cores, dataset = len(os.sched_getaffinity(0)), load(make_dataset())

    def threads(*arguments):
        config = run_dir.settled(dataset, configured(*arguments))
        return config.inter_op_threads, config.intra_op_threads

    assert threads(f"--train_dir={tmp_path}") == (cores, cores)
    assert threads(f"--train_dir={tmp_path}", "--intra_op_threads=9") == (cores, 9)
    directory = copied_run("lenet")
    content = json.loads((directory / "run.json").read_text())
    content["settings"] |= {"inter_op_threads": 5, "intra_op_threads": 6}
    (directory / "run.json").write_text(json.dumps(content))
    assert threads(f"--train_dir={directory}") == (5, 6)
    assert threads(f"--train_dir={directory}", "--inter_op_threads=1") == (1, 6)
    assert "threads" not in (directory / "flags.txt").read_text().replace(
        "preprocessing_threads", ""
    )


def test_it_is_held_and_swept(described, tmp_path):
    run, dataset, config = described(f"--train_dir={tmp_path}")
    (tmp_path / ".tmp-1-interrupted").mkdir()
    with run_dir.opened(run, dataset, config):
        assert files.is_locked(tmp_path)
        assert not files.unfinished(tmp_path)
        with pytest.raises(LockedError), run_dir.opened(run, dataset, config):
            pass
    assert not files.is_locked(tmp_path)
