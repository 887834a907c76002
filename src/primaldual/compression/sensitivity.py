"""How much a model's outputs change when one head is fitted on fewer pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from primaldual.compression.readout import Readout
from primaldual.errors import ArgumentError
from primaldual.integrations.attention_hooks import AttentionCall, call, watching
from primaldual.integrations.attention_sites import AttentionSite
from primaldual.primal.problem import PrimalProblem


@dataclass(frozen=True)
class Sensitivity:
    """What every scale of every head costs and changes.

    Attributes:
        heads: (layer, head) of each row: layers as numbers among the sites.
        scales: of each column.
        losses: mean over cases of || change of the readout ||^2 when that head alone has that scale, (rows, columns).
        works: pairs of query and training pair that get a score, (rows, columns).
    """

    heads: tuple[tuple[int, int], ...]
    scales: tuple[int, ...]
    losses: Tensor
    works: Tensor

    def check(self, sites: Sequence[AttentionSite], scales: Sequence[int]) -> None:
        """Raise ArgumentError unless it is of these layers and scales."""
        heads = tuple((layer, head) for layer, site in enumerate(sites) for head in range(site.heads))
        if self.heads != heads or self.scales != tuple(scales):
            raise ArgumentError(
                f"sensitivity must be of the model's {len(heads)} heads and of scales {tuple(scales)}; "
                f"got {len(self.heads)} heads and {self.scales}"
            )

    @property
    def whole(self) -> float:
        """Work with nothing pooled."""
        return float(self.works[:, self.scales.index(1)].sum())


@torch.no_grad()
def measure_sensitivity(
    model: nn.Module,
    sites: Sequence[AttentionSite],
    pooled: Callable[[AttentionSite, int], PrimalProblem],
    scales: Sequence[int],
    data: Sequence[Any],
    readout: Readout,
    progress: Callable[[int, int], None] | None = None,
) -> Sensitivity:
    """Run the model once for every head and scale above 1, with that head alone pooled.

    Args:
        model: in evaluation mode, every site with a problem.
        sites: the layers.
        pooled: the problem of a site with all heads at one scale.
        scales: 1 and larger ones.
        data: batches.
        readout: what is to change least.
        progress: called with the runs done and to do.
    """
    rows = [(layer, head) for layer, site in enumerate(sites) for head in range(site.heads)]
    losses = torch.zeros(len(rows), len(scales), dtype=torch.float64)
    works = torch.zeros(len(sites), len(scales), dtype=torch.float64)
    problems = [{scale: pooled(site, scale) for scale in scales if scale > 1} for site in sites]
    total, done, cases = len(data) * len(rows) * (len(scales) - 1), 0, 0
    for batch in data:
        blocks = Blocks(model, sites)
        with blocks.remembering(), watching(sites, _count(sites, scales, problems, works)):
            original = readout(call(model, batch), batch)
        cases += len(original)
        outputs: dict[tuple[int, int], Tensor] = {}
        for row, (layer, head) in enumerate(rows):
            if head == 0:
                outputs.clear()
            for column, scale in enumerate(scales):
                if scale == 1:
                    continue
                if progress is not None:
                    progress(done, total)
                look = _pooled(head, problems[layer][scale], outputs, (layer, scale))
                with blocks.skipping(layer), watching([sites[layer]], look):
                    found = readout(call(model, batch), batch)
                losses[row, column] += float((found - original).double().square().sum())
                done += 1
    if progress is not None:
        progress(total, total)
    return Sensitivity(tuple(rows), tuple(scales), losses / cases, works[[layer for layer, _ in rows]])


def _pooled(
    head: int, problem: PrimalProblem, outputs_of: dict[tuple[int, int], Tensor], key: tuple[int, int]
) -> Callable[..., Tensor]:
    """For :func:`watching`: one head's outputs taken from another problem, whose outputs are computed once."""

    def look(seen: AttentionCall) -> Tensor:
        changed = seen.outputs.clone()
        if key not in outputs_of:
            outputs_of[key] = seen.attend_with(problem)
        changed[:, head] = outputs_of[key][:, head]
        return changed

    return look


def _count(
    sites: Sequence[AttentionSite],
    scales: Sequence[int],
    problems: Sequence[dict[int, PrimalProblem]],
    works: Tensor,
) -> Callable[..., None]:
    """For :func:`watching`: count scores, of attendable queries and pairs."""
    number = {site.path: layer for layer, site in enumerate(sites)}

    def look(seen: AttentionCall) -> None:
        layer, keys = number[seen.site.path], seen.attendable.keys
        batch, queries = seen.query.shape[0], seen.query.shape[2]
        lengths = [seen.source.length] * batch
        if keys is not None:
            lengths = keys.any(1).squeeze(1).expand(batch, -1).sum(-1).tolist()
        for column, scale in enumerate(scales):
            layout = problems[layer][max(scales)].subset.layout
            for length in lengths:
                rows = length if queries == seen.source.length else queries
                works[layer, column] += rows * layout.windows(int(length), scale)

    return look


class Blocks:
    """The blocks of a model that hold its attention layers, so that those before a changed layer need not run again.

    Blocks are entries of module lists. They are skipped only in models that run each of them once, in order.
    """

    def __init__(self, model: nn.Module, sites: Sequence[AttentionSite]) -> None:
        self.block_of = [_block(site.path) for site in sites]
        self.blocks = {path: model.get_submodule(path) for path in self.block_of if path is not None}
        self.outputs: dict[str, Any] = {}
        self.order: list[str] = []

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Keep what every block gives."""

        def remember(path: str) -> Callable[[nn.Module, Any, Any], None]:
            def hook(module: nn.Module, arguments: Any, output: Any) -> None:
                del module, arguments
                self.order.append(path)
                self.outputs[path] = output

            return hook

        with ExitStack() as stack:
            for path, block in self.blocks.items():
                stack.callback(block.register_forward_hook(remember(path)).remove)
            yield

    @contextmanager
    def skipping(self, layer: int) -> Iterator[None]:
        """Blocks before the one that holds a layer give what they gave."""
        own = self.block_of[layer]
        once = len(self.order) == len(set(self.order)) == len(self.blocks)
        with ExitStack() as stack:
            for path in self.order[: self.order.index(own)] if once and own is not None else ():
                block, output = self.blocks[path], self.outputs[path]
                block.forward = lambda *args, output=output, **kwargs: output
                stack.callback(vars(block).pop, "forward")
            yield


def _block(path: str) -> str | None:
    """The entry of a module list that a layer is in: up to the first number of its path."""
    parts = path.split(".")
    places = [place for place, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: places[0] + 1]) if places else None
