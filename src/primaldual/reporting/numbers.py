"""Numbers with units, as a reader takes them in."""

from __future__ import annotations

import math


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign, a true minus.

    Example:
        >>> signed(-0.72), signed(0.26), signed(-0.01)
        ('−0.7', '+0.3', '0.0')
    """
    return _without_minus_zero(f"{value:+.{digits}f}").replace("-", "−")


def interval_text(ends: tuple[float, float] | None, sign: bool = False) -> str:
    """An interval of shares in percent, in brackets behind a number; "" where there is none.

    Example:
        >>> interval_text((0.912, 0.95)), interval_text((-0.01, 0.02), sign=True)
        (' (91.2 to 95.0)', ' (−1.0 to +2.0)')
    """
    if ends is None:
        return ""
    low, high = (signed(end * 100) if sign else f"{end * 100:.1f}" for end in ends)
    return f" ({low} to {high})"


def _without_minus_zero(text: str) -> str:
    """A number as text, without the sign of a zero."""
    return text[1:] if text[:1] in {"-", "+"} and float(text) == 0 else text


def percent(value: float) -> str:
    """A share in percent, in four characters or little more; – where there is none.

    Example:
        >>> percent(0.0031), percent(0.1234), percent(1.5), percent(float("nan"))
        ('0.31', '12.3', '150', '–')
    """
    if math.isnan(value):
        return "–"
    value *= 100
    return _without_minus_zero(
        f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
    )


def count_text(value: float) -> str:
    """A count with three digits and a unit.

    Example:
        >>> count_text(1_366_016), count_text(912)
        ('1.37 M', '912')
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{_three_digits(value / size)} {unit}"
    return f"{value:.0f}"


def bytes_text(value: float) -> str:
    """Bytes with a unit.

    Example:
        >>> bytes_text(3 * 2**30), bytes_text(1536), bytes_text(12)
        ('3.0 GiB', '1.5 KiB', '12 B')
    """
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} B"


def seconds_text(value: float) -> str:
    """Seconds with three digits and a unit; minutes from 60 seconds on.

    Example:
        >>> seconds_text(4.2e-05), seconds_text(0.00412), seconds_text(9.25), seconds_text(83.2)
        ('42 µs', '4.12 ms', '9.25 s', '1 min 23 s')
    """
    if value >= 60:
        return f"{int(value // 60)} min {int(value % 60)} s"
    unit, size = ("s", 1.0) if value >= 1 else ("ms", 1e-3) if value >= 1e-3 else ("µs", 1e-6)
    return f"{_three_digits(value / size)} {unit}"


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
