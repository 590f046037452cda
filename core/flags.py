"""absl flags in named groups, and the frozen configuration that code below the scripts is given."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from core.errors import FlagError

_HELP = {"--help", "-help", "-h", "--h", "-?", "--helpshort"}


class Group:
    """Defines flags under a heading of `--help`.

    Args:
        heading: what the flags are about, for example "Learning rate".
        flag_values: where to define them: absl's FLAGS in a script, an own object in a test.
    """

    def __init__(self, heading: str, flag_values: flags.FlagValues) -> None:
        self._heading = heading
        self._flag_values = flag_values

    def string(self, name: str, default: str | None, help_: str) -> None:
        """Defines a string flag."""
        self._define(flags.ArgumentParser(), name, default, help_)

    def strings(self, name: str, help_: str) -> None:
        """Defines a string flag that may be given several times: its value is a list of them."""
        flags.DEFINE_multi_string(
            name, [], help_, flag_values=self._flag_values, module_name=self._heading
        )

    def integer(
        self,
        name: str,
        default: int | None,
        help_: str,
        lower: int | None = None,
        upper: int | None = None,
    ) -> None:
        """Defines an integer flag within inclusive bounds."""
        self._define(flags.IntegerParser(lower, upper), name, default, help_)

    def float(
        self,
        name: str,
        default: float | None,
        help_: str,
        lower: float | None = None,
        upper: float | None = None,
    ) -> None:
        """Defines a number flag within inclusive bounds."""
        self._define(_FiniteParser(lower, upper), name, default, help_)

    def choice(self, name: str, default: str, choices: Sequence[str], help_: str) -> None:
        """Defines a flag with a closed set of values, which its help lists."""
        help_ = f"<{'|'.join(choices)}>: {help_}"
        self._define(flags.EnumParser(choices), name, default, help_)

    def boolean(self, name: str, default: bool | None, help_: str) -> None:
        """Defines a flag that is on or off."""
        flags.DEFINE_boolean(
            name, default, help_, flag_values=self._flag_values, module_name=self._heading
        )

    def shown(self, name: str, help_: str, text: Callable[[], str]) -> None:
        """Defines a flag like `--help`: prints a text and exits, and is no setting of a run."""
        flags.DEFINE_flag(_ShownFlag(name, help_, text), self._flag_values, self._heading)

    def _define(self, parser: flags.ArgumentParser, name: str, default: Any, help_: str) -> None:
        flags.DEFINE(
            parser,
            name,
            default,
            help_,
            flag_values=self._flag_values,
            serializer=flags.ArgumentSerializer(),
            module_name=self._heading,
        )


class _ShownFlag(flags.BooleanFlag):
    """Prints a text and exits with 0 as soon as it is read."""

    def __init__(self, name: str, help_: str, text: Callable[[], str]) -> None:
        super().__init__(name, False, help_)
        self._text = text

    def parse(self, argument: Any) -> None:
        if self._parse(argument):
            print(self._text(), flush=True)
            sys.exit(0)


class _FiniteParser(flags.FloatParser):
    """Refuses NaN and infinity, which the bounds of absl's own parser let pass."""

    def convert(self, argument: Any) -> float:
        value = super().convert(argument)
        if value != value or abs(value) == float("inf"):
            raise ValueError("not a finite number")
        return value


Define = Callable[[flags.FlagValues], None]


def parse(define: Define, arguments: Sequence[str]) -> Any:
    """The configuration that a command line gives, without touching absl's global FLAGS.

    Args:
        define: defines the flags of a script.
        arguments: the command line without the name of the script.

    Raises:
        FlagError: an unknown flag, or a value that a flag does not take.
    """
    flag_values = flags.FlagValues()
    define(flag_values)
    read_command_line(flag_values, ["", *arguments])
    return configuration(flag_values)


def read_command_line(flag_values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Parses a command line; FlagError for an unknown flag, a bad value or a stray argument.

    So is one that is not UTF-8: TensorFlow takes no such path, and no file that we write holds it.
    """
    for argument in argv[1:]:
        if not argument.isascii() and any("\ud800" <= c <= "\udfff" for c in argument):
            raise FlagError(f"not UTF-8: {argument!a}", remedy="rename the file or directory")
    try:
        rest = flag_values(list(argv))[1:]
    except (flags.Error, ValueError) as error:  # the latter: no UTF-8 in a --flagfile, --noflag=1
        what, _, suggestion = str(error).partition(" Did you mean:")
        suggestion = suggestion.strip(" ?")
        remedy = f"did you mean --{suggestion}?" if suggestion else "see --help"
        raise FlagError(" ".join(what.split()).rstrip("."), remedy=remedy) from None
    if rest:
        raise FlagError(f"unexpected argument {rest[0]!r}", remedy="flags start with --")


def configuration(flag_values: flags.FlagValues) -> Any:
    """The values of all grouped flags, as one frozen object.

    Its attribute `given` holds the names of the flags that were given by hand.
    """
    ours = _groups(flag_values)
    values = {
        flag.name: flag.value
        for group in ours.values()
        for flag in group
        if not isinstance(flag, _ShownFlag)
    }
    given = frozenset(flag.name for group in ours.values() for flag in group if flag.present)
    fields = [*values, ("given", frozenset, dataclasses.field(default=given, repr=False))]
    return dataclasses.make_dataclass("Configuration", fields, frozen=True)(**values)


def show_help_if_asked(flag_values: flags.FlagValues, argv: Sequence[str], about: str) -> None:
    """Prints the flags by group and exits with 0, if the command line asks for help."""
    if not _HELP.intersection(argv[1:]):
        return
    print(about.strip())
    for heading in _groups(flag_values):
        print(flag_values.module_help(heading))
    more = "A flag can also stand in a file that is named by --flagfile; --helpfull shows all."
    print(f"\n{more}", flush=True)
    sys.exit(0)


def _groups(flag_values: flags.FlagValues) -> dict[str, list[flags.Flag]]:
    """The flags that were defined through `Group`: their headings hold no dotted module name."""
    return {
        heading: defined
        for heading, defined in flag_values.flags_by_module_dict().items()
        if heading[:1].isupper()
    }
