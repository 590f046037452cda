"""A study on disk: what is drawn, what is remembered, what is damaged."""

import math
import sqlite3

import pytest
from optuna.trial import TrialState

import tune_image_classifier
from core import flags as core_flags
from core.errors import CheckpointError, FlagError, LockedError, MachineError
from engine.tuning import space
from engine.tuning import study as studies

SPACE = ("learning_rate log 1e-4 1", "optimizer choice adam sgd", "num_readers int 1 3")


@pytest.fixture
def opened(tmp_path):
    """opened("--flag=value", ...) opens the study of the test, of SPACE if not told."""

    def opened(*arguments, lines=SPACE, directory=tmp_path / "study"):
        config = core_flags.parse(tune_image_classifier.define, arguments)
        searched = space.parse([(line, "here") for line in lines])
        return studies.opened(directory, searched, space.fixed_flags(config), config)

    return opened


def try_out(study, count):
    """Lets trials find that adam at a learning rate of 0.01 is best; gives what was drawn."""
    drawn = []
    for _ in range(count):
        trial = study.draw()
        drawn.append(trial.params)
        value = -abs(math.log10(trial.params["learning_rate"]) + 2)
        value -= trial.params["optimizer"] == "sgd"
        study.report(trial, [value])
        study.end(trial, TrialState.COMPLETE, value)
    return drawn


def test_the_best_is_found(opened):
    with opened() as study:
        drawn = try_out(study, 20)
        assert [trial.number for trial in study.trials] == list(range(20))
        best = study.best
        assert best.value == max(trial.value for trial in study.trials) > -0.3
        assert best.params["optimizer"] == "adam"
        assert 0.005 < best.params["learning_rate"] < 0.02
        shares = study.importance()
    assert {params["optimizer"] for params in drawn} == {"adam", "sgd"}
    assert {params["num_readers"] for params in drawn} == {1, 2, 3}
    assert all(1e-4 <= params["learning_rate"] <= 1 for params in drawn)
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares)[-1] == "num_readers"  # it has no part in the value


def test_a_study_that_is_interrupted_draws_what_it_would_have_drawn(opened, tmp_path):
    with opened("--seed=3") as study:
        drawn = try_out(study, 12)  # the first 10 are random
    again = []
    for count in (1, 8, 2, 1):
        with opened("--seed=3", directory=tmp_path / "again") as study:
            again += try_out(study, count)
    assert again == drawn
    with opened("--seed=4", directory=tmp_path / "other") as study:
        assert try_out(study, 1) != drawn[:1]


def test_ties_and_the_loss(opened, tmp_path):
    for metric, best in (("accuracy", 1), ("loss", 0)):
        directory = tmp_path / metric
        with opened(f"--best_metric={metric}", directory=directory) as study:
            assert study.best is None
            for value in (0.25, 0.5, 0.5, 0.25):
                study.end(study.draw(), TrialState.COMPLETE, value)
            study.end(study.draw(), TrialState.FAIL)
            assert study.best.number == best
            assert len(study.finished) == 5


def test_an_unfinished_trial_is_gone_on_with(opened):
    with opened() as study:
        first = study.draw()
        study.report(first, [0.1, 0.2])
        study.note(first, seconds=1.5, reason=None)
    with opened() as study:
        (again,) = study.unfinished()
        assert again.params == first.params
        assert again.user_attrs == {"seconds": 1.5}
        assert study.report(again, [0.1, 0.2, 0.4]) is None
        assert study.trials[0].intermediate_values == {1: 0.1, 2: 0.2, 3: 0.4}
        study.end(again, TrialState.COMPLETE, 0.4)
        assert study.unfinished() == []


def test_a_trial_below_the_median_is_pruned(opened):
    with opened() as study:
        for value in (0.5, 0.6, 0.7, 0.8, 0.9):  # the median pruner waits for five
            trial = study.draw()
            assert study.report(trial, [0.1, value]) is None
            study.end(trial, TrialState.COMPLETE, value)
        good, bad = study.draw(), study.draw()
        assert study.report(good, [0.1, 0.71]) is None
        assert study.report(bad, [0.1, 0.69, 0.9]) == 2
        assert study.trials[bad.number].intermediate_values == {1: 0.1, 2: 0.69}
    with opened() as study:  # it was killed before it could say so
        assert study.report(study.unfinished()[1], [0.1, 0.69, 0.9]) == 2
    with opened("--pruner=none", lines=SPACE[:1], directory=study.directory / "other") as other:
        for value in (0.9, 0.9, 0.9, 0.9, 0.9, 0.1):
            assert other.report(other.draw(), [value]) is None


def test_hyperband_goes_by_the_length_of_the_first_trial(opened):
    with opened("--pruner=hyperband") as study:
        trial = study.draw()
        assert study.report(trial, [0.5] * 9) is None
        study.end(trial, TrialState.COMPLETE, 0.5)
        ends = []
        for number in range(8):
            trial = study.draw()
            ends.append(study.report(trial, [number % 2] * 9))
            state = TrialState.COMPLETE if ends[-1] is None else TrialState.PRUNED
            study.end(trial, state, 1.0 if ends[-1] is None else None)
    assert {None} < set(ends) <= {None, 1, 3}  # rungs are powers of 3
    assert all(end is None for end in ends[1::2])


