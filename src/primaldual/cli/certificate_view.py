"""A certificate as a table for the terminal and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from primaldual.cli.certificate import Certified, Output
from primaldual.cli.peer import Peer
from primaldual.cli.screen import words


def certificate_table(certified: Certified, width: int) -> Table:
    """Quantities as rows; a column for each output, or the worst of all where they do not fit."""
    outputs = certified.outputs
    rows = {heading: [write(output) for output in outputs] for heading, write in _ROWS.items()}
    if certified.no_peer is None:
        rows |= {heading: [_of_peer(output, write) for output in outputs] for heading, write in _PEER.items()}
    first = max(map(len, rows)) + 1
    widths = [
        max(len(outputs[place].name), *(len(row[place]) for row in rows.values())) + 3
        for place in range(len(outputs))
    ]
    shown = list(outputs) if first + sum(widths) <= width else [_worst(outputs)]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("standardised units")
    for output in shown:
        table.add_column(output.name, justify="right", no_wrap=True)
    for heading, write in _ROWS.items():
        table.add_row(heading, *(write(output) for output in shown))
    if certified.no_peer is None:
        table.add_section()
        table.add_row(words(("against scikit-learn's SVR", "bold")))
        for heading, write_peer in _PEER.items():
            table.add_row(heading, *(_of_peer(output, write_peer) for output in shown))
    return table


_ROWS: dict[str, Callable[[Output], str]] = {
    "primal objective": lambda output: f"{output.primal:.9g}",
    "dual objective": lambda output: f"{output.dual:.9g}",
    "relative duality gap": lambda output: f"{output.relative_gap:.1e}",
    "support vectors": lambda output: f"{output.support:.1%}",
    "  of them at the bound C": lambda output: (
        f"{output.at_bound / output.support if output.support else 0:.1%}"
    ),
    "|attention − (K β + b)|, largest": lambda output: f"{output.attention_difference:.1e}",
}

_PEER: dict[str, Callable[[Peer], str]] = {
    "|difference of β| / C, largest": lambda peer: f"{peer.coefficient_difference:.1e}",
    "|difference of f|, largest": lambda peer: f"{peer.prediction_difference:.1e}",
    "its relative duality gap": lambda peer: f"{peer.relative_gap:.1e}{' (stopped)' if peer.stopped else ''}",
}


def _of_peer(output: Output, write: Callable[[Peer], str]) -> str:
    return "" if output.peer is None else write(output.peer)


def _worst(outputs: Sequence[Output]) -> Output:
    """Largest gaps and differences, sums of objectives, mean shares."""
    count = len(outputs)
    peers = [output.peer for output in outputs if output.peer is not None]
    peer = None
    if peers:
        peer = Peer(
            max(one.coefficient_difference for one in peers),
            max(one.prediction_difference for one in peers),
            max(one.relative_gap for one in peers),
            sum(one.seconds for one in peers),
            any(one.stopped for one in peers),
        )
    return Output(
        f"{count} outputs: sum, largest, mean",
        sum(output.primal for output in outputs),
        sum(output.dual for output in outputs),
        max(output.relative_gap for output in outputs),
        sum(output.support for output in outputs) / count,
        sum(output.at_bound for output in outputs) / count,
        max(output.attention_difference for output in outputs),
        peer,
    )


def certificate_json(certified: Certified, facts: dict[str, Any]) -> str:
    """All numbers, and the facts about data and arguments."""
    numbers = asdict(certified)
    outputs = numbers.pop("outputs")
    return json.dumps(
        {**facts, **numbers, "peer_seconds": certified.peer_seconds, "outputs": outputs}, indent=2
    )


def times(certified: Certified) -> str:
    """Both times of one run, or why there is only one."""
    ours, peer = certified.seconds, certified.peer_seconds
    if peer is None:
        return f"Time, one run: {ours:.2g} s. Not compared with scikit-learn: {certified.no_peer}."
    return f"Time, one run: {ours:.2g} s; scikit-learn, kernel given, {peer:.2g} s; ratio {ours / peer:.2g}."
