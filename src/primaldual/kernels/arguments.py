"""Numbers and switches that a user gives: of the right type and within limits, before memory is taken."""

from __future__ import annotations

from typing import Any

from primaldual.errors import ArgumentError

MOST_POSITIONS = 2**31 - 1
"""Largest count of positions, such as a radius or a prefix."""

LARGEST = 1e6
"""Largest factor in size; beyond it float32 has no digits left for what is multiplied."""


def whole(name: str, value: Any, least: int = 0, most: int = MOST_POSITIONS) -> int:
    """``value``, which must be an integer within bounds.

    Raises:
        ArgumentError: it is not; the message names the argument.

    Example:
        >>> whole("radius", 8)
        8
        >>> whole("order", 2.5, most=64)
        Traceback (most recent call last):
        primaldual.errors.ArgumentError: order must be an integer from 0 to 64; got 2.5
    """
    if is_whole(value, least, most):
        return int(value)
    bounds = f"{least} or more" if most == MOST_POSITIONS else f"from {least} to {most}"
    raise ArgumentError(f"{name} must be an integer {bounds}; got {shown(value)}")


def is_whole(value: Any, least: int, most: int) -> bool:
    """Whether a value is an integer within bounds, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def finite(
    name: str, value: Any, least: float = -LARGEST, most: float = LARGEST, *, above: bool = False
) -> float:
    """``value`` as a float, which must be a number within bounds.

    Args:
        name: of the argument.
        value: what was given.
        least: lower bound.
        most: upper bound.
        above: whether the lower bound itself is refused.

    Raises:
        ArgumentError: it is not; the message names the argument.

    Example:
        >>> finite("beta", 1)
        1.0
        >>> finite("beta", float("nan"))
        Traceback (most recent call last):
        primaldual.errors.ArgumentError: beta must be a number from -1e+06 to 1e+06; got nan
    """
    if is_number(value) and least <= value <= most and not (above and value == least):
        return float(value)
    bounds = f"above {least:g} and at most {most:g}" if above else f"from {least:g} to {most:g}"
    raise ArgumentError(f"{name} must be a number {bounds}; got {shown(value)}")


def is_number(value: Any) -> bool:
    """Whether a value is an int or a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def flag(name: str, value: object) -> bool:
    """``value``, which must be a bool.

    Raises:
        ArgumentError: it is something else; the message names the argument.
    """
    if not isinstance(value, bool):
        raise ArgumentError(f"{name} must be True or False; got {shown(value)}")
    return value


def shown(value: object) -> str:
    """At most 40 characters of what was given, which may be an integer that is too long for Python to write."""
    try:
        text = repr(value)
    except ValueError:
        return "an integer of thousands of digits"
    return text if len(text) <= 40 else f"{text[:39]}…"
