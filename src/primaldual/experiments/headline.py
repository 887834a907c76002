"""The headline of a report: its findings in words, and names that may break across lines."""

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
        if any(_verdict(summary) != "no clear difference" for summary in others):
            return f"{first} No interval tells an attention from {settings.baseline}."
        return f"{first} No attention differs clearly from {settings.baseline}: every interval contains zero."
    parts = [f"{' and '.join(names)} {word} {settings.baseline}" for names, word in (
        (above, "above"), (below, "below")) if names]  # fmt: skip
    return f"{first} By the paired intervals over seeds: {'; '.join(parts)}."


def _verdict(summary: Summary) -> str:
    return summary.difference.verdict if summary.difference is not None else ""


def breakable(spec: str) -> Markup:
    """A spec or path that a page may break after ``+ , / _ .``.

    Example:
        >>> breakable("bn+sh(1,2)")
        Markup('bn+<wbr>sh(1,<wbr>2)')
    """
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([+,/_]|\.(?!\d))", r"\1<wbr>", str(escape(spec))))
