"""Whether a run that goes on is the one that was begun: its net, its settings, its data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from absl import logging

from core import flags as core_flags
from core.errors import FlagError
from engine import flags

# What the weights depend on: it cannot change while a run goes on.
_FIXED = (
    *("model_name", "preprocessing_name", "image_size", "channels", "use_grayscale"),
    *("class_names", "labels_offset", "moving_average_decay", "depth_multiplier", "stem_stride"),
    "head_units",
)


def check_same(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> None:
    """FlagError if what the weights depend on is not what it was.

    Args:
        old: the description of the run so far, `run_dir.Run` by fields.
        new: that of the run that is to go on.
        where: run.json, for the message.
    """
    for name in _FIXED:
        if old[name] != new[name]:
            raise FlagError(
                f"the run was made with {name} {_short(old[name])}, now it is {_short(new[name])}",
                where=where,
                remedy="pass the same, or another --train_dir",
            )


def _short(value: Any) -> str:
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def changes(
    before: Mapping[str, Any], now: Mapping[str, Any], config: Any, where: str
) -> dict[str, Any]:
    """What differs from the run so far, as {name: [before, now]}.

    Args:
        before: the content of run.json.
        now: what it is to be.
        config: read here: allow_config_change, allow_dataset_change.
        where: run.json, for the message.

    Raises:
        FlagError: a flag or the data differ, and the flag that allows it is not set.
    """
    new = now["settings"]
    old = _without_newer_flags() | before["settings"] if "settings" in before else new
    found = {name: [old[name], new[name]] for name in new if old[name] != new[name]}
    for name, (was, is_now) in found.items():
        if not config.allow_config_change:
            raise FlagError(
                f"--{name} was {_apart(was, is_now)} in the run so far, "
                f"now it is {_apart(is_now, was)}",
                where=where,
                remedy="pass the same, or --allow_config_change to go on as another run",
            )
    for part, purpose in (("dataset", "trained"), ("validation", "validated")):
        old, new = before.get(part), now[part]
        if old is None or new is None or old == new:
            continue
        if not config.allow_dataset_change:
            raise FlagError(
                f"the {new['split']} split is not the one that the run has been {purpose} on "
                f"({old.get('samples')} pictures then, {new['samples']} now)",
                where=where,
                remedy="pass the same data, or --allow_dataset_change to go on with these",
            )
        found[part] = [old, new]
    return found


def _without_newer_flags() -> dict[str, Any]:
    """What flags are in a run that began before they were there: their defaults."""
    return dataclasses.asdict(core_flags.parse(flags.define_training, []))


def _apart(value: Any, other: Any) -> Any:
    """The value of a flag; if it has entries, the first ones that the other does not have."""
    if not isinstance(value, dict):
        return value
    others = other if isinstance(other, dict) else {}
    return dict([item for item in value.items() if others.get(item[0]) != item[1]][:5])


def warn_of_another_machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """The same program may compute other last bits on another processor or version."""
    for name in ("tensorflow", "cpu", "onednn", "precision"):
        if before.get(name, now[name]) != now[name]:
            logging.warning(
                "%s was %s in the run so far, now it is %s: what follows is not bit for bit what "
                "it would have been",
                name,
                before[name],
                now[name],
            )
