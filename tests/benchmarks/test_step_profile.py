from benchmarks import step_profile


def test_what_takes_longest_comes_first():
    operations = {"Relu": [3.0, 0.25], "Conv2D": [2.0, 0.75]}
    assert step_profile.table(operations) == [("Conv2D", 2, 0.75, 0.75), ("Relu", 3, 0.25, 0.25)]


def test_the_rest_is_summed_up():
    operations = {f"Op{i}": [1.0, 2.0**-i] for i in range(1, 11)}
    rows = step_profile.table(operations)
    assert [name for name, *_ in rows] == [*(f"Op{i}" for i in range(1, 9)), "all others"]
    assert rows[-1][1:3] == (2, 2.0**-9 + 2.0**-10)
    assert sum(share for *_, share in rows) == 1
