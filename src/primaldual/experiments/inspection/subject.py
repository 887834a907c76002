"""A model and the inputs that its heads are looked at with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from torch import nn

from primaldual.errors import UnsupportedError

BATCH = 8
"""Cases that go through the model at a time."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Subject:
    """What is looked at.

    Attributes:
        name: of the model, as it was asked for.
        model: ready to run.
        origin: where model and weights come from, in words.
        batches: what the model is called with, at most `BATCH` cases each.
        cases: how many there are in all.
        data: what they are, in words.
        tokens: of the first case where it is a text, else ().
        notes: what a reader of the numbers must know.
    """

    name: str
    model: nn.Module
    origin: str
    batches: Sequence[Any]
    cases: int
    data: str
    tokens: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def needed(package: str, extra: str) -> Any:
    """Import a package that comes with an extra of this library.

    Raises:
        UnsupportedError: it, or a package that it imports, is not installed; says how to get it.

    Example:
        >>> needed("no_such_package", "vision")
        Traceback (most recent call last):
        ...
        primaldual.errors.UnsupportedError: no_such_package is not installed; get it with: pip install "primaldual[vision]"
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise UnsupportedError(
            f'{error.name or package} is not installed; get it with: pip install "primaldual[{extra}]"'
        ) from None


def pieces(items: Sequence[Item]) -> list[Sequence[Item]]:
    """In batches.

    Example:
        >>> pieces(range(10))
        [range(0, 8), range(8, 10)]
    """
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """So many of the items, evenly from first to last, because files are often sorted by class.

    Example:
        >>> spread("abcdefghi", 3)
        ['a', 'e', 'i']
    """
    if count >= len(items):
        return list(items)
    if count == 1:
        return [items[0]]
    return [items[place * (len(items) - 1) // (count - 1)] for place in range(count)]


def first_line(error: BaseException) -> str:
    """An error of another library in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(" .:")
