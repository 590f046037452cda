"""What a run remembers beside its weights, worked out by hand."""

import csv
from types import SimpleNamespace

import pytest

from core.compat import tf
from engine import history
from engine.history import History, State


def settings(**changed):
    values = {
        "best_metric": "accuracy",
        "early_stopping_patience": None,
        "early_stopping_min_delta": 0.0,
        "learning_rate_decay_type": "fixed",
        "plateau_patience": 2,
        "plateau_factor": 0.1,
        "head_only_steps": 0,
        "validate_every_n_steps": None,
        "validate_every_n_epochs": None,
        "batch_size": 4,
    }
    return SimpleNamespace(**{**values, **changed})


def after(values, **changed):
    """The state after validations of those values at steps 10, 20, ..."""
    state = State()
    for number, value in enumerate(values, 1):
        state = history.validated(state, 10 * number, value, settings(**changed))
    return state


@pytest.mark.parametrize(
    ("metric", "values", "reference", "step", "waited"),
    [
        ("accuracy", [0.5, 0.4, 0.6], 0.6, 30, 0),
        ("accuracy", [0.5, 0.5, 0.4, 0.5], 0.5, 10, 3),  # as good is no improvement
        ("loss", [0.5, 0.4, 0.6], 0.4, 20, 1),
        ("accuracy", [0.0, 0.0], 0.0, 10, 1),
        ("mcc", [-0.5, None, -0.1, None], -0.1, 30, 1),
        ("mcc", [None, None], 0.0, 0, 2),
    ],
)
def test_waiting_for_an_improvement(metric, values, reference, step, waited):
    state = after(values, best_metric=metric)
    assert (state.reference, state.reference_step, state.waited) == (reference, step, waited)


def test_an_improvement_is_by_more_than_min_delta_over_all_that_was_waited():
    # 0.5 to 0.56 are three small steps, of which none counts but their sum does.
    state = after([0.5, 0.52, 0.54, 0.5625], early_stopping_min_delta=0.0625)
    assert (state.reference, state.waited) == (0.5, 3)
    state = after([0.5, 0.52, 0.54, 0.57], early_stopping_min_delta=0.0625)
    assert (state.reference, state.waited) == (0.57, 0)


def test_early_stopping():
    patient = settings(early_stopping_patience=2)
    assert not history.stops_early(after([0.5, 0.4]), patient)
    assert history.stops_early(after([0.5, 0.4, 0.3]), patient)
    assert not history.stops_early(after([0.5, 0.4, 0.3]), settings())


def test_a_plateau_lowers_the_rate_again_and_again():
    values = [0.5, 0.4, 0.4, 0.4, 0.4, 0.4]
    plateau = {"learning_rate_decay_type": "plateau"}
    assert after(values[:2], **plateau).factor == 1
    assert after(values[:3], **plateau).factor == pytest.approx(0.1)
    assert after(values[:4], **plateau).factor == pytest.approx(0.1)
    assert after(values[:5], **plateau).factor == pytest.approx(0.01)
    assert after([*values[:4], 0.6, 0.5], **plateau).factor == pytest.approx(0.1)
    assert after(values).factor == 1
    assert after(values, **plateau).waited == 5  # early stopping counts on


def test_nothing_is_waited_for_while_the_head_alone_is_trained():
    values = [0.5, 0.4, 0.4, 0.4, 0.4]
    state = after(values, head_only_steps=30, learning_rate_decay_type="plateau")
    assert (state.reference, state.waited, state.factor) == (0.5, 2, pytest.approx(0.1))
    assert after(values[:3], head_only_steps=30).waited == 0


@pytest.fixture
def made(tmp_path):
    """made(epoch_size, setting=value, ...) is a History in a graph of its own."""

    def made(epoch_size, **changed):
        with tf.Graph().as_default():
            return History(tmp_path, epoch_size, settings(**changed))

    return made


