"""An explanation on the terminal, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

from primaldual.cli.screen import words
from primaldual.primal.forms.explanation import Explanation, Served, listed, shown

MASKS = {"none": "no mask", "padding": "padding mask", "pairs": "mask by query"}


def explanation_view(found: Explanation, facts: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The attention and its sizes, a row for each set of heads, and the reasons against other forms."""
    several = "s" * (facts["batch"] > 1)
    yield words(
        (found.spec, "bold"),
        f"\n{facts['batch']} sequence{several}, {facts['heads']} heads of "
        f"{facts['head_dim']}, length {facts['length']}, {'causal, ' * facts['causal']}{MASKS[facts['mask']]}, "
        f"{facts['dtype']} on {facts['device']}",
    )
    yield _table(found)
    for need in found.needs:
        yield words(("needs", "bold"), f"  {need}\n")
    for caution in dict.fromkeys(part.caution for part in found.served):
        if caution:
            yield words(("slow", "yellow"), f"  {caution}\n")
    yield from _reasons(found.served)
    note = "\nForward pass; 2 operations for a multiply-add; memory beyond queries, keys,\nvalues and output."
    yield words((note, "dim"))


def _table(found: Explanation) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("heads")
    table.add_column("form", style="bold")
    for heading in ("operations", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    total, several = sum(part.bytes for part in found.served), len(found.served) > 1
    for number, part in enumerate(found.served, 1):
        pooled = f", pooled by {part.scale}" if part.scale > 1 else ""
        table.add_row(
            listed(part.heads) + pooled,
            part.form,
            shown(part.cost.operations).strip(),
            f"{shown(part.bytes)}B",
            end_section=several and number == len(found.served),
        )
    if several:
        table.add_row("all", "", shown(found.operations).strip(), f"{shown(total)}B")
    return table


def _reasons(served: list[Served]) -> Iterator[RenderableType]:
    """For heads with the same refusals, why no earlier form serves them."""
    alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for part in served:
        alike.setdefault(tuple(part.refusals.items()), []).extend(part.heads)
    for number, (refusals, heads) in enumerate(alike.items()):
        whom = f"heads {listed(sorted(heads))}: " if len(alike) > 1 else ""
        space = "\n" * (number > 0)
        if not refusals:
            yield f"{space}{whom}no form comes before this one"
            continue
        yield f"{space}{whom}forms that come before, and why they do not serve"
        reasons = Table(box=None, show_header=False, pad_edge=False)
        reasons.add_column(style="bold", no_wrap=True)
        reasons.add_column(overflow="fold")
        for name, reason in refusals:
            reasons.add_row(f"  {name}", reason)
        yield reasons


def explanation_json(found: Explanation, facts: Mapping[str, Any]) -> str:
    """The sizes, and for each set of heads its form, costs and refusals."""
    return json.dumps(
        {
            "attention": found.spec,
            **facts,
            "operations": found.operations,
            "needs": [str(need) for need in found.needs],
            "served": [
                {
                    "heads": part.heads,
                    "scale": part.scale,
                    "form": part.form,
                    "operations": part.cost.operations,
                    "numbers": part.cost.numbers,
                    "bytes": part.bytes,
                    "refusals": part.refusals,
                    "caution": part.caution,
                }
                for part in found.served
            ],
        },
        indent=2,
    )
