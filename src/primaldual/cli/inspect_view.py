"""The heads of a model as lines for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from primaldual.analysis import LayerHeads
from primaldual.experiments.inspection import Inspection
from primaldual.experiments.inspection.findings import findings
from primaldual.experiments.inspection.measuring import nearest
from primaldual.reporting.numbers import percent

_LABEL = 15
_CELL = 5


def inspection_lines(inspection: Inspection, width: int) -> Iterator[tuple[str, str]]:
    """Lines and their styles: a block for each layer, as many heads beside each other as fit into ``width``."""
    subject = inspection.subject
    yield f"{type(subject.model).__name__}: {subject.data}", "bold"
    for note in subject.notes:
        yield note, "yellow"
    for path, why in inspection.left_out:
        yield f"{path} is left out: {why}", "yellow"
    for number, layer in inspection.layers:
        yield "", ""
        yield _heading(number, layer), "bold"
        yield from _table(layer, max((width - _LABEL) // _CELL, 1))
    yield "", ""
    for sentence in findings(inspection):
        yield sentence, ""


def _heading(number: int, layer: LayerHeads) -> str:
    apart = "" if math.isnan(layer.redundancy) else f", mean distance of maps {layer.redundancy:.2f}"
    return f"layer {number}  {layer.path or '(itself)'}: {layer.attention}{apart}"


def _table(layer: LayerHeads, columns: int) -> Iterator[tuple[str, str]]:
    heads = len(layer.entropy)
    near = nearest(layer.likeness)
    rows = [
        ("head", [str(head) for head in range(heads)], "bold"),
        ("entropy", [_share(float(value)) for value in layer.entropy], ""),
        ("nearest head", [str(head) for head, _ in near], ""),
        ("its CKA", [_share(value) for _, value in near], ""),
        ("importance, %", _importance(layer), ""),
    ]
    for start in range(0, heads, columns):
        for label, cells, style in rows:
            if cells:
                shown = cells[start : start + columns]
                yield "  " + f"{label:{_LABEL - 2}}" + "".join(f"{cell:>{_CELL}}" for cell in shown), style


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _importance(layer: LayerHeads) -> Sequence[str]:
    if bool(layer.importance.isnan().all()):
        return []
    return [percent(float(value)) for value in layer.importance]
