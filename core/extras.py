"""Libraries that only some scripts need: the extras of pyproject.toml."""

import importlib.util

from core.errors import MachineError


def need(extra: str, *modules: str) -> None:
    """MachineError with the command that installs an extra, unless its modules are there.

    Args:
        extra: its name in pyproject.toml.
        modules: what will be imported, for example "fastapi".
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise MachineError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed",
            remedy=f"pip install -c constraints.txt -e '.[{extra}]'",
        )
