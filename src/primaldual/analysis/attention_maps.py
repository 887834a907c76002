"""Attention maps of a model as it runs, and how much the heads of a layer differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError
from primaldual.integrations.attention_hooks import AttentionCall, attending, watching
from primaldual.integrations.attention_sites import AttentionSite, Layers
from primaldual.integrations.pruning import pruned_problem
from primaldual.kernels.masks import Attendable
from primaldual.primal.token_inputs import of_heads, with_values


@dataclass(frozen=True)
class LayerMaps:
    """Attention maps of one layer.

    Attributes:
        name: the layer's path inside the model.
        weights: (batch, heads, queries, keys); rows sum to 1 for a normalised attention.
        valid: (batch, keys), True where some query may attend.
        heads: which heads these are; () = all of the layer's.
    """

    name: str
    weights: Tensor
    valid: Tensor
    heads: tuple[int, ...] = ()


@contextmanager
def capture_attention(
    model: nn.Module,
    layers: Layers = None,
    heads: Sequence[int] | None = None,
    *,
    on_map: Callable[[LayerMaps], None] | None = None,
) -> Iterator[list[LayerMaps]]:
    """Collect the attention maps of everything that a model of torch, timm or transformers runs inside the block.

    Fast kernels never form the maps: they are computed a second time from the layer's queries, keys and masks,
    without gradients. Layers that are not converted attend as they always do, through this library's softmax, until
    the block ends; model and outputs are left as they were. A pooled pair's weight is spread over its members. Compiled
    code runs eagerly inside the block. Blocks may be open on one model in several threads: each gets the maps of its own
    thread, and of threads that have no block.

    Args:
        model: holds attention layers.
        layers: which, as in :func:`primaldual.convert`; None = all.
        heads: which heads; None = all. Only theirs are computed.
        on_map: takes every map as it comes, and nothing is collected: memory for one layer's maps is enough.

    Raises:
        UnsupportedError: the model has no supported attention layer.
        ArgumentError: layers or heads that it does not have.

    Example:
        >>> layer = nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
        >>> with capture_attention(layer, heads=[1]) as maps:
        ...     outputs = layer(torch.zeros(1, 3, 8))
        >>> maps[0].name, maps[0].weights.shape
        ('self_attn', torch.Size([1, 1, 3, 3]))
    """
    caught: list[LayerMaps] = []
    take = caught.append if on_map is None else on_map

    def look(seen: AttentionCall) -> None:
        with torch.no_grad():
            take(_maps(seen, heads))

    with attending(model, layers) as sites:
        for site in sites:
            _check_heads(site, heads)
        with watching(sites, look):
            yield caught


def _check_heads(site: AttentionSite, heads: Sequence[int] | None) -> None:
    if heads is not None and not all(0 <= head < site.heads for head in heads):
        raise ArgumentError(f"heads must be among 0 to {site.heads - 1} in {site.path}; got {list(heads)}")


def _maps(seen: AttentionCall, heads: Sequence[int] | None) -> LayerMaps:
    problem, query, attendable, inputs = seen.problem, seen.query, seen.attendable, seen.inputs
    (batch, count, length, _), key_length = query.shape, seen.source.length
    key, value = seen.source.take(list(range(count)))
    inputs = with_values(problem.token_inputs, inputs, count, value) or {}
    if heads is not None:
        members = list(heads)
        problem = pruned_problem(problem, members, count)
        key = key[:, [head * key.shape[1] // count for head in members]]
        query, attendable, inputs = query[:, members], attendable.select(members), of_heads(inputs, members)
        inputs = {need.name: inputs[need.name] for need in problem.token_inputs}
    mask = Attendable(attendable.keys, attendable.pairs).matrix(length, key_length, query.device)
    weights = problem.attention_map(query, key, mask, attendable.is_causal, inputs=inputs)
    valid = attendable.matrix(length, key_length, query.device).any(2).any(1)
    return LayerMaps(seen.site.path, weights, valid.expand(batch, -1), tuple(heads or ()))


def head_distances(maps: LayerMaps) -> float:
    """Mean pairwise L2 distance between the heads' maps; padding is left out. Small means redundant heads.

        mean over cases and pairs g < h of  || A_g - A_h ||_F

    Rows and columns of padding count 0. One head has no pairs: the result is NaN.

    Example:
        >>> identity, uniform = torch.eye(2), torch.full((2, 2), 0.5)
        >>> both = torch.stack([identity, uniform])[None]
        >>> head_distances(LayerMaps("layer", both, torch.ones(1, 2, dtype=torch.bool)))
        1.0
    """
    distances = pairwise_distances(maps).mean(0)
    heads = len(distances)
    first, second = torch.triu_indices(heads, heads, offset=1)
    return float(distances[first, second].mean())


def pairwise_distances(maps: LayerMaps) -> Tensor:
    """L2 distances between the maps of every two heads, case by case: (batch, heads, heads), float64."""
    weights = inside(maps).flatten(2)
    return torch.stack(
        [(weights - weights[:, head, None]).norm(dim=-1) for head in range(weights.shape[1])], 1
    )


def inside(maps: LayerMaps) -> Tensor:
    """The maps in float64 with 0 in rows and columns of padding."""
    weights = maps.weights.double()
    queries = weights.shape[2]
    rows = maps.valid if queries == maps.valid.shape[1] else maps.valid.new_ones(len(weights), queries)
    return torch.where(rows[:, None, :, None] & maps.valid[:, None, None, :], weights, 0.0)