def test_failures_count_until_a_trial_gets_somewhere(opened):
    def fail(study, code, values=()):
        trial = study.draw()
        study.report(trial, values)
        study.note(trial, reason="...", exit_code=code)
        study.end(trial, TrialState.FAIL)
        return len(study.failures())

    with opened() as study:
        assert [fail(study, 2), fail(study, 1), fail(study, 7)] == [1, 2, 0]
    with opened(directory=study.directory / "other") as study:
        assert [fail(study, 2), fail(study, 2, [0.5]), fail(study, 2)] == [1, 0, 0]


def test_what_cannot_change(opened):
    same = "--momentum=0.5"
    with opened(same):
        pass
    wider = (*SPACE[:2], "num_readers int 1 4")
    readers = "the search of num_readers was num_readers int 1 3 in the study so far, now it is "
    for arguments, lines, message in (
        ([same, "--adam_beta1=0.5"], SPACE, "--adam_beta1 was not given in the study so far, "),
        (["--momentum=0.8"], SPACE, "--momentum was 0.5 in the study so far, now it is 0.8"),
        ([], SPACE, "--momentum was 0.5 in the study so far, now it is not given"),
        ([same, "--seed=1"], SPACE, "--seed was 0 in the study so far, now it is 1"),
        ([same, "--pruner=none"], SPACE, "--pruner was median in the study so far, "),
        ([same, "--best_metric=loss"], SPACE, "--best_metric was accuracy in the study so far, "),
        ([same], SPACE[:2], f"{readers}not given"),
        ([same], wider, f"{readers}num_readers int 1 4"),
    ):
        with pytest.raises(FlagError) as error, opened(*arguments, lines=lines):
            pass
        assert error.value.what.startswith(message)
    with opened(same, "--num_trials=7", "--parallel_trials=2", "--timeout_minutes=1"):
        pass


def test_one_process_at_a_time(opened):
    with opened(), pytest.raises(LockedError, match="in use by process"), opened():
        pass


def test_a_directory_with_a_name_that_is_no_url(opened, tmp_path):
    directory = tmp_path / "a ?b=c#d%20é"
    for count in (1, 2):
        with opened(directory=directory) as study:
            study.draw()
            assert len(study.trials) == count
    assert (directory / studies.DATABASE).is_file()


def test_a_damaged_database(opened, tmp_path):
    with opened() as study:
        try_out(study, 3)
    path = tmp_path / "study" / studies.DATABASE
    whole = path.read_bytes()
    zeroed = whole[:4096] + bytes(len(whole) - 4096)
    for content in (b"no!" + whole[3:], whole[:20_000], zeroed, b"", b"mine"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged: ") as error, opened():
            pass
        assert error.value.where == str(path)
    path.write_bytes(whole)
    with opened() as study:
        assert len(study.trials) == 3


def test_trials_whose_database_is_gone(opened, tmp_path):
    with opened():
        (tmp_path / "study" / "trial_0000").mkdir()
    (tmp_path / "study" / studies.DATABASE).unlink()
    with pytest.raises(CheckpointError, match="there are directories of trials"), opened():
        pass


def test_a_study_directory_that_is_a_file(opened, tmp_path):
    (tmp_path / "study").write_text("mine", encoding="utf-8")
    with pytest.raises(MachineError, match="cannot make the directory"), opened():
        pass


def test_what_sqlite_leaves_of_a_study_that_cannot_begin(opened, tmp_path, monkeypatch):
    """A transaction that could not even be taken back keeps its journal."""
    connections = []

    def half(storage, **_):
        connections.append(storage.engine.connect())
        connections[0].exec_driver_sql("CREATE TABLE half (a)")
        connections[0].exec_driver_sql("INSERT INTO half VALUES (1)")
        (journal,) = (tmp_path / "study").rglob("*-journal")
        raise sqlite3.OperationalError(f"no room beside {journal}")

    monkeypatch.setattr(studies.optuna, "create_study", half)
    with pytest.raises(MachineError), opened():
        pass
    assert [path.name for path in (tmp_path / "study").iterdir()] == [".lock"]


def test_a_full_disk(opened, no_file_beyond, tmp_path):
    for size in (100, 8192, 50_000):  # what makes the file has several transactions
        with pytest.raises(MachineError), no_file_beyond(size), opened():
            pass
        assert [path.name for path in (tmp_path / "study").iterdir()] == [".lock"]
    with opened() as study:
        try_out(study, 2)
    size = (tmp_path / "study" / studies.DATABASE).stat().st_size
    with pytest.raises(MachineError) as error, no_file_beyond(size), opened() as study:
        try_out(study, 200)
    assert error.value.where.endswith(studies.DATABASE)
    with opened() as study:
        finished = len(study.finished)
        assert 2 <= finished <= len(study.trials) <= finished + 1
        for trial in study.unfinished():
            assert trial.params.keys() == {"learning_rate", "optimizer", "num_readers"}
        try_out(study, 1)
    with sqlite3.connect(tmp_path / "study" / studies.DATABASE) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
