"""A grid from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from primaldual.data.loading import READERS
from primaldual.errors import ArgumentError, did_you_mean
from primaldual.experiments.places import Limits
from primaldual.experiments.places.limits import memory_size
from primaldual.experiments.planning.grid import DEFAULT, Grid
from primaldual.experiments.tuning import Tuning
from primaldual.primal.presets import preset


def read_grid(path: Path) -> Grid:
    """Read a grid; folders and files in it are relative to the file.

    Args:
        path: TOML with the arguments of `Grid`; ``seeds`` may be a number, ``[limits]`` and ``[tuning]`` are tables.

    Raises:
        ArgumentError: the file is missing or no TOML, or a key or a value is not accepted; the message begins with
            the file's name.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ArgumentError(f"{path} cannot be read: {reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise ArgumentError(f"{path} is not TOML: {error}") from None
    try:
        return grid_from(content, path.parent)
    except (ArgumentError, TypeError, ValueError) as error:
        raise ArgumentError(f"{path}: {error}") from error


def grid_from(content: Mapping[str, Any], folder: Path) -> Grid:
    """A grid from the content of a TOML file.

    Args:
        content: tables and values.
        folder: what paths are relative to.

    Raises:
        ArgumentError: a key or a value is not accepted.
    """
    _known(content, _READ, "")
    if "data" not in content:
        raise ArgumentError('data is missing; it lists data sets, such as data = ["BasicMotions"]')
    given = {name: _READ[name](name, value) for name, value in content.items()}
    given["data"] = tuple(_placed(source, folder) for source in given["data"])
    if "data_dir" in given:
        given["data_dir"] = str(folder / Path(given["data_dir"]).expanduser())
    if "settings" in given and not given["settings"]:
        given["settings"] = {DEFAULT: {}}
    return Grid(**given)


def _placed(source: str, folder: Path) -> str:
    return str(folder / source) if Path(source).suffix.lower() in READERS else source


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ArgumentError(f"{name} must be a list of texts; got {value!r}")
    return tuple(value)


def _specs(name: str, value: Any) -> tuple[str, ...]:
    return tuple(preset(spec).spec() for spec in _texts(name, value))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ArgumentError(f"{name} must be a text; got {value!r}")
    return value


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentError(f"{name} must be a whole number; got {value!r}")
    return value


def _seeds(name: str, value: Any) -> tuple[int, ...]:
    seeds = list(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(seeds, list) or not seeds:
        raise ArgumentError(f"{name} must be a positive number of seeds or a list of them; got {value!r}")
    if any(_whole(name, seed) < 0 for seed in seeds):
        raise ArgumentError(f"{name} must not be negative; got {value!r}")
    return tuple(seeds)


def _tables(name: str, value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        raise ArgumentError(f"{name} must hold tables, such as [{name}.NAME]; got {value!r}")
    return value


def _limits(name: str, value: Any) -> Limits:
    given = _table(name, value, Limits)
    if "memory" in given:
        given["memory"] = memory_size(given["memory"])
    return Limits(**given)


def _tuning(name: str, value: Any) -> Tuning:
    given = _table(name, value, Tuning)
    if "space" not in given:
        raise ArgumentError("tuning.space is missing; it names arguments, each with values or a range")
    return Tuning(**given)


def _table(name: str, value: Any, kind: type[Any]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ArgumentError(f"{name} must be a table; got {value!r}")
    _known(value, [one.name for one in fields(kind)], f"{name}.")
    return dict(value)


def _known(given: Mapping[str, Any], accepted: Any, prefix: str) -> None:
    for name in given:
        if name not in accepted:
            hint = did_you_mean(name, accepted)
            raise ArgumentError(f"unknown key {prefix}{name}{hint}; accepted: {', '.join(accepted)}")


_READ: Mapping[str, Callable[[str, Any], Any]] = {
    "data": _texts,
    "data_dir": _text,
    "attentions": _specs,
    "methods": _texts,
    "seeds": _seeds,
    "settings": _tables,
    "options": _tables,
    "protocol": _text,
    "threads": _whole,
    "baseline": _text,
    "limits": _limits,
    "tuning": _tuning,
}
"""The keys of a file, and how each value is read."""
