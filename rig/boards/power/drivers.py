"""Finds power drivers by name: the modules beside this one, and what other packages announce by entry points."""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Mapping
from importlib import import_module, metadata
from typing import Any

from pydantic import ValidationError

from rig.boards import power
from rig.boards.power import PowerKeys

GROUP = "rollback_rig.power"
DEFAULT = "command"
_OTHERS = (__name__.rpartition(".")[2],)


def names() -> list[str]:
    """Every driver there is, by the name that rig.toml uses."""
    own = {module.name for module in pkgutil.iter_modules(power.__path__)} - set(_OTHERS)
    return sorted({name for name in own if not name.startswith("_")} | set(_announced()))


def find(name: str) -> type[PowerKeys]:
    """The keys of a driver. ValueError, in words for rig.toml, for one that is not there or cannot be loaded."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1)
        meant = f", did you mean {near[0]}" if near else ""
        raise ValueError(f"driver = {name!r}: no such power driver{meant}; there are: {', '.join(names())}")
    announced = _announced().get(name)
    try:
        keys = announced.load() if announced else import_module(f"{power.__name__}.{name}").Keys
    except Exception as error:
        # Another package's code: whatever it raises, the person at the bench must learn which package it was.
        raise ValueError(f"driver = {name!r}: cannot be loaded: {type(error).__name__}: {error}") from error
    if not (isinstance(keys, type) and issubclass(keys, PowerKeys)):
        raise ValueError(f"driver = {name!r}: its entry point names no PowerKeys but {keys!r}")
    return keys


def read(table: Mapping[str, Any]) -> PowerKeys:
    """The keys of a `power` table, validated by its driver. ValueError names each wrong key and what is allowed."""
    keys = find(str(table.get("driver", DEFAULT)))
    values = {name: value for name, value in table.items() if name != "driver"}
    try:
        return keys.model_validate(values)
    except ValidationError as error:
        raise ValueError("\n".join(_explain(keys, error))) from error


def _announced() -> Mapping[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=GROUP)}


def _explain(keys: type[PowerKeys], error: ValidationError) -> list[str]:
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "power"
        match item["type"]:
            case "extra_forbidden":
                own = [name for name in keys.model_fields if name not in PowerKeys.model_fields]
                lines.append(
                    f"{key}: unknown key; allowed here: {', '.join([*own, *PowerKeys.model_fields, 'driver'])}"
                )
            case "missing":
                lines.append(f"{key}: missing")
            case "value_error":
                lines.append(f"{key}: {item['msg'].removeprefix('Value error, ')}")
            case _:
                lines.append(f"{key} = {item['input']!r}: {item['msg']}")
    return lines