@pytest.mark.parametrize(
    ("epoch_size", "changed", "due"),
    [
        (10, {}, [3, 5, 8, 10]),  # 12, 20, 32 and 40 pictures: epochs end inside of batches
        (8, {}, [2, 4, 6, 8, 10]),
        (10, {"validate_every_n_epochs": 2}, [5, 10]),
        (10, {"validate_every_n_epochs": 0.5}, [2, 3, 4, 5, 7, 8, 9, 10]),
        (2, {}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (10, {"validate_every_n_steps": 4}, [4, 8]),
    ],
)
def test_when_rows_are_due(made, epoch_size, changed, due):
    record = made(epoch_size, **changed)
    assert [step for step in range(11) if record.is_due(step)] == due


def test_rows(made, tmp_path):
    record = made(8)
    for loss, accuracy in ((3.0, 0.25), (2.0, 0.75)):
        record.add(loss, accuracy)
    scores = {"loss": 1.5, "accuracy": 0.5, "balanced_accuracy": 0.25, "f1_macro": 1 / 3}
    assert record.end_row(2, 0.1, {**scores, "mcc": None})
    record.add(1.0, 1.0)
    assert not record.end_row(3, 0.05, {**scores, "mcc": None})  # not due, and not better
    record.add(0.5, 1.0)
    assert not record.end_row(4, 0.025, None)
    record.write()
    with (tmp_path / "history.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == [
        *("step", "epoch", "learning_rate", "training_loss", "training_accuracy"),
        *("validation_loss", "validation_accuracy", "validation_balanced_accuracy"),
        *("validation_f1_macro", "validation_mcc"),
    ]
    assert rows == [
        ["2", "1.0", "0.1", "2.5", "0.5", "1.5", "0.5", "0.25", "0.3333333333333333", ""],
        ["3", "1.5", "0.05", "1.0", "1.0", "1.5", "0.5", "0.25", "0.3333333333333333", ""],
        ["4", "2.0", "0.025", "0.75", "1.0", "", "", "", "", ""],  # of both steps
    ]
    assert (record.state.best, record.state.best_step) == (0.5, 2)
    assert (record.state.row, record.state.steps, record.state.waited) == (4, 0, 0)


def test_a_row_before_any_step_has_no_means(made):
    record = made(8)
    record.end_row(2, 0.1, None)  # a run that had no history goes on from there
    assert record.rows == [["2", "1.0", "0.1", *[""] * 7]]


def test_the_last_row_counts_for_the_best_and_for_nothing_else(made):
    record = made(8)
    record.add(2.0, 0.5)
    assert record.end_row(1, 0.1, dict.fromkeys(("loss", "accuracy"), 0.7))
    state = record.state
    assert (state.best, state.best_step) == (0.7, 1)
    assert (state.row, state.steps, state.loss, state.reference_step) == (0, 1, 2.0, 0)


def test_a_checkpoint_holds_the_state_and_takes_later_rows_back(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        record = History(tmp_path, 8, settings(learning_rate_decay_type="plateau"))
        session.run(tf.global_variables_initializer())
        factor = [session.run(record.factor)]
        for step, accuracy in ((2, 0.5), (4, 0.25), (6, 0.25), (8, 0.75)):
            record.add(0.1, 0.3)
            record.end_row(step, 0.1, {"accuracy": accuracy})
            record.store(session)
            factor.append(session.run(record.factor))
            if step == 6:
                record.add(0.7, 0.9)
                record.store(session)
                saved = record.state
                values = session.run(record._variable)
        record.write()
        record.store(session)
        assert factor == pytest.approx([1, 1, 1, 0.1, 0.1])
        assign = record._variable.initializer
        session.run(assign, {assign.inputs[1]: values})  # as restoring a checkpoint does
        record.restart(session)
        assert record.state == saved
        assert [row[0] for row in record.rows] == ["2", "4", "6"]


def test_values_of_another_metric_are_no_measure():
    state = after([0.5, 0.4, 0.3])._replace(row=30.0, factor=0.1, metric=1.0)
    assert history.measured(state, settings()) == state
    by_loss = history.measured(state, settings(best_metric="loss"))
    assert by_loss == State(row=30.0, factor=0.1)  # loss is the first of all metrics
    assert history.validated(by_loss, 40, 0.9, settings(best_metric="loss")).reference == 0.9


@pytest.mark.parametrize("content", [b"", b"step\n1\n", b"\xff\xfe", b"a,b\n1,2\n"])
def test_another_file_in_its_place(tmp_path, content, caplog):
    (tmp_path / "history.csv").write_bytes(content)
    caplog.set_level("WARNING", logger="absl")
    assert history.read(tmp_path / "history.csv") == []
    assert "is not a history" in caplog.text
