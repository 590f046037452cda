import pytest

from core import extras
from core.errors import ExitCode, MachineError


def test_what_is_there_is_enough():
    extras.need("any", "json", "absl")


def test_what_is_missing_is_named_with_the_command_that_installs_it():
    with pytest.raises(MachineError) as error:
        extras.need("serve", "json", "no_such_a", "no_such_b")
    assert str(error.value) == (
        "no_such_a, no_such_b are not installed - pip install -c constraints.txt -e '.[serve]'"
    )
    assert error.value.exit_code == ExitCode.ENVIRONMENT
