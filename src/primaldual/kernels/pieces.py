"""Attention piece by piece: some sequences, heads and queries at a time, with one output and one set of gradients.

What comes before the softmax (pooling, statistics, changed queries) then lives in scratch memory that stays
in the cache, and is formed again in the backward instead of being kept. Fresh memory costs a CPU more than
the arithmetic on it.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from primaldual.kernels.flash import CutCall
from primaldual.kernels.precision import differentiated_once, own_precision

PIECE_ELEMENTS = 2**19
"""Query elements per thread and piece, sized to fit in cache."""

EVERY_ROW = slice(0, None)


class Piece(NamedTuple):
    """Some queries of some heads of some sequences.

    Attributes:
        batch: the sequences.
        heads: the query heads.
        source: which of the pairs of keys and values.
        kv_heads: the heads of that pair.
        rows: the queries whose outputs count. Those before are computed with them, for kernels that take the first
            queries and keys only; those after, and keys behind, are left out.
        begin: queries and keys before this are left out too; they neither attend nor are attended.
        last: no queries follow, so that all keys that count are in the piece.
    """

    batch: slice
    heads: slice
    source: int
    kv_heads: slice
    rows: slice = EVERY_ROW
    begin: int = 0
    last: bool = True

    def of_queries(self, tensor: Tensor) -> Tensor:
        """This part of (batch, heads, Nq, ...), with the queries before those that count."""
        return tensor[self.batch, self.heads, self.begin : self.rows.stop]

    def of_keys(self, tensor: Tensor) -> Tensor:
        """This part of (batch, kv heads, Nk, ...)."""
        return tensor[self.batch, self.kv_heads, self.begin : self.rows.stop]

    def that_count(self, part: Tensor) -> Tensor:
        """The queries that count, of this part of (batch, heads, Nq, ...)."""
        return part[:, :, self.first :] if self.first else part

    @property
    def first(self) -> int:
        """The first query that counts, of this part."""
        return self.rows.start - self.begin


Prepare = Callable[[Piece, Tensor, Tensor, Tensor], tuple[Tensor, CutCall]]
"""From a piece, its queries, keys and values: the changed queries, and the softmax over changed pairs."""


class Span(NamedTuple):
    """Sequences that are cut alike.

    Attributes:
        start: the first of them.
        stop: the one behind the last.
        begin: queries and keys before this are left out; outputs are 0 there.
        blocks: start and stop of blocks of queries that count, the last block first.
    """

    start: int
    stop: int
    begin: int = 0
    blocks: tuple[tuple[int, int | None], ...] = ((0, None),)


@lru_cache(maxsize=1024)
def cut(
    members: tuple[int, ...],
    held: tuple[int, ...],
    kv_heads: int,
    spans: tuple[Span, ...],
    length: int,
    width: int,
    source: int = 0,
    threads: int = 1,
) -> list[Piece]:
    """Pieces of about PIECE_ELEMENTS numbers for each thread, consecutive heads in each.

    Each has a head for every thread where there are so many: the kernel's backward gives a head to one thread.

    Args:
        members: the query heads to cover.
        held: the query heads that the pair of keys and values serves, in its order.
        kv_heads: how many heads the pair has, dividing those it serves.
        spans: the sequences.
        length: Nq.
        width: numbers in a query.
        source: which pair.
        threads: how many work on a piece.

    Example:
        >>> found = cut((0, 1, 4), (0, 1, 2, 3, 4, 5), 3, (Span(0, 1),), length=4, width=2)
        >>> [(piece.heads, piece.kv_heads) for piece in found]
        [(slice(0, 2, None), slice(0, 1, None)), (slice(4, 5, None), slice(2, 3, None))]
    """
    pieces = []
    for depth in range(max(len(span.blocks) for span in spans)):
        for span in spans:
            for rows in span.blocks[depth : depth + 1]:
                elements = max(1, ((length if rows[1] is None else rows[1]) - span.begin) * width)
                most = threads * max(1, PIECE_ELEMENTS // elements)
                for heads, kv in _head_ranges(members, held, len(held) // kv_heads, most):
                    sequences = max(1, most // (heads.stop - heads.start))
                    pieces += [
                        Piece(slice(first, min(first + sequences, span.stop)), heads, source, kv,
                              slice(*rows), span.begin, depth == 0)
                        for first in range(span.start, span.stop, sequences)
                    ]  # fmt: skip
    return pieces


def _head_ranges(
    members: tuple[int, ...], held: tuple[int, ...], groups: int, most: int
) -> Iterator[tuple[slice, slice]]:
    """At most so many consecutive query heads, and their key heads; heads that share keys stay together."""
    for run in _runs(members):
        place = held.index(run[0])
        whole = place % groups == 0 and len(run) % groups == 0  # else the run has only some that share
        step = max(groups, min(most, len(run)) // groups * groups) if whole else 1
        for start in range(0, len(run), step):
            size = min(step, len(run) - start)
            low = (place + start) // groups
            yield slice(run[start], run[start] + size), slice(low, low + max(1, size // groups))


def _runs(members: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Consecutive numbers together: (0, 1, 4) -> (0, 1), (4,)."""
    cuts = [0, *(i for i in range(1, len(members)) if members[i] != members[i - 1] + 1), len(members)]
    return [members[start:stop] for start, stop in pairwise(cuts)]


