"""What is measured of a model's heads, and the same as numbers for programs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from primaldual.analysis import HeadReport, LayerHeads, LayerMaps, capture_attention, head_report
from primaldual.errors import UnsupportedError
from primaldual.experiments.inspection.subject import Subject, first_line
from primaldual.integrations.attention_hooks import call, evaluating
from primaldual.integrations.attention_sites import AttentionSite, Layers, select_sites
from primaldual.integrations.finding import find_sites, other_attention

MAP_LAYERS = 3
"""Layers whose maps are kept: the first, one in the middle, the last."""
MAP_LENGTH = 256
"""Longest sequence whose maps are kept."""


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        subject: the model and its inputs.
        report: of its heads.
        numbers: of the report's layers, as the model counts its attention layers.
        maps: of the first case, padding cut off, each (heads, queries, keys), by the layer's path.
        left_out: path of and reason for attention layers that could not be looked at.
        seconds: that it took.
    """

    subject: Subject
    report: HeadReport
    numbers: tuple[int, ...]
    maps: Mapping[str, Tensor]
    left_out: tuple[tuple[str, str], ...]
    seconds: float

    @property
    def ablated(self) -> bool:
        """Whether importance was measured."""
        return any(not bool(layer.importance.isnan().all()) for layer in self.report.layers)

    @property
    def layers(self) -> list[tuple[int, LayerHeads]]:
        """The layers with their numbers."""
        return list(zip(self.numbers, self.report.layers, strict=True))


def inspect_heads(
    subject: Subject,
    layers: Layers = None,
    ablate: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Measure the heads of a model on its inputs.

    Args:
        subject: the model, left as it was, and the inputs.
        layers: which, as in :func:`primaldual.convert`; None = all.
        ablate: measure importance, at one run over the inputs for every head.
        progress: called with the runs over the inputs done and to do.

    Raises:
        UnsupportedError: no supported attention layer, or a model that does not run on these inputs.
        ArgumentError: layers that the model does not have.
    """
    start = time.perf_counter()
    sites = find_sites(subject.model)
    chosen = _looked_at(subject, sites, layers)
    case = first_case(subject.batches[0])
    try:
        with evaluating(subject.model):
            call(subject.model, case)
    except Exception as error:  # whatever somebody else's model raises
        raise UnsupportedError(
            f"model {subject.name} does not run on {subject.data} ({type(error).__name__}: {first_line(error)})"
        ) from error
    paths = [site.path for site in chosen if site.refusal is None]
    report = head_report(subject.model, list(subject.batches), paths, ablate=ablate, progress=progress)
    order = [site.path for site in sites]
    others = [
        (path, f"{kind} is of no kind that is known") for path, kind in other_attention(subject.model, sites)
    ]
    refused = [(site.path, f"it has {site.refusal}") for site in chosen if site.refusal is not None]
    return Inspection(
        subject,
        report,
        tuple(order.index(layer.path) for layer in report.layers),
        _maps(subject, case, [layer.path for layer in report.layers]),
        (*refused, *others),
        time.perf_counter() - start,
    )


def _looked_at(subject: Subject, sites: list[AttentionSite], layers: Layers) -> list[AttentionSite]:
    chosen = select_sites(sites, layers) if sites else []
    if any(site.refusal is None for site in chosen):
        return chosen
    kind = type(subject.model).__name__
    if chosen:
        raise UnsupportedError(f"model {subject.name}: {chosen[0].path} has {chosen[0].refusal}")
    others = sorted({name for _, name in other_attention(subject.model, sites)})
    seen = f"; its attention classes: {', '.join(others)}" if others else ""
    raise UnsupportedError(f"model {subject.name}: {kind} has no supported attention layer{seen}")


def first_case(batch: Any) -> Any:
    """The first case of a batch, as the model is called.

    Example:
        >>> first_case({"ids": torch.zeros(3, 5)})["ids"].shape
        torch.Size([1, 5])
    """
    if isinstance(batch, Mapping):
        return {name: values[:1] for name, values in batch.items()}
    return tuple(values[:1] for values in batch) if isinstance(batch, tuple) else batch[:1]


def _maps(subject: Subject, case: Any, paths: list[str]) -> dict[str, Tensor]:
    last = len(paths) - 1
    shown = [paths[place] for place in sorted({0, last // 2, last})][:MAP_LAYERS]
    found: dict[str, Tensor] = {}

    def take(maps: LayerMaps) -> None:
        keys = maps.valid[0]
        weights = maps.weights[0, :, :, keys]
        if maps.weights.shape[2] == len(keys):
            weights = weights[:, keys]
        if max(weights.shape[1:]) <= MAP_LENGTH:
            found[maps.name] = weights.double().cpu()

    with evaluating(subject.model), capture_attention(subject.model, shown, on_map=take):
        call(subject.model, case)
    return found


def as_json(inspection: Inspection) -> dict[str, Any]:
    """All numbers but the maps; None where one is not defined or was not measured."""
    subject = inspection.subject
    return {
        "model": subject.name,
        "class": type(subject.model).__name__,
        "origin": subject.origin,
        "data": subject.data,
        "cases": subject.cases,
        "notes": [*subject.notes, *(f"{path} is left out: {why}" for path, why in inspection.left_out)],
        "importance": "relative change of the output" if inspection.ablated else None,
        "layers": [
            {
                "number": number,
                "path": layer.path,
                "attention": layer.attention,
                "heads": len(layer.entropy),
                "redundancy": _plain(layer.redundancy),
                "entropy": _plain(layer.entropy.tolist()),
                "importance": _plain(layer.importance.tolist()),
                "distances": _plain(layer.distances.tolist()),
                "likeness": _plain(layer.likeness.tolist()),
            }
            for number, layer in inspection.layers
        ],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return round(value, 6) if math.isfinite(value) else None


def nearest(likeness: Tensor) -> list[tuple[int, float]]:
    """For every head, the other one whose output is most like its own, and how much; empty with one head.

    Example:
        >>> nearest(torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
        [(1, 0.5), (0, 0.5)]
    """
    if len(likeness) < 2:
        return []
    values, heads = likeness.clone().fill_diagonal_(-torch.inf).max(1)
    return [(int(head), float(value)) for head, value in zip(heads, values, strict=True)]
