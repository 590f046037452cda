"""How every script starts and ends: flags, log, one line for an error, the right exit code."""

import contextlib
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from absl import app, logging
from absl import flags as absl_flags

from core import flags
from core.errors import ClassifierError, DataError, ExitCode, MachineError, Stopped

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BROKEN_PIPE = 128 + 13  # what a shell reports for a program that SIGPIPE ended
_STOP = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_AGAIN_SECONDS = 0.2

_stopped_by: list[int] = []  # the signals that have come


def run(main: Callable[[Any], None], define: flags.Define, about: str) -> NoReturn:
    """Runs a script.

    Args:
        main: does the work; it is given the configuration.
        define: defines the flags of the script on the FlagValues it is given.
        about: what `--help` prints above the flags.
    """

    def define_all(flag_values: absl_flags.FlagValues) -> None:
        define(flag_values)
        group = flags.Group("Messages", flag_values)
        group.boolean("debug", False, "Show the traceback of an error.")

    def parse(argv: list[str]) -> list[str]:
        define_all(absl_flags.FLAGS)
        with _errors_told(debug="--debug" in argv):
            flags.show_help_if_asked(absl_flags.FLAGS, argv, about)
            try:
                flags.read_command_line(absl_flags.FLAGS, argv)
            except SystemExit:  # absl's other help flags exit with 1
                _flush()
                sys.exit(ExitCode.OK)
        if not absl_flags.FLAGS["showprefixforinfo"].present:
            absl_flags.FLAGS.showprefixforinfo = False
        if not absl_flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.INFO)
        return argv[:1]

    def guarded(_: list[str]) -> None:
        with _errors_told(debug=absl_flags.FLAGS.debug):
            main(flags.configuration(absl_flags.FLAGS))
            _flush()

    for number in _STOP:
        signal.signal(number, _stop)
    signal.signal(signal.SIGALRM, _stop_again)
    app.run(guarded, flags_parser=parse)
    raise AssertionError("app.run always exits")


def _stop(number: int, _frame: Any) -> NoReturn:
    """Unwinds, so that what was begun is cleared away."""
    _stopped_by.append(number)
    # An exception at any moment can hit a library's `except:` or a destructor, and be lost there.
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS, _AGAIN_SECONDS)
    sys.unraisablehook = lambda _: None
    raise KeyboardInterrupt


def _stop_again(_number: int, _frame: Any) -> None:
    """Unwinds once more, unless that is going on."""
    if sys.exc_info()[1] is None:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _errors_told(*, debug: bool) -> Iterator[None]:
    """Exits with the line and the code of whatever exception the block raises."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        _exit_with(error, debug=debug)


def _flush() -> None:
    """Delivers what was printed while there is still someone to tell if it fails."""
    print(end="", flush=True)


def _exit_with(error: BaseException, *, debug: bool) -> NoReturn:
    for number in _STOP:  # one more signal ends the process without a word
        signal.signal(number, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        _flush()
    except OSError:
        # Nobody reads on, or the disk is full; keep the interpreter, which flushes once more at
        # exit, from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        sys.exit(_BROKEN_PIPE)
    if debug:
        traceback.print_exception(error)
    if _stopped_by:  # whatever the interrupted code made of it
        print(_STOP[_stopped_by[0]], file=sys.stderr)
        sys.exit(128 + _stopped_by[0])
    known = classified(error)
    if isinstance(known, Stopped):
        print(known, file=sys.stderr)
        sys.exit(known.exit_code)
    if known:
        print(f"error: {_one_line(known)}", file=sys.stderr)
        sys.exit(known.exit_code)
    print(
        f"error: unexpected {type(error).__name__}: {_one_line(error)} - "
        "this is a bug; --debug shows where",
        file=sys.stderr,
    )
    sys.exit(ExitCode.BUG)


def classified(error: BaseException) -> ClassifierError | None:
    """The error in the terms of `core.errors`, or None if it can only be a bug.

    TensorFlow's errors are told by the names of their classes, so that a script which fails before
    it needs TensorFlow does not import it.
    """
    if isinstance(error, ClassifierError):
        return error
    if isinstance(error, MemoryError):
        return MachineError("out of memory", remedy="try a smaller --batch_size")
    if isinstance(error, OSError):
        remedy = "free some space" if error.errno in _DISK_FULL else ""
        where = os.fsdecode(error.filename) if error.filename is not None else ""
        return MachineError(error.strerror or str(error), where=where, remedy=remedy)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "OpError" not in kinds:
        return None
    message = str(getattr(error, "message", error))
    if "No space left" in message or "File too large" in message:
        return MachineError("disk full", remedy="free some space")
    if "ResourceExhaustedError" in kinds:
        return MachineError(f"out of memory: {message}", remedy="try a smaller --batch_size")
    if "PermissionDeniedError" in kinds:
        return MachineError(message)
    if "DataLossError" in kinds:
        return DataError(message, remedy="the file is damaged")
    return None


def _one_line(error: BaseException) -> str:
    """The message without line breaks, cut where TensorFlow starts to quote the graph."""
    text = str(error).split("\n\nOriginal stack trace", 1)[0].split("\n\t [[", 1)[0]
    return " ".join(text.split())[:1000]
