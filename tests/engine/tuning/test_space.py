"""The lines of a search space, and what is told of those that cannot be searched."""

import dataclasses

import pytest

import tune_image_classifier
from core import flags as core_flags
from core.errors import FlagError
from engine.tuning import space


def configured(*arguments):
    return core_flags.parse(tune_image_classifier.define, arguments)


def parsed(*lines):
    return space.parse([(line, "here") for line in lines])


def checked(line, **fixed):
    fixed = {"dataset_dir": "data", "model_name": "lenet", **fixed}
    space.check(parsed(line), fixed)


def test_the_kinds_of_lines():
    found = parsed(
        "learning_rate log 1e-4 0.1",
        "  label_smoothing   uniform 0 0.2 ",
        "--batch_size int 8 16",
        "optimizer\tchoice\tadam sgd",
    )
    assert [(one.flag, one.kind, one.values) for one in found] == [
        ("learning_rate", "log", ("0.0001", "0.1")),
        ("label_smoothing", "uniform", ("0.0", "0.2")),
        ("batch_size", "int", ("8", "16")),
        ("optimizer", "choice", ("adam", "sgd")),
    ]
    assert [one.ends for one in found[:3]] == [(0.0001, 0.1), (0.0, 0.2), (8, 16)]
    assert str(found[2]) == "batch_size int 8 16"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learning_rate", "after the flag comes one of log, uniform, int, choice"),
        ("learning_rate 1e-4 1e-1", "after the flag comes one of log, uniform, int, choice"),
        ("learning_rate log 1e-4", "log goes from one number to another"),
        ("learning_rate log 1e-4 1e-3 1e-2", "log goes from one number to another"),
        ("batch_size int 8 8.5", "int goes from one whole number to another"),
        ("learning_rate log 0 1", "the logarithm wants numbers above 0"),
        ("learning_rate uniform 1 0.1", "the first number is more than the second"),
        ("learning_rate uniform 0 inf", "or one is too large"),
        ("learning_rate uniform nan 1", "or one is too large"),
        (f"batch_size int 1 {'9' * 400}", "or one is too large"),
        ("optimizer choice", "a choice is among one or more values, all different"),
        ("optimizer choice adam adam", "a choice is among one or more values, all different"),
    ],
)
def test_a_line_that_is_none(line, message):
    with pytest.raises(FlagError) as error:
        parsed(line)
    assert message in error.value.what
    assert error.value.where == "here"


def test_lines_come_from_flags_and_from_a_file(tmp_path):
    path = tmp_path / "space.txt"
    path.write_text("# what matters\n\nlearning_rate log 1e-3 1e-1  # wide\n", encoding="utf-8")
    config = configured(
        *(f"--search_file={path}", "--search=optimizer choice adam sgd; momentum uniform 0 1;"),
        "--search=batch_size int 8 16",
    )
    found = space.of(config)
    assert [one.flag for one in found] == ["optimizer", "momentum", "batch_size", "learning_rate"]
    assert [one.where for one in found] == ["--search"] * 3 + [f"{path}:3"]


def test_a_search_file_that_cannot_be_read(tmp_path):
    path = tmp_path / "space.txt"
    with pytest.raises(FlagError, match="No such file"):
        space.of(configured(f"--search_file={path}"))
    path.write_bytes(b"optimizer choice \xff")
    with pytest.raises(FlagError, match="not UTF-8"):
        space.of(configured(f"--search_file={path}"))
    path.write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(FlagError, match="nothing is searched"):
        space.of(configured(f"--search_file={path}"))


def test_a_flag_is_searched_once_and_not_given():
    with pytest.raises(FlagError, match="--momentum is searched twice"):
        parsed("momentum uniform 0 1", "momentum uniform 0 0.5")
    with pytest.raises(FlagError, match="--momentum is given and searched"):
        space.of(configured("--momentum=0.9", "--search=momentum uniform 0 1"))


def test_the_default_space_is_less_what_is_given():
    names = [line.split()[0] for line in space.DEFAULT.split("\n") if line]
    assert [one.flag for one in space.of(configured())] == names
    rest = [name for name in names if name not in ("optimizer", "learning_rate")]
    given = configured("--optimizer=sgd", "--learning_rate=0.1")
    assert [one.flag for one in space.of(given)] == rest
    all_given = dataclasses.replace(configured(), given=frozenset(names))
    with pytest.raises(FlagError, match="nothing is searched"):
        space.of(all_given)


def test_the_default_space_is_one_that_training_takes():
    space.check(space.of(configured()), {"dataset_dir": "data", "model_name": "mobilenet_v1"})


def test_the_flags_that_are_the_same_for_all_trials():
    config = configured(
        *("--study_dir=study", "--num_trials=3", "--search=momentum uniform 0 1"),
        *("--use_nesterov", "--learning_rate=1e-3", "--dataset_dir=data"),
    )
    fixed = space.fixed_flags(config)
    assert fixed == {"dataset_dir": "data", "learning_rate": "0.001", "use_nesterov": "True"}
    assert space.lines(fixed) == [
        "--dataset_dir=data",
        "--learning_rate=0.001",
        "--use_nesterov=True",
    ]


@pytest.mark.parametrize(
    ("line", "message", "remedy"),
    [
        ("learning_rat log 1e-4 1", "Unknown command line flag 'learning_rat'", "--learning_rate"),
        ("num_trials int 1 2", "Unknown command line flag 'num_trials'", ""),
        ("nouse_nesterov choice true false", "does not take an argument", ""),
        ("undefok choice a", "--undefok is no flag of training", ""),
        ("train_dir choice a b", "the same for all trials", ""),
        ("best_metric choice loss accuracy", "the same for all trials", ""),
        ("batch_size uniform 8 16", "--batch_size takes whole numbers", "use int or choice"),
        ("batch_size int 0 16", "flag --batch_size=0", ""),
        ("label_smoothing uniform 0 1.5", "flag --label_smoothing=1.5", ""),
        ("optimizer choice adam sdg", "Optimizer [sdg] was not recognized", "sgd"),
        ("use_nesterov choice yes true", "flag --use_nesterov=yes", ""),
        ("image_size_schedule choice 8:1 8", "'8' is not a size and an epoch", ""),
    ],
)
def test_values_are_looked_at_before_any_trial(line, message, remedy):
    with pytest.raises(FlagError) as error:
        checked(line)
    assert message in error.value.what
    assert remedy in error.value.remedy
    assert error.value.where == "here"


def test_values_are_looked_at_beside_the_flags_that_are_given():
    checked("checkpoint_exclude_scopes choice LeNet/fc4", checkpoint_path="run")
    with pytest.raises(FlagError, match="goes with --checkpoint_path"):
        checked("checkpoint_exclude_scopes choice LeNet/fc4")
