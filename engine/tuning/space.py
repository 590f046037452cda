"""The search space: which flags of training are searched, and among which values.

A line of it, on the command line or in a file, is one of

    learning_rate log 1e-4 1e-1              a number; its logarithm is drawn evenly
    head_dropout uniform 0.2 0.5             a number
    randaugment_layers int 0 2               a whole number, both ends included
    optimizer choice adam momentum sgd       one of the values
"""

import contextlib
import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import flags as absl_flags

from core import flags as core_flags
from core.errors import FlagError
from engine import flags

# What fine-tuning a net on few pictures is most sensitive to; a flag that is given is left out.
DEFAULT = """
optimizer choice adam momentum rmsprop
learning_rate log 1e-4 1e-1
head_units choice 64 128 256 512
head_dropout uniform 0.2 0.5
rotation_degrees uniform 0 30
zoom_range uniform 0 0.3
randaugment_layers int 0 2
"""

_RANGES = ("log", "uniform", "int")
_LARGEST_INT = 2**53  # they are drawn as float64
_EXAMPLES = "learning_rate log 1e-4 1e-1, or optimizer choice adam sgd"
# What trials are compared on, and where each of them is kept.
_SAME_FOR_ALL = {
    *("train_dir", "dataset_dir", "dataset_name", "dataset_split_name"),
    *("validation_split_name", "best_metric", "preview_augmentation"),
}


@dataclasses.dataclass(frozen=True)
class Searched:
    """A flag that is searched.

    Args:
        flag: its name.
        kind: log, uniform, int or choice.
        values: both ends of a range, or all values of a choice; as they are passed to the flag.
        where: the line that says so, for messages.
    """

    flag: str
    kind: str
    values: tuple[str, ...]
    where: str = dataclasses.field(default="", compare=False)

    def __str__(self) -> str:
        return " ".join((self.flag, self.kind, *self.values))

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends of a range; whole numbers of an int."""
        number = int if self.kind == "int" else float
        low, high = self.values
        return number(low), number(high)


def of(config: Any) -> tuple[Searched, ...]:
    """The space that --search and --search_file give, or the default one.

    Args:
        config: of the tuning script; read here: search, search_file and which flags were given.

    Raises:
        FlagError: a line is not one of the above, or a flag is searched and given or searched
            twice.
    """
    lines = list(_given_lines(config))
    if not lines and not (config.search or config.search_file):
        rest = [line for line in DEFAULT.splitlines() if line.split(" ")[0] not in config.given]
        return parse([(line, "default space") for line in rest if line])
    space = parse(lines)
    for one in space:
        if one.flag in config.given:
            raise FlagError(
                f"--{one.flag} is given and searched", where=one.where, remedy="leave one out"
            )
    return space


def _given_lines(config: Any) -> Iterator[tuple[str, str]]:
    """What --search and --search_file say, each line with where it stands."""
    for text in config.search:
        yield from ((line, "--search") for line in text.split(";") if line.strip())
    if config.search_file:
        try:
            text = Path(config.search_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            what = getattr(error, "strerror", None) or "not UTF-8"
            raise FlagError(f"--search_file: {what}", where=config.search_file) from None
        for number, line in enumerate(text.splitlines(), 1):
            if line := line.partition("#")[0].strip():
                yield line, f"{config.search_file}:{number}"


def parse(lines: Iterable[tuple[str, str]]) -> tuple[Searched, ...]:
    """A search space, in the order of its lines.

    Args:
        lines: each with where it stands.

    Raises:
        FlagError: a line is not one of a search space, or there is none.
    """
    space: dict[str, Searched] = {}
    for line, where in lines:
        one = _parsed(line, where)
        if one.flag in space:
            raise FlagError(
                f"--{one.flag} is searched twice", where=where, remedy="leave one of them out"
            )
        space[one.flag] = one
    if not space:
        raise FlagError("nothing is searched", remedy=f"pass --search={_EXAMPLES!r}")
    return tuple(space.values())


def _parsed(line: str, where: str) -> Searched:
    flag, *rest = line.removeprefix("--").split()
    kind, values = (rest or [""])[0], rest[1:]

    def wrong(what: str) -> FlagError:
        return FlagError(f"{line.strip()!r}: {what}", where=where, remedy=f"write {_EXAMPLES}")

    if kind == "choice":
        if not values or len({*values}) < len(values):
            raise wrong("a choice is among one or more values, all different")
        return Searched(flag, kind, tuple(values), where)
    if kind not in _RANGES:
        raise wrong(f"after the flag comes one of {', '.join(_RANGES)}, choice")
    try:
        low, high = map(int if kind == "int" else float, values)
    except ValueError:
        raise wrong(f"{kind} goes from one {'whole ' * (kind == 'int')}number to another") from None
    largest = _LARGEST_INT if kind == "int" else sys.float_info.max
    if not -largest <= low <= high <= largest:
        raise wrong("the first number is more than the second, or one is too large")
    if kind == "log" and low <= 0:
        raise wrong("the logarithm wants numbers above 0")
    return Searched(flag, kind, (repr(low), repr(high)), where)


def _training_flags() -> set[str]:
    config = core_flags.parse(flags.define_training, [])
    return {field.name for field in dataclasses.fields(config)} - {"given"}


def fixed_flags(config: Any) -> dict[str, str]:
    """The flags of training that were given, which are the same for all trials; as texts."""
    return {name: str(getattr(config, name)) for name in sorted(_training_flags() & config.given)}


def lines(values: Mapping[str, Any]) -> list[str]:
    """Flags as the lines of a flagfile."""
    return [f"--{name}={value}" for name, value in values.items()]


def check(space: tuple[Searched, ...], fixed: Mapping[str, str]) -> None:
    """Looks at the values of a space before any of them is tried.

    Each choice and each end of a range is set while the other flags have their first values.

    Args:
        space: what is searched.
        fixed: the flags that are the same for all trials, as texts.

    Raises:
        FlagError: a flag is none of training, or a value is one that it does not take, alone or
            beside the others.
    """
    for one in space:
        _check_flag(one)
    first = {one.flag: one.values[0] for one in space}
    for one in space:
        for value in one.values:
            arguments = lines({**fixed, **first, one.flag: value})
            with _told_where(one):
                flags.check_training(core_flags.parse(flags.define_training, arguments))


def _check_flag(one: Searched) -> None:
    """FlagError unless the flag is one of training that takes each value by itself."""
    if one.flag in _SAME_FOR_ALL:
        raise FlagError(
            f"--{one.flag} cannot be searched: it is the same for all trials", where=one.where
        )
    flag_values = absl_flags.FlagValues()
    flags.define_training(flag_values)
    is_whole = one.flag in flag_values and isinstance(
        flag_values[one.flag].parser, absl_flags.IntegerParser
    )
    if is_whole and one.kind in ("log", "uniform"):
        raise FlagError(
            f"--{one.flag} takes whole numbers", where=one.where, remedy="use int or choice"
        )
    for value in one.values:
        with _told_where(one):
            core_flags.parse(flags.define_training, lines({one.flag: value}))
    if one.flag not in flag_values:  # absl's own, such as flagfile, which is parsed before all
        raise FlagError(f"--{one.flag} is no flag of training", where=one.where)


@contextlib.contextmanager
def _told_where(one: Searched) -> Iterator[None]:
    """Has a FlagError name the line of the search space."""
    try:
        yield
    except FlagError as error:
        raise FlagError(error.what, where=one.where, remedy=error.remedy) from None
