"""What stands out in an inspection, in sentences; no more than the numbers say."""

from __future__ import annotations

import math

from primaldual.experiments.inspection.measuring import Inspection
from primaldual.reporting.numbers import percent

SMALL = 0.01
"""A relative change of the output below this is called small."""


def findings(inspection: Inspection) -> list[str]:
    """One to three sentences: what single heads change, which are alike, which look at one key or at all alike."""
    found = [_importance(inspection), _likeness(inspection), _entropy(inspection)]
    return [sentence for sentence in found if sentence]


def _importance(inspection: Inspection) -> str:
    scored = sorted(
        (float(value), number, head)
        for number, layer in inspection.layers
        for head, value in enumerate(layer.importance)
        if not math.isnan(value)
    )
    if not scored:
        return ""
    (least, *low), (most, *high) = scored[0], scored[-1]
    if len(scored) == 1:
        return f"Silencing the only head changes the output by {percent(most)} %."
    small = sum(value < SMALL for value, _, _ in scored)
    few = f" {small} of {len(scored)} heads change it by less than {SMALL * 100:g} % each." if small else ""
    return (
        f"Silencing one head changes the output by {percent(least)} % (layer {low[0]}, head {low[1]}) to "
        f"{percent(most)} % (layer {high[0]}, head {high[1]}).{few}"
    )


def _likeness(inspection: Inspection) -> str:
    pairs = [
        (float(layer.likeness[first, second]), number, first, second)
        for number, layer in inspection.layers
        for first in range(len(layer.likeness))
        for second in range(first + 1, len(layer.likeness))
    ]
    pairs = [pair for pair in pairs if not math.isnan(pair[0])]
    if not pairs:
        return ""
    value, number, first, second = max(pairs)
    return f"The most alike heads of one layer are {first} and {second} of layer {number}, with a CKA of {value:.2f}."


def _entropy(inspection: Inspection) -> str:
    spreads = [
        (float(value), number, head)
        for number, layer in inspection.layers
        for head, value in enumerate(layer.entropy)
        if not math.isnan(value)
    ]
    if len(spreads) < 2:
        return ""
    (least, *low), (most, *high) = min(spreads), max(spreads)
    if most - least < 0.01:
        return f"All heads attend equally widely (entropy {least:.2f})."
    return (
        f"The narrowest head is {low[1]} of layer {low[0]} (entropy {least:.2f}), the widest {high[1]} of layer "
        f"{high[0]} ({most:.2f})."
    )
