import pytest

from core import errors
from core.errors import DataError, ExitCode, FlagError, Stopped


@pytest.mark.parametrize(
    ("where", "remedy", "expected"),
    [
        ("", "", "label 10"),
        ("a.bin:3", "", "label 10 (a.bin:3)"),
        ("", "drop it", "label 10 - drop it"),
        ("a.bin:3", "drop it", "label 10 (a.bin:3) - drop it"),
    ],
)
def test_the_message_holds_what_where_and_remedy(where, remedy, expected):
    error = DataError("label 10", where=where, remedy=remedy)
    assert str(error) == expected
    assert (error.what, error.where, error.remedy) == ("label 10", where, remedy)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("ClassifierError", 1),
        ("FlagError", 2),
        ("DataError", 3),
        ("MachineError", 4),
        ("CheckpointError", 5),
        ("LockedError", 6),
        ("DivergedError", 7),
        ("MissedError", 8),
    ],
)
def test_each_kind_has_its_exit_code(kind, code):
    assert getattr(errors, kind)("x").exit_code == code


@pytest.mark.parametrize(
    ("signal_number", "code"), [(2, ExitCode.INTERRUPTED), (15, ExitCode.TERMINATED)]
)
def test_a_stop_has_the_code_a_shell_gives_to_its_signal(signal_number, code):
    assert Stopped(signal_number, "saved at step 7").exit_code is code


def test_flag_and_data_errors_are_value_errors_as_users_of_research_slim_expect():
    with pytest.raises(ValueError, match="unknown"):
        raise FlagError("unknown")
    with pytest.raises(ValueError, match="damaged"):
        raise DataError("damaged")
