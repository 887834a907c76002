"""How much time and memory a cell may take."""

from __future__ import annotations

import re
from dataclasses import dataclass

from primaldual.errors import ArgumentError
from primaldual.reporting.numbers import bytes_text, seconds_text

_SIZES = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class Limits:
    """Limits of one cell; a cell beyond them is ended and recorded as failed.

    Args:
        seconds: wall clock; None for no limit.
        memory: bytes of its worker process, the libraries included; None for no limit.

    Raises:
        ArgumentError: not positive.

    Example:
        >>> Limits(seconds=60, memory=memory_size("2 GiB")).exceeded(61.0, 0)
        ('time', 'took longer than 1 min 0 s; raise limits.seconds, then --retry-failed')
    """

    seconds: float | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "memory"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not value > 0):
                raise ArgumentError(f"limits.{name} must be positive; got {value!r}")

    @property
    def any(self) -> bool:
        """Whether there is a limit at all."""
        return self.seconds is not None or self.memory is not None

    def exceeded(self, seconds: float, memory: int) -> tuple[str, str] | None:
        """The kind of failure and its message; None within the limits.

        Args:
            seconds: since the cell began.
            memory: of its process.
        """
        if self.seconds is not None and seconds > self.seconds:
            allowed = seconds_text(self.seconds)
            return "time", f"took longer than {allowed}; raise limits.seconds, then --retry-failed"
        if self.memory is not None and memory > self.memory:
            allowed = bytes_text(self.memory)
            return "memory", f"took more than {allowed}; raise limits.memory, then --retry-failed"
        return None


NO_LIMITS = Limits()
"""The limits of a cell that may take all the time and memory there is."""


def memory_size(given: object) -> int:
    """Bytes out of a number or a text with a unit.

    Raises:
        ArgumentError: neither.

    Example:
        >>> memory_size("1.5 GB"), memory_size(2000)
        (1500000000, 2000)
    """
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]i?B|)\s*", str(given), re.IGNORECASE)
    if not isinstance(given, str) or found is None:
        raise ArgumentError(f'limits.memory must be bytes or a text such as "4 GB"; got {given!r}')
    return int(float(found.group(1)) * _SIZES[found.group(2).upper()])
