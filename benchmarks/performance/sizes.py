"""Sizes that do not fit are refused with the number, before anything is allocated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.performance.families import Contender
from benchmarks.performance.settings import Setting
from primaldual.errors import ArgumentError
from primaldual.reporting.numbers import bytes_text

SHARE = 0.8
"""Part of the available memory that a measurement may take."""

_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Memory that can be had without swapping, within the limit of a container."""
    import psutil  # type: ignore[import-untyped] # stubs are a package of their own

    free = int(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or "max"
        return free
    return min(free, max(0, limit - used))


def does_not_fit(one: Contender, setting: Setting, backward: bool, available: int) -> str | None:
    """Why a measurement is left out, None if it fits."""
    needed = one.needs(setting, backward)
    if needed <= SHARE * available:
        return None
    return f"needs about {bytes_text(needed)}; {bytes_text(SHARE * available)} of {bytes_text(available)} may be used"


def longest(one: Contender, setting: Setting, backward: bool, available: int) -> int:
    """The largest length that fits, the other sizes as they are."""
    return _largest(lambda length: one.needs(replace(setting, length=length), backward) <= SHARE * available)


def check_fits(one: Contender, setting: Setting, backward: bool, available: int) -> None:
    """Refuse sizes that were asked for.

    Raises:
        ArgumentError: with the number needed, and the length that would fit.
    """
    if reason := does_not_fit(one, setting, backward, available):
        fits = longest(one, setting, backward, available)
        raise ArgumentError(
            f"lengths must be at most {fits} for {one} with batch {setting.batch}, head_dim {setting.head_dim} and "
            f"{setting.dtype}; got {setting.length}, which {reason}"
        )


def _largest(fits: Callable[[int], bool]) -> int:
    """The largest number that fits, for something that stops fitting once."""
    low, high = 0, 1
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
