"""Results as tables of text, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.performance.machine import PEAK_SIDE
from benchmarks.performance.programs import FORWARD
from benchmarks.performance.results import Results, SweepRow
from benchmarks.performance.wording import (
    against_text,
    bound_text,
    case_name,
    cost_text,
    rate_text,
    sizes_text,
    spread_text,
    value_text,
    verdict,
    what_text,
)
from primaldual.reporting.numbers import bytes_text, seconds_text


@dataclass(frozen=True)
class TextTable:
    """Headings and rows of cells; the first column holds names, the others numbers.

    Attributes:
        title: what it shows.
        headings: of the columns.
        rows: cells.
        numeric: the cells behind the names are short.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: bool = True

    def markdown(self) -> str:
        """As a Markdown table, without the title.

        Example:
            >>> print(TextTable("", ("a", "b"), (("x", "1"),)).markdown())
            | a | b |
            |---|---|
            | x | 1 |
        """
        lines = [self.headings, tuple("---" for _ in self.headings), *self.rows]
        joined = ["| " + " | ".join(cells) + " |" for cells in lines]
        joined[1] = joined[1].replace(" ", "")
        return "\n".join(joined)


def tables(results: Results) -> list[TextTable]:
    """Every table that has rows."""
    found = [
        goals_table(results),
        growth_table(results),
        peers_table(results),
        *sweep_tables(results),
        footprint_table(results),
        skip_table(results),
    ]
    return [table for table in found if table.rows]


def goals_table(results: Results) -> TextTable:
    """Measured, goal, reached or missed."""
    headings = ("goal", "N", "direction", "measured", "goal is", "result")
    rows = [
        (
            case_name(row.case),
            str(row.case.setting.length),
            what_text(row.case),
            value_text(row),
            bound_text(row.case),
            verdict(row.reached),
        )
        for row in results.duels
        if not row.case.bound.empty
    ]
    return TextTable("Goals", headings, tuple(rows))


def peers_table(results: Results) -> TextTable:
    """Pairs without a goal."""
    headings = ("ours / peer", "N", "direction", "measured", "ours", "peer")
    rows = [
        (
            case_name(row.case),
            str(row.case.setting.length),
            what_text(row.case),
            value_text(row),
            *(cost_text(row.case.measure, cost) for cost in (row.ours, row.peer)),
        )
        for row in results.duels
        if row.case.bound.empty
    ]
    return TextTable("Other peers", headings, tuple(rows))


def growth_table(results: Results) -> TextTable:
    """Factors of cost as N doubles."""
    headings = ("cost", "N", "direction", "factor", "goal is", "result")
    rows = [
        (
            f"{row.contender}, {row.measure}",
            f"{row.length} to {2 * row.length}",
            row.direction,
            spread_text(row.value),
            str(row.bound),
            verdict(row.reached),
        )
        for row in results.doublings
    ]
    return TextTable("Cost as N doubles", headings, tuple(rows))


def sweep_tables(results: Results) -> list[TextTable]:
    """By length, for each direction and all other sizes: ratios to SDPA, one call, and the rate of a forward pass."""
    groups: dict[tuple[str, str], list[SweepRow]] = {}
    for row in results.sweeps:
        groups.setdefault((row.direction, sizes_text(row.setting)), []).append(row)
    found = []
    for (direction, sizes), rows in groups.items():
        named = f"{direction}, {sizes}"
        found.append(_by_length(f"Ratio to SDPA: {named}", rows, lambda row: against_text(row.ratio)))
        found.append(_by_length(f"One call: {named}", rows, lambda row: seconds_text(row.seconds.median)))
        if direction == FORWARD:
            peak = results.peaks.get(rows[0].setting.dtype)
            title = f"GFLOP/s: {named}" + (
                f"; a product of {PEAK_SIDE} × {PEAK_SIDE} matrices reaches {peak:.0f}" if peak else ""
            )
            found.append(_by_length(title, rows, partial(_rate, peak=peak)))
    return found


def _rate(row: SweepRow, peak: float | None) -> str:
    return rate_text(row.gflops, peak)


def _by_length(title: str, rows: Sequence[SweepRow], cell: Callable[[SweepRow], str]) -> TextTable:
    """Contenders down, lengths across."""
    lengths = sorted({row.setting.length for row in rows})
    names = dict.fromkeys(row.contender for row in rows)
    cells = {(row.contender, row.setting.length): cell(row) for row in rows}
    return TextTable(
        title,
        ("attention", *(f"N = {length}" for length in lengths)),
        tuple((name, *(cells.get((name, length), "") for length in lengths)) for name in names),
    )


def footprint_table(results: Results) -> TextTable:
    """Memory and first calls."""
    rows = [
        (
            row.case.contender,
            str(row.case.setting.length),
            row.case.direction,
            bytes_text(row.memory),
            seconds_text(row.first_call),
        )
        for row in results.footprints
    ]
    headings = ("attention", "N", "direction", "peak memory", "first call")
    return TextTable("Memory and first call, in a fresh process", headings, tuple(rows))


def skip_table(results: Results) -> TextTable:
    """What is missing and why; the same reason on several settings is one row."""
    groups: dict[tuple[str, str], list[str]] = {}
    for skip in results.skips:
        places = groups.setdefault((skip.contender, skip.reason), [])
        if skip.setting is not None:
            places.append(str(skip.setting))
    rows = []
    for (name, reason), places in groups.items():
        more = f" and {len(places) - 1} more" if len(places) > 1 else ""
        rows.append((name, places[0] + more if places else "", reason))
    return TextTable("Not measured", ("contender", "setting", "why"), tuple(rows), numeric=False)
