"""The performance page, from the results of a run."""

from __future__ import annotations

import textwrap

from benchmarks.performance.gate import OURS_LENGTH, PEER_LENGTH, TOLERANCES, Check
from benchmarks.performance.goals import SCALES
from benchmarks.performance.machine import PEAK_SIDE
from benchmarks.performance.plots import figures
from benchmarks.performance.results import Results
from benchmarks.performance.tables import (
    TextTable,
    footprint_table,
    goals_table,
    growth_table,
    peers_table,
    skip_table,
    sweep_tables,
)
from benchmarks.performance.verdicts import count_reached
from primaldual.reporting.numbers import bytes_text

MARK = (
    "<!-- Written by docs/make_performance.py from benchmarks/results/performance.json: run `make docs`. -->"
)
CAPTIONS = {
    "performance_ratio.svg": (
        "Time by that of `scaled_dot_product_attention`: median of the rounds, quartiles as a band; sh has the scales "
        f"{SCALES}."
    ),
    "performance_growth.svg": "Time for 1000 tokens: flat is linear cost, doubling with N is quadratic cost.",
}


def page(results: Results, figure_folder: str) -> str:
    """Markdown.

    Args:
        results: of a run, finished or not.
        figure_folder: where the figures lie, seen from the page: "figures/" or "".
    """
    lines = [
        MARK,
        "",
        "# Performance",
        "",
        _paragraph(_summary(results)),
        "",
        f"    {results.command}",
        "",
        *_machine(results),
        "",
        "## How it is measured",
        "",
        *_method(results),
        "",
    ]
    lines += _section("Goals", goals_table(results), growth_table(results))
    lines += ["[What was missed, and why](performance_limits.md).", ""]
    drawn = figures(results)
    if drawn:
        lines += ["## By length", ""]
        for name in drawn:
            lines += [f"![{CAPTIONS[name]}]({figure_folder}{name})", "", _paragraph(CAPTIONS[name]), ""]
    lines += _section("" if drawn else "By length", *sweep_tables(results))
    lines += _section("Other peers", peers_table(results))
    lines += _section("Memory and first call", footprint_table(results))
    lines += _section("The gate", gate_table(results.checks))
    lines += _section("Not measured", skip_table(results))
    return "\n".join(lines).rstrip() + "\n"


def gate_table(checks: list[Check]) -> TextTable:
    """Worst error of each contender and format."""
    worst: dict[tuple[str, str, str], float] = {}
    for check in checks:
        gradients = "output, gradients" if check.gradients else "output"
        key = check.contender, f"{check.against}, {check.setting.dtype}", gradients
        worst[key] = max(worst.get(key, 0.0), check.error)
    rows = tuple((*key, f"{error:.0e}") for key, error in worst.items())
    return TextTable("Largest differences", ("checked", "against, format", "what", "difference / norm"), rows)


def _summary(results: Results) -> str:
    reached, measured = count_reached(results)
    words = f"{reached} of {measured} goals reached. " if measured else ""
    if not results.finished:
        words += "**The run was stopped before its end**: what is missing was not measured. "
    if results.quick:
        words += "**A quick run, whose few rounds prove nothing**; run the full command on a quiet machine. "
    return words + f"Measured on {results.started} by one command:"


def _machine(results: Results) -> list[str]:
    machine = results.machine
    packages = ", ".join(
        f"{name} {version or 'not installed'}" for name, version in machine.get("packages", {}).items()
    )
    peaks = ", ".join(f"{peak:.0f} GFLOP/s ({dtype})" for dtype, peak in results.peaks.items())
    facts = (
        ("processor", f"{machine.get('cpu')}, {machine.get('cores')} cores, {machine.get('simd')}"),
        ("threads", str(machine.get("threads"))),
        ("memory", bytes_text(machine.get("ram", 0))),
        ("load before the run", str(machine.get("load"))),
        ("system", f"{machine.get('system')}, Python {machine.get('python')}"),
        ("versions", packages),
        (f"product of {PEAK_SIDE} × {PEAK_SIDE} matrices", peaks),
    )
    return TextTable("", ("machine", ""), facts).markdown().splitlines()


def _method(results: Results) -> list[str]:
    worst = max(results.checks, key=lambda each: each.error / TOLERANCES[each.setting.dtype], default=None)
    earlier = ""
    if worst is not None and worst.error > TOLERANCES[worst.setting.dtype]:
        earlier = f" This run is older than that limit: {worst.contender} passed with {worst.error:.1e}."
    points = (
        f"**Gate.** Before anything is timed, ours meets its definition in float64 on {OURS_LENGTH} tokens, outputs and "
        "gradients, in float64 and in the format that is timed; peers that compute the same meet ours on up to "
        f"{PEER_LENGTH} tokens. Accepted are {TOLERANCES['fp64']:.0e} in float64 and {TOLERANCES['fp32']:.0e} in float32. "
        f"One failure stops the run.{earlier}",
        "**Inputs** are what a projection leaves: (batch, N, heads, D) transposed, as is the gradient that comes back.",
        "**Time.** Ours and peers run turn by turn in one process, every second round in reverse order; short calls are "
        "repeated within a turn. Ratios are taken within a round; shown are their median and quartiles. A number with × "
        "says how many times faster or smaller ours is; one without is ours / peer.",
        "**Memory.** A fresh process for each number: how far the second call raises the resident memory at its highest, "
        "gradients and output included, inputs not. **First call**: the first in that process, imports done.",
        "**GFLOP/s** count the products of the function that is computed, not what a peer spends on it: SDPA with a mask "
        "is credited with the window only. Beside them the share of what a matrix product reaches on this machine.",
        "Batch × N is 4096 tokens where N is below that, 1 sequence above; cost growth has 4 heads.",
    )
    return [
        textwrap.fill(f"* {point}", 116, subsequent_indent="  ", break_on_hyphens=False) for point in points
    ]


def _section(title: str, *tables: TextTable) -> list[str]:
    shown = [table for table in tables if table.rows]
    if not shown:
        return []
    lines = [f"## {title}", ""] if title else []
    for table in shown:
        if table.title != title:
            lines += [f"**{table.title}**", ""]
        lines += [table.markdown(), ""]
    return lines


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 116, break_on_hyphens=False)
