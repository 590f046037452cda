"""What is best, what lies on the Pareto front, how numbers are shown."""

import pytest

from inference.comparison import tables
from inference.comparison.online import Spread
from inference.comparison.tables import OFFLINE, ONLINE, Comparison, Table

COLUMNS = {column.key: column for column in (*OFFLINE, *ONLINE)}


def table(key, **values):
    return Table("", (COLUMNS[key],), {name: {key: value} for name, value in values.items()})


@pytest.mark.parametrize(
    ("key", "values", "best"),
    [
        ("top_1", {"a": 0.5, "b": 0.75, "c": None}, {"b"}),
        ("cross_entropy", {"a": 0.5, "b": 0.75}, {"a"}),
        ("top_1", {"a": 0.75, "b": 0.75, "c": 0.5}, {"a", "b"}),
        ("roc_auc", {"a": 1.0, "b": 0.99999, "c": 0.9998}, {"a", "b"}),  # both are 1.0000
        ("top_1", {"a": 0.5, "b": None}, set()),  # no choice
        ("top_1", {"a": None, "b": None}, set()),
        ("latency_ms", {"a": Spread(2, 1, 9), "b": Spread(3, 0.5, 4)}, {"a"}),  # by the median
        ("best_batch", {"a": Spread(8, 8, 8), "b": Spread(16, 16, 16)}, set()),
    ],
)
def test_the_best_of_a_column(key, values, best):
    assert table(key, **values).best(COLUMNS[key]) == best


def test_columns_without_any_value_are_left_out():
    rows = {"a": {"top_1": 0.5, "mcc": None}, "b": {"flops": 0}}
    assert [c.key for c in Table("", OFFLINE, rows).measured()] == ["top_1", "flops"]


@pytest.mark.parametrize(
    ("points", "front"),
    [
        # As a staircase: b is slower than a and more accurate, c is dominated by b, d is the best.
        ({"d": (0.9, 50), "c": (0.7, 9), "b": (0.8, 5), "a": (0.6, 1)}, ["a", "b", "d"]),
        ({"a": (0.8, 5), "b": (0.8, 6)}, ["a"]),  # as accurate, but slower
        ({"a": (0.7, 5), "b": (0.8, 5)}, ["b"]),  # as fast, but less accurate
        ({"a": (0.8, 5), "b": (0.8, 5)}, ["a", "b"]),
        ({"a": (0.1, 9)}, ["a"]),
        ({}, []),
    ],
)
def test_the_pareto_front(points, front):
    assert tables.pareto_front(points) == front


def test_the_front_is_of_the_models_of_which_both_are_known():
    offline = {"a": {"top_1": 0.9}, "b": {"top_1": None}, "c": {"top_1": 0.8}, "d": {"top_1": 0.7}}
    online = {name: {"latency_ms": Spread(t, t, t)} for name, t in (("a", 3), ("b", 1), ("c", 2))}
    first, second = Table("", OFFLINE, offline), Table("", ONLINE, online)
    found = Comparison({}, {}, {"repeats": 3}, first, second, {})
    assert found.points == {"a": (0.9, Spread(3, 3, 3)), "c": (0.8, Spread(2, 2, 2))}
    assert found.front == ["c", "a"]
    assert found.front_told.endswith("the fastest first: c, a.")  # there is no other model
    alone = Comparison({}, {}, {"repeats": 0}, first, None, {})
    assert (alone.points, alone.front, alone.front_told, alone.spread_told) == ({}, [], "", "")


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("top_1", 0.98765, "98.77"),
        ("mcc", -0.5, "-0.5000"),
        ("parameters", 3_274_634, "3.27 M"),
        ("parameters", 320, "320"),
        ("parameters", 999_400, "999 k"),
        ("parameters", 999_950, "1.00 M"),
        ("flops", 11.46e9, "11.5 G"),
        ("bytes", 1_300_000, "1.30 MB"),
        ("bytes", 999, "999 B"),
        ("training_seconds", 59.94, "59.9 s"),
        ("training_seconds", 90, "1.50 min"),
        ("training_seconds", 3 * 86400, "72.0 h"),
        ("evaluation_seconds", 0.0, "0 s"),
        ("latency_ms", Spread(0.012345, 0.01, 0.02), "0.0123"),
        ("images_per_second", Spread(12345.6, 1, 2), "12346"),
        ("top_1", None, "-"),
    ],
)
def test_numbers_as_people_read_them(key, value, text):
    assert COLUMNS[key].shown(value) == text


def test_the_ends_of_a_spread():
    latency = COLUMNS["latency_ms"]
    assert latency.ends(Spread(2, 1.5, 30)) == "1.50\N{EN DASH}30.0"
    assert latency.ends(Spread(2, 2, 2)) == latency.ends(None) == ""