def attend_in_pieces(
    prepare: Prepare,
    pieces: Sequence[Piece],
    query: Tensor,
    pairs: Sequence[tuple[Tensor, Tensor]],
    parameters: Sequence[Tensor] = (),
    repeatable: bool = True,
) -> Tensor:
    """The output (batch, heads, Nq, D) of pieces that together cover every query of every head and sequence once.

    Differentiable once, in query, pairs and parameters.

    Args:
        prepare: forms the softmax of a piece; differentiable.
        pieces: what to take at a time.
        query: (batch, heads, Nq, D).
        pairs: keys (batch, kv heads, Nk, D) and values that the pieces take from.
        parameters: what else ``prepare`` depends on.
        repeatable: ``prepare`` gives the same when called again in the backward; else its graph is kept.
    """
    flat = [tensor for pair in pairs for tensor in pair]
    out: Tensor = _InPieces.apply(prepare, pieces, len(flat), repeatable, query, *flat, *parameters)
    return out


class _InPieces(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        prepare: Prepare,
        pieces: Sequence[Piece],
        flat_count: int,
        repeatable: bool,
        query: Tensor,
        *tensors: Tensor,
    ) -> Tensor:
        flat = tensors[:flat_count]
        keep_graphs = not repeatable and any(ctx.needs_input_grad)
        batch, heads, length, head_dim = query.shape
        out, graphs, sums = None, [], []
        for piece in pieces:
            leaves = _leaves(piece, query, flat, keep_graphs)
            with torch.set_grad_enabled(keep_graphs):
                changed, call = prepare(piece, *leaves)
            if keep_graphs:
                graphs.append((leaves, changed, call))
            with torch.no_grad():
                part, logsumexp = call.forward(changed)
                if piece.first:
                    logsumexp = call.without_rows(logsumexp, piece.first)
            if out is None and part.shape == query.shape and part.dtype == query.dtype:
                out = part
            else:
                if out is None:
                    fresh = query.new_zeros if any(other.begin for other in pieces) else query.new_empty
                    out = fresh(batch, length, heads, head_dim).transpose(1, 2)
                piece.that_count(piece.of_queries(out)).copy_(piece.that_count(part))
            # A wider output than is handed out is what its backward needs.
            sums.append((None if part.dtype == query.dtype else part, logsumexp))
        assert out is not None
        ctx.prepare, ctx.pieces, ctx.flat_count, ctx.graphs, ctx.sums = (
            prepare,
            pieces,
            flat_count,
            graphs,
            sums,
        )
        ctx.save_for_backward(query, out, *tensors)
        return out

    @staticmethod
    @differentiated_once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, out, *tensors = ctx.saved_tensors
        flat, parameters = tensors[: ctx.flat_count], tensors[ctx.flat_count :]
        grads: list[Tensor] = []
        wanted = [tensor for tensor in parameters if tensor.requires_grad]
        grad_wanted = [torch.zeros_like(tensor) for tensor in wanted]
        visited = set()
        for number, piece in enumerate(ctx.pieces):
            if ctx.graphs:
                leaves, changed, call = ctx.graphs[number]
            else:
                leaves = _leaves(piece, query, flat, True)
                with torch.enable_grad(), own_precision(query.device):
                    changed, call = ctx.prepare(piece, *leaves)
            with own_precision(query.device):
                part, logsumexp = ctx.sums[number]
                upstream = piece.of_queries(gradient).to(changed.dtype)
                found = torch.autograd.grad(
                    (changed, *call.tensors),
                    (*leaves, *wanted),
                    call.backward(
                        upstream, changed, (piece.of_queries(out) if part is None else part, logsumexp)
                    ),
                    retain_graph=bool(ctx.graphs),
                    allow_unused=True,
                )
            if not grads and all(map(_same_size, found[:3], (query, *flat))) and len(flat) == 2:
                grads = list(found[:3])
                visited.add((0, 0, 0))
            else:
                grads = grads or _room_for_gradients(ctx.pieces, query, flat)
                piece.that_count(piece.of_queries(grads[0])).copy_(piece.that_count(found[0]))
                place = piece.source, piece.batch.start, piece.kv_heads.start
                alone = piece.last and place not in visited
                for offset in (1, 2):
                    total = piece.of_keys(grads[2 * piece.source + offset])
                    total.copy_(found[offset]) if alone else total.add_(found[offset])
                visited.add(place)
            for total, added in zip(grad_wanted, found[3:], strict=True):
                if added is not None:
                    total.add_(added)
        of_wanted = iter(grad_wanted)
        rest = [next(of_wanted) if tensor.requires_grad else None for tensor in parameters]
        return None, None, None, None, *grads, *rest


def _same_size(found: Tensor, whole: Tensor) -> bool:
    return found.shape == whole.shape


def _room_for_gradients(pieces: Sequence[Piece], query: Tensor, flat: Sequence[Tensor]) -> list[Tensor]:
    """For the gradients of queries, and of all keys and values."""
    fresh = torch.zeros_like if any(piece.begin for piece in pieces) else torch.empty_like
    return [fresh(tensor) for tensor in (query, *flat)]


def _leaves(
    piece: Piece, query: Tensor, flat: Sequence[Tensor], with_gradient: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of a piece, cut off from the graph around it."""
    key, value = flat[2 * piece.source : 2 * piece.source + 2]
    query, key, value = piece.of_queries(query), piece.of_keys(key), piece.of_keys(value)
    if not with_gradient:
        return query, key, value
    leaves = query.detach(), key.detach(), value.detach()
    for leaf in leaves:
        leaf.requires_grad_()
    return leaves
