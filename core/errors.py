"""What a user is told when something goes wrong: one line, and an exit code that says which kind.

    error: <what> (<file>:<where>) - <what to do>

Code raises one of the classes below; `core.script.run` prints it and exits with its code. Whatever
else escapes is sorted by `core.script.classified`, so no traceback reaches a user unless `--debug`
asks for it.
"""

import enum


class ExitCode(enum.IntEnum):
    """Exit codes of every script."""

    OK = 0
    BUG = 1
    FLAGS = 2  # bad flags, or flags that contradict the data or the checkpoint
    DATA = 3  # bad input data; the message names the file
    ENVIRONMENT = 4  # disk, permissions, memory, network
    CHECKPOINT = 5  # no usable checkpoint or model
    LOCKED = 6  # the directory is in use by another process
    DIVERGED = 7  # NaN or Inf in the loss or in the weights
    MISSED = 8  # a required result was not reached
    INTERRUPTED = 130  # SIGINT, after saving
    TERMINATED = 143  # SIGTERM, after saving


class ClassifierError(Exception):
    """An error with a remedy, told to the user in one line.

    Args:
        what: what is wrong, with the values that show it.
        where: the file (and record, line or offset) it is about, if there is one.
        remedy: what to do about it.
    """

    exit_code = ExitCode.BUG

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(
            what + (f" ({where})" if where else "") + (f" - {remedy}" if remedy else "")
        )


class FlagError(ClassifierError, ValueError):
    """Bad flags or arguments, or ones that contradict the data or the checkpoint."""

    exit_code = ExitCode.FLAGS


class DataError(ClassifierError, ValueError):
    """Bad input data."""

    exit_code = ExitCode.DATA


class MachineError(ClassifierError):
    """The machine refuses: disk, permissions, memory, network."""

    exit_code = ExitCode.ENVIRONMENT


class CheckpointError(ClassifierError):
    """No usable checkpoint or model."""

    exit_code = ExitCode.CHECKPOINT


class LockedError(ClassifierError):
    """The directory is in use by another process."""

    exit_code = ExitCode.LOCKED


class DivergedError(ClassifierError):
    """NaN or Inf in the loss or in the weights."""

    exit_code = ExitCode.DIVERGED


class MissedError(ClassifierError):
    """A result that was required was not reached."""

    exit_code = ExitCode.MISSED


class Stopped(ClassifierError):  # noqa: N818 - not a fault
    """A signal ended the run, after what was reached had been saved."""

    def __init__(self, signal_number: int, what: str) -> None:
        super().__init__(what)
        self.exit_code = ExitCode(128 + signal_number)
