"""How a sequence lies over the processes of a group, agreed on before anything else is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any
from zlib import crc32

import torch
from torch import Tensor
from torch import distributed as dist

from primaldual.errors import ArgumentError, ShapeError, UnsupportedError
from primaldual.kernels.masks import Attendable
from primaldual.kernels.modes import in_graph, in_transform
from primaldual.parallel.collectives import gather_numbers
from primaldual.primal.attention import Attention
from primaldual.primal.token_inputs import Inputs

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)

ALIKE = (
    "attention", "batch", "heads", "key heads", "head_dim", "value_dim", "dtype", "is_causal", "dropout_p",
    "names of inputs", "gradients of keys, values and inputs",
)  # fmt: skip
"""What every process must give alike, in the order in which it is sent."""

SENT = 5 + len(ALIKE)
"""Whether the process can take part, its queries and keys, batch and heads of its mask, and what is alike."""


@dataclass(frozen=True)
class Shards:
    """A sequence that is split along its length, in the order of the ranks.

    Attributes:
        group: the process group; None = the default one.
        rank: of this process in it.
        lengths: keys of each process.
        mask_shape: batch and heads of the joined mask; None = no process has one.
    """

    group: Any
    rank: int
    lengths: tuple[int, ...]
    mask_shape: tuple[int, int] | None = None

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The position of each process's first key, and the one behind its last."""
        return list(pairwise([0, *accumulate(self.lengths)]))

    @property
    def total(self) -> int:
        """Nk, the keys of all processes."""
        return sum(self.lengths)


def check_group(group: Any) -> None:
    """Raise UnsupportedError unless this process is one of a group that can be called now."""
    if not (dist.is_available() and dist.is_initialized()):
        raise UnsupportedError(
            "sharded attention needs torch.distributed: call torch.distributed.init_process_group first"
        )
    if dist.get_rank(group) < 0:
        raise UnsupportedError(
            "this process is not a member of group; accepted is a group that it belongs to"
        )
    if in_graph() or in_transform():
        raise UnsupportedError(
            "sharded attention runs eagerly; got a graph of torch.compile or torch.export, or a transform of torch.func"
        )


@contextmanager
def telling_others(device: torch.device, group: Any) -> Iterator[None]:
    """Before an error leaves this process, tell the others, which wait in :func:`agree`."""
    try:
        yield
    except Exception:  # of torch too, which knows nothing of the others
        gather_numbers([1] + [0] * (SENT - 1), device, group)
        raise


def agree(
    attention: Attention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attendable: Attendable,
    dropout_p: float,
    inputs: Inputs,
    group: Any,
) -> Shards:
    """The lengths of all shards, from processes that call alike; every process raises the same error otherwise.

    Args:
        attention: what is computed.
        query: (batch, heads, nq, D) of this process.
        key: (batch, kv heads, n, D), likewise.
        value: (batch, kv heads, n, Dv), likewise.
        attendable: the masks of its keys.
        dropout_p: probability of dropping a weight.
        inputs: what the parts need of its tokens.
        group: the process group.

    Raises:
        ArgumentError: processes that call with different settings, or one that raised an error of its own.
        ShapeError: a process without keys or queries; under a causal mask, as many queries as do not match its keys.
    """
    mask = attendable.keys
    differentiated = (key, value, *(inputs[name] for name in sorted(inputs)))
    gradients = sum(
        2**number
        for number, tensor in enumerate(differentiated)
        if tensor.requires_grad and torch.is_grad_enabled()
    )
    alike = (
        crc32(attention.spec().encode()), *query.shape[:2], key.shape[1], key.shape[3], value.shape[3],
        DTYPES.index(key.dtype), int(attendable.is_causal), round(dropout_p * 1e9),
        crc32(" ".join(sorted(inputs)).encode()), gradients,
    )  # fmt: skip
    masked = (0, 0) if mask is None else mask.shape[:2]
    rows = gather_numbers([0, query.shape[2], key.shape[2], *masked, *alike], key.device, group)
    if failed := [rank for rank, row in enumerate(rows) if row[0]]:
        raise ArgumentError(f"processes {failed} of the group raised an error before attending; see theirs")
    for name, values in zip(ALIKE, zip(*(row[5:] for row in rows), strict=True), strict=True):
        if len(set(values)) > 1:
            raise ArgumentError(f"all processes must agree on {name}; got {list(values)}, by rank")
    queries, keys = [row[1] for row in rows], [row[2] for row in rows]
    _check_lengths(queries, keys, attendable.is_causal)
    shape = max(row[3] for row in rows), max(row[4] for row in rows)
    return Shards(group, dist.get_rank(group), tuple(keys), shape if shape[0] else None)


def _check_lengths(queries: Sequence[int], keys: Sequence[int], is_causal: bool) -> None:
    if not all((*queries, *keys)):
        raise ShapeError(
            f"every process needs a query and a key: use fewer processes, or split the {sum(keys)} keys more evenly; "
            f"got {list(queries)} queries and {list(keys)} keys, by rank"
        )
    if is_causal and queries != keys:
        raise ShapeError(
            f"under a causal mask every process needs a query for each of its keys; got {list(queries)} queries and "
            f"{list(keys)} keys, by rank"
        )
