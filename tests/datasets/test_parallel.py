import threading

import pytest

from datasets import parallel


def test_results_come_in_the_order_of_the_items_whatever_ends_first():
    second_is_done = threading.Event()

    def double(number):
        if number == 1:
            assert second_is_done.wait(timeout=30)
        if number == 2:
            second_is_done.set()
        return 2 * number

    assert list(parallel.in_order(double, [1, 2, 3], workers=2)) == [2, 4, 6]


@pytest.mark.parametrize("workers", [1, 3])
def test_few_items_are_taken_ahead(workers):
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    for number in parallel.in_order(lambda item: item, items(), workers):
        assert len(taken) <= number + 2 * workers + 1
    assert taken == list(range(100))


def test_an_error_comes_out_at_its_place():
    results = parallel.in_order(lambda item: 6 // item, [1, 2, 0, 3], workers=2)
    assert [next(results), next(results)] == [6, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_who_stops_early_waits_for_nothing_more():
    done = []
    results = parallel.in_order(done.append, range(1000), workers=1)
    next(results)
    results.close()
    assert len(done) <= 4  # of the 3 that were taken, and one in the thread
