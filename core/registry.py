"""One registry for nets, datasets and preprocessing: a name, and where the thing behind it lives.

An entry holds places such as "nets.inception_v1:inception_v1" rather than the things themselves,
so that listing the choices of a flag imports nothing; `load` imports when a thing is asked for.
"""

import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from core.errors import FlagError

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Named entries of one kind.

    Args:
        message: how an unknown name is reported, with one %s for the name, for example
            "Name of network unknown %s".
        entries: name to entry, in the order in which they are listed.
    """

    def __init__(self, message: str, entries: Mapping[str, Entry]) -> None:
        self._message = message
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Entry:
        """The entry of that name; FlagError (a ValueError) with the nearest name if unknown."""
        try:
            return self._entries[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._entries, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(self._entries)}"
            raise FlagError(self._message % name, remedy=remedy) from None

    def get(self, name: str, default: Any = None) -> Any:
        """The entry of that name, or the default if it is unknown."""
        return self._entries.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def load(place: str) -> Any:
    """Imports what stands at a place, for example "nets.inception_v1:inception_v1"."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
