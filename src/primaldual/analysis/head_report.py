"""What the heads of a model do on real inputs: how alike they are, how spread, and how much each matters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from primaldual.analysis.attention_maps import capture_attention
from primaldual.analysis.head_sums import HeadSums
from primaldual.errors import ArgumentError
from primaldual.integrations.attention_hooks import (
    AttentionCall,
    attending,
    call,
    evaluating,
    output_tensor,
    watching,
)
from primaldual.integrations.attention_sites import AttentionSite, Layers

Loss = Callable[[Any, Any], Tensor]
"""From the model's outputs and the batch that they are for, what is to be small."""


@dataclass(frozen=True)
class LayerHeads:
    """Heads of one layer.

    Attributes:
        path: the layer's name in the model.
        attention: spec of its attention.
        entropy: of the weights, mean over queries and cases, over the log of the keys there are: 0 = one key
            each, 1 = all alike; NaN where weights are negative or not normalised. (heads,).
        distances: mean L2 distance between the maps of every two heads, (heads, heads).
        likeness: linear CKA of the outputs of every two heads, 0 to 1, (heads, heads).
        importance: change when the head gives 0: mean increase of the loss of a batch if there is one, else
            || new - old || / || old || of the model's outputs on all batches; NaN if not measured. (heads,).
    """

    path: str
    attention: str
    entropy: Tensor
    distances: Tensor
    likeness: Tensor
    importance: Tensor

    @property
    def redundancy(self) -> float:
        """Mean distance between two heads; small means redundant heads. NaN with one head."""
        heads = len(self.distances)
        first, second = torch.triu_indices(heads, heads, offset=1)
        return float(self.distances[first, second].mean())


@dataclass(frozen=True)
class HeadReport:
    """The report of :func:`head_report`; ``print`` it for a table.

    Attributes:
        layers: in the model's order.
        cases: how many sequences it is measured on.
        by_loss: importance is the increase of a loss.
    """

    layers: tuple[LayerHeads, ...]
    cases: int
    by_loss: bool

    def __str__(self) -> str:
        measure = "increase of the loss" if self.by_loss else "change of the output"
        lines = [f"heads of {len(self.layers)} attention layers on {self.cases} sequences"]
        for number, layer in enumerate(self.layers):
            lines += [
                f"{number} {layer.path or '(itself)'}: {layer.attention}, distance between heads {layer.redundancy:.3f}",
                f"    entropy                {_row(layer.entropy)}",
                f"    likeness to the next   {_row(_most_alike(layer.likeness))}",
            ]
            if not layer.importance.isnan().all():
                lines.append(f"    {measure:22} {_row(layer.importance)}")
        return "\n".join(lines)


def head_report(
    model: nn.Module,
    data: Any,
    layers: Layers = None,
    *,
    loss: Loss | None = None,
    ablate: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> HeadReport:
    """Look at the heads of a model of torch, timm or transformers, converted or not, while it runs on data.

    Args:
        model: left as it was.
        data: what the model is called with (a tensor, a tuple of arguments, a dict of named ones), or a list or
            DataLoader of such batches. They are kept, and gone through once more for every head that is ablated.
        layers: which, as in :func:`primaldual.convert`; None = all.
        loss: from outputs and batch, what importance is measured by; None = the change of the output.
        ablate: measure importance, at one run over the data for every head.
        progress: called with the runs over the data done and to do.

    Raises:
        UnsupportedError: the model has no supported attention layer.
        ArgumentError: no data.

    Example:
        >>> layer = nn.TransformerEncoderLayer(8, 2, batch_first=True)
        >>> report = head_report(layer, torch.randn(4, 5, 8))
        >>> report.layers[0].importance.shape, report.cases
        (torch.Size([2]), 4)
    """
    data = batches(data)
    with evaluating(model), attending(model, layers) as sites:
        steps = 1 + (sum(site.heads for site in sites) if ablate else 0)
        sums = HeadSums(sites)
        with watching(sites, sums), capture_attention(model, [site.path for site in sites], on_map=sums.take):
            original = [_measured(call(model, batch), batch, loss) for batch in data]
        done = 1
        importance = {site.path: torch.full((site.heads,), torch.nan, dtype=torch.float64) for site in sites}
        for site in sites if ablate else ():
            for head in range(site.heads):
                if progress is not None:
                    progress(done, steps)
                with watching([site], silenced(head)):
                    changed = [_measured(call(model, batch), batch, loss) for batch in data]
                importance[site.path][head] = _change(changed, original, loss is not None)
                done += 1
        if progress is not None:
            progress(done, steps)
        found = tuple(_layer(site, sums, importance[site.path]) for site in sites)
    return HeadReport(found, sums.cases[sites[0].path], loss is not None)


def silenced(head: int) -> Callable[..., Tensor]:
    """For :func:`watching`: the outputs with those of one head set to 0."""

    def look(seen: AttentionCall) -> Tensor:
        changed = seen.outputs.clone()
        changed[:, head] = 0
        return changed

    return look


def batches(data: Any) -> list[Any]:
    """Data batch by batch, kept: a loader that shuffles or augments gives other batches every time.

    Raises:
        ArgumentError: none.
    """
    if isinstance(data, Tensor | tuple | Mapping):
        return [data]
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        raise ArgumentError(f"data must be a batch or a list or loader of batches; got {type(data).__name__}")
    found = list(data)
    if not found:
        raise ArgumentError("data must hold a batch at least; got none")
    return found


def _layer(site: AttentionSite, sums: HeadSums, importance: Tensor) -> LayerHeads:
    assert site.problem is not None
    found = sums.entropy(site.path), sums.distances(site.path), sums.likeness(site.path)
    return LayerHeads(site.path, site.problem.spec(), *found, importance)


def _measured(outputs: Any, batch: Any, loss: Loss | None) -> Tensor:
    return output_tensor(outputs) if loss is None else loss(outputs, batch)


def _change(new: list[Tensor], old: list[Tensor], by_loss: bool) -> float:
    """Mean increase of the loss of a batch; or || new - old || / || old || over all batches."""
    if by_loss:
        return sum(float(after - before) for after, before in zip(new, old, strict=True)) / len(old)
    difference = [(after.double() - before.double()).norm() for after, before in zip(new, old, strict=True)]
    size = torch.stack([before.double().norm() for before in old]).norm()
    return float(torch.stack(difference).norm() / size.clamp_min(torch.finfo(torch.double).tiny))


def _most_alike(likeness: Tensor) -> Tensor:
    return (
        likeness.clone().fill_diagonal_(-torch.inf).amax(1) if len(likeness) > 1 else likeness[0] * torch.nan
    )


def _row(values: Tensor) -> str:
    return " ".join(f"{float(value):7.3f}" for value in values)
