"""Numbers and times as text files write them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime

MISSING = frozenset({"", "?", "na", "nan", "null"})
"""What stands for a missing value, in lower case."""

_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*")


def number(text: str, comma: bool = False) -> float:
    """A number, NaN where a value is missing.

    Args:
        text: of a cell.
        comma: whether the decimal sign is a comma.

    Raises:
        ValueError: neither.

    Example:
        >>> number("-1.5e3"), number("1,5", comma=True), number("NA")
        (-1500.0, 1.5, nan)
    """
    if not (comma or "_" in text):
        try:  # quick, as most cells are numbers
            return float(text)
        except ValueError:
            pass
    if text.strip().lower() in MISSING:
        return math.nan
    # float() also reads 1_000, which no other program writes as a number.
    if "_" in text or (comma and "." in text):
        raise ValueError(text)
    return float(text.replace(",", ".") if comma else text)


def point_in_time(text: str, comma: bool = False) -> float:
    """A point in time as a number that orders: a number, or a date in the ISO format, in seconds.

    Raises:
        ValueError: neither, or no finite number.

    Example:
        >>> point_in_time("0.5"), point_in_time("1970-01-01 00:00:01")
        (0.5, 1.0)
    """
    try:
        found = number(text, comma)
    except ValueError:
        moment = datetime.fromisoformat(text.strip())
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.timestamp()
    if not math.isfinite(found):
        raise ValueError(text)
    return found


def is_number(text: str) -> bool:
    """Whether a cell holds a number, with either decimal sign."""
    try:
        return not math.isnan(number(text, is_decimal_comma(text)))
    except ValueError:
        return False


def is_decimal_comma(text: str) -> bool:
    """Whether a cell holds a number whose decimal sign is a comma."""
    return _DECIMAL_COMMA.fullmatch(text) is not None


def listed(names: Iterable[object], most: int = 12) -> str:
    """Names for an error message, long ones cut; at most so many, and how many more there are.

    Example:
        >>> listed("abc"), listed(range(100), 3)
        ('a, b, c', '0, 1, 2 and 97 more')
    """
    texts = [text if len(text) <= 40 else f"{text[:39]}…" for text in map(str, names)]
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more} more" if more > 0 else "")
