"""A step of decoding by three launches whose shapes stay fixed: lengths lie on the device, so that graphs can replay it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from primaldual.kernels.gpu.decode import attend_group, attend_one, merge
from primaldual.kernels.gpu.decode_pairs import take_in
from primaldual.kernels.gpu.decode_table import CachedHeads, bases, members, tabulated
from primaldual.kernels.gpu.launch import launch
from primaldual.kernels.gpu.softmax import padded, precision_of

LOG2E = 1.4426950408889634

PROGRAMS_PER_PROCESSOR = 4
"""Programs for each multiprocessor that keys are split into: all run at once, and loads cover the latency of memory."""

BLOCK_NUMBERS = 4096
"""Numbers of keys that a program holds at once: 64 slots of 64, without spilled registers."""

STAGES = 3
"""Blocks of keys and values that are on their way or in use."""

LEAST_KEYS = 128
"""Slots of a full cache below which a split does not pay."""

HEADROOM = 16.0
"""Divisor of the queries of a product in float16."""


class Normalization(NamedTuple):
    """(q - beta mean) / (variance + eps); without a division where ``eps`` is None."""

    beta: float
    eps: float | None


class DecodeStep:
    """out = sum_j softmax_j(c T(q) . T(k_j)) v_j over the pairs so far and the token's own, one token of every sequence.

    It changes the caches, what runs along and the lengths on the device in place, and synchronises nowhere.

    Args:
        caches: those of all query heads.
        lengths: tokens of each sequence so far.
        scale: c.
        normalization: T; None = the identity.
        splits: parts of the keys that different programs attend to, a power of 2; None = as many as fill the device.
        block: slots that a program takes at once, a power of 2 from 16 on; None = as fit.

    Attributes:
        positions: long (batch,), tokens of each sequence so far.
    """

    def __init__(
        self,
        caches: Sequence[CachedHeads],
        lengths: list[int],
        scale: float,
        normalization: Normalization | None = None,
        splits: int | None = None,
        block: int | None = None,
    ) -> None:
        first = caches[0]
        self.device, self.batch = first.keys.device, first.keys.shape[0]
        self.heads = sum(len(cache.members) for cache in caches)
        self.rows = sum(len(cache.key_heads) for cache in caches)
        self.head_dim, self.value_dim = first.keys.shape[3], first.values.shape[3]
        self.group = max(len(cache.members) // len(cache.key_heads) for cache in caches)
        self.splits = splits or self._splits(max(cache.keys.shape[2] for cache in caches))
        self.positions = torch.tensor(lengths, device=self.device)
        self.caches = list(caches)
        self._bases = bases(caches)
        table, unit = tabulated(caches, self._bases)
        self._table = table.to(self.device)
        self._members = members(caches, self.group).to(self.device)
        numbers = self.batch * self.heads * self.splits
        wide: dict[str, Any] = {"dtype": torch.float32, "device": self.device}
        self._query = torch.empty(self.batch * self.heads * self.head_dim, **wide)
        self._sums = torch.empty(numbers * self.value_dim, **wide)
        self._peaks = torch.empty(numbers * 2, **wide)
        self._beta, self._eps = (
            (0.0, None) if normalization is None else (float(normalization.beta), normalization.eps)
        )
        self._factor = scale * LOG2E
        sizes = (self.head_dim, self.value_dim, padded(self.head_dim), padded(self.value_dim))
        self._take_in = (*sizes, unit, self.group, normalization is not None, self._eps is not None)
        block = block or min(64, max(16, BLOCK_NUMBERS // max(sizes)))
        self._attend: tuple[Any, ...] = (*sizes, block, self.splits, unit)
        if self.group == 1:
            self._attend += (STAGES,)
        else:
            headroom = HEADROOM if first.keys.dtype == torch.float16 else 1.0
            rows = max(16, triton.next_power_of_2(self.group))
            self._attend += (self.group, rows, headroom, precision_of(first.keys))
        self._merge = (self.value_dim, padded(self.value_dim), self.splits)

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The outputs (batch, heads, 1, Dv) of one token of every sequence, (batch, heads, 1, D); it is kept."""
        query, key, value = (_dense(tensor) for tensor in (query, key, value))
        keys, values, wide = self._bases
        out = query.new_empty(self.batch, self.heads, 1, self.value_dim)
        pairs = self.batch * self.rows
        launch(
            take_in,
            (pairs, 1),
            (query, key, value, keys, values, wide, self._query, self._table, self._members, self.positions),
            (self._beta, self._eps or 0.0, self.rows, self.heads, *query.stride()[:2], *key.stride()[:2],
             *value.stride()[:2]),
            self._take_in,
            warps=2,
            stages=1,
        )  # fmt: skip
        launch(
            attend_one if self.group == 1 else attend_group,
            (pairs, self.splits),
            (self._query, keys, values, self._sums, self._peaks, self._table, self._members, self.positions),
            (self._factor, self.rows, self.heads),
            self._attend,
            warps=4,
            stages=2,
        )
        launch(
            merge,
            (self.batch * self.heads, 1),
            (self._sums, self._peaks, out, self.positions),
            (self.heads,),
            self._merge,
            warps=1,
            stages=1,
        )
        return out

    def _splits(self, slots: int) -> int:
        """How many parts of the keys fill the device, where caches are full."""
        processors = (
            torch.cuda.get_device_properties(self.device).multi_processor_count
            if self.device.type == "cuda"
            else 1
        )
        wanted = PROGRAMS_PER_PROCESSOR * processors // (self.batch * self.rows)
        most = max(1, slots // LEAST_KEYS)
        return 2 ** (max(1, min(wanted, most)).bit_length() - 1)


def _dense(tensor: Tensor) -> Tensor:
    return tensor if tensor.stride(3) == 1 else tensor.contiguous()
