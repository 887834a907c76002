"""Numbers and findings in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from primaldual.experiments.settings import Settings
from primaldual.experiments.summary import Summary

if TYPE_CHECKING:
    from markupsafe import Markup


def headline(settings: Settings, summaries: Sequence[Summary], test_cases: int) -> str:
    """What the comparison shows, no more than it shows, in two or three sentences."""
    best = max(summaries, key=lambda summary: summary.accuracy.mean)
    seeds = len(settings.seeds)
    over = f"over {seeds} seeds" if seeds > 1 else "with one seed"
    first = (
        f"{best.attention} has the highest mean test accuracy, {best.accuracy.text(1, 100)} % {over} "
        f"on {test_cases} test cases."
    )
    others = [summary for summary in summaries if summary.difference is not None]
    if not others:
        return first
    if seeds == 1:
        return f"{first} One seed cannot tell a difference from chance: give --seeds 3 or more."
    above = [summary.attention for summary in others if _verdict(summary) == "above the baseline"]
    below = [summary.attention for summary in others if _verdict(summary) == "below the baseline"]
    if not above and not below:
        return f"{first} No attention differs clearly from {settings.baseline}: every interval contains zero."
    parts = [f"{' and '.join(names)} {word} {settings.baseline}" for names, word in (
        (above, "above"), (below, "below")) if names]  # fmt: skip
    return f"{first} By the paired intervals over seeds: {'; '.join(parts)}."


def _verdict(summary: Summary) -> str:
    return summary.difference.verdict if summary.difference is not None else ""


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign, a true minus.

    Example:
        >>> signed(-0.72), signed(0.26)
        ('−0.7', '+0.3')
    """
    return f"{value:+.{digits}f}".replace("-", "−")


def breakable(spec: str) -> Markup:
    """A spec or path that a page may break after ``+ , / _ .``.

    Example:
        >>> breakable("bn+sh(1,2)")
        Markup('bn+<wbr>sh(1,<wbr>2)')
    """
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([+,/_]|\.(?!\d))", r"\1<wbr>", str(escape(spec))))


def amount(value: float) -> str:
    """A count with three digits and a unit.

    Example:
        >>> amount(1_366_016), amount(912)
        ('1.37 M', '912')
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}" if value < 100 * size else f"{value / size:.0f} {unit}"
    return f"{value:.0f}"


def bytes_text(value: float) -> str:
    """Bytes in a readable unit.

    Example:
        >>> bytes_text(3 * 1024**2)
        '3.0 MiB'
    """
    for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} B"


def seconds_text(value: float) -> str:
    """Seconds in a readable unit.

    Example:
        >>> seconds_text(0.00412), seconds_text(83.2), seconds_text(9.25)
        ('4.12 ms', '1 min 23 s', '9.2 s')
    """
    if value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.1f} s" if value < 60 else f"{int(value // 60)} min {int(value % 60)} s"
