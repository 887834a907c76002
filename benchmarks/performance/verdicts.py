"""Which goals were reached."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.performance.results import Results
from benchmarks.performance.wording import bound_text, case_name, spread_text, value_text, what_text


def missed(results: Results) -> list[str]:
    """Goals that were missed, in words."""
    words = [
        f"{case_name(row.case)}, N {row.case.setting.length}, {what_text(row.case)}: "
        f"{value_text(row)}, goal {bound_text(row.case)}"
        for row in results.duels
        if not row.case.bound.empty and not row.reached
    ]
    return words + [
        f"{row.name}, {row.length} to {2 * row.length}, {row.direction}, {row.measure}: "
        f"{spread_text(row.value)}, goal {row.bound}"
        for row in results.doublings
        if not row.reached
    ]


def count_reached(results: Results) -> tuple[int, int]:
    """How many goals were reached, and how many were measured."""
    verdicts: Iterable[bool] = [
        *(row.reached for row in results.duels if not row.case.bound.empty),
        *(row.reached for row in results.doublings),
    ]
    found = list(verdicts)
    return sum(found), len(found)
