"""A band along a sequence, cut into blocks of queries that each see one slab of keys.

Every item of the batch becomes whole blocks, all items lie behind each other in one long buffer of
rows, and the slab of a block is a view into it. Nothing of size N x N is ever made.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.modes import in_graph

GROUP_ELEMENTS = 2**21  # working memory of one pass: small enough that the allocator reuses it


@dataclass(frozen=True)
class Band:
    """Position p sees positions p - before .. p + after, computed block by block.

    Attributes:
        before: how many positions back a query sees.
        after: how many positions ahead a query sees.
        block: queries in a block.
        lead: rows of a slab that stand before the block's first query.
        slab: rows of a slab.
    """

    before: int
    after: int
    block: int
    lead: int
    slab: int

    @classmethod
    def cut(cls, before: int, after: int, block: int) -> "Band":
        """Blocks of a given length, each with as much slab as its queries can see."""
        return cls(before, after, block, before, before + block + after)

    @classmethod
    def whole(cls, before: int, after: int, length: int) -> "Band":
        """One block and one slab for a sequence too short to be worth cutting."""
        return cls(before, after, length, 0, length)

    def count(self, length: int) -> int:
        """Blocks of one sequence; one more than needed under a compiler, which would treat 1 apart."""
        return (length + self.block - 1) // self.block + int(in_graph())

    def rows(self, tensor: Tensor) -> Tensor:
        """(batch, heads, N, D) to rows (batch * blocks * block + margins, heads, D), margins zero."""
        length = tensor.shape[2]
        items = pad(tensor.transpose(1, 2), (0, 0, 0, 0, 0, self.count(length) * self.block - length))
        return pad(items.flatten(0, 1), (0, 0, 0, 0, self.lead, self.slab - self.lead - self.block))

    def unrows(self, rows: Tensor, like: Tensor) -> Tensor:
        """The inverse of :meth:`rows`, with the batch and length of ``like``."""
        batch, length = like.shape[0], like.shape[2]
        count = self.count(length) * self.block
        inner = rows[self.lead : self.lead + batch * count]
        return inner.unflatten(0, (batch, count))[:, :length].transpose(1, 2)

    def blocks(self, tensor: Tensor) -> Tensor:
        """(batch, heads, N, D) to (batch * blocks, heads, block, D), zero behind the end."""
        length = tensor.shape[2]
        items = pad(tensor.transpose(1, 2), (0, 0, 0, 0, 0, self.count(length) * self.block - length))
        return items.reshape(-1, self.block, *items.shape[2:]).transpose(1, 2)

    def gather_blocks(self, tensor: Tensor) -> Tensor:
        """:meth:`blocks` by indices, repeating the last row behind the end.

        Lengths enter as index values only, so a compiler need not reason about them.
        """
        position = self._starts(tensor) + torch.arange(self.block, device=tensor.device)
        return _gather(tensor, position)

    def gather_slabs(self, tensor: Tensor) -> Tensor:
        """The slabs of (batch, heads, N, D) by indices, repeating rows beyond the ends."""
        return _gather(tensor, self._positions(tensor))

    def ungather(self, tensor: Tensor, like: Tensor) -> Tensor:
        """The inverse of :meth:`gather_blocks`, with the batch and length of ``like``."""
        batch, length = like.shape[0], like.shape[2]
        items = torch.unflatten(tensor, 0, (batch, self.count(length))).transpose(1, 2).flatten(2, 3)
        return items.index_select(2, torch.arange(length, device=like.device))

    def _starts(self, tensor: Tensor) -> Tensor:
        """Long (blocks, 1): where the blocks start."""
        return torch.arange(self.count(tensor.shape[2]), device=tensor.device)[:, None] * self.block

    def _positions(self, tensor: Tensor) -> Tensor:
        """Long (blocks, slab): where the slab rows stand, beyond the ends too."""
        return self._starts(tensor) - self.lead + torch.arange(self.slab, device=tensor.device)

    def unblock(self, tensor: Tensor, batch: int, length: int) -> Tensor:
        """The inverse of :meth:`blocks`."""
        heads, width = tensor.shape[1], tensor.shape[3]
        return tensor.transpose(1, 2).reshape(batch, -1, heads, width)[:, :length].transpose(1, 2)

    def slabs(self, rows: Tensor) -> Tensor:
        """Rows (R, heads, D) to overlapping slabs (batch * blocks, heads, slab, D), a view."""
        return rows.unfold(0, self.slab, self.block).transpose(-2, -1)

    def seen(self, key: Tensor, key_mask: Tensor | None) -> Tensor:
        """Bool (batch * blocks, 1 or mask heads, 1, slab): slab rows that hold an attendable key."""
        batch, length = key.shape[0], key.shape[2]
        position = self._positions(key)
        inside = (position >= 0) & (position < length)
        if key_mask is None:
            key_mask = torch.ones(1, 1, 1, length, dtype=torch.bool, device=key.device)
        member = self.gather_slabs(key_mask.expand(batch, -1, -1, -1).transpose(-2, -1))
        return member.transpose(-2, -1) & inside.repeat(batch, 1)[:, None, None, :]

    def allowed(self, device: torch.device) -> Tensor:
        """Bool (block, slab): the band itself."""
        query = torch.arange(self.block, device=device)[:, None] + self.lead
        distance = torch.arange(self.slab, device=device) - query
        return (distance >= -self.before) & (distance <= self.after)

    def groups(self, blocks: int, elements_per_block: int) -> Iterator[slice]:
        """Ranges of blocks that together stay within the working memory."""
        size = max(1, GROUP_ELEMENTS // max(1, elements_per_block))
        for start in range(0, blocks, size):
            yield slice(start, min(start + size, blocks))

    def add_slabs(self, rows: Tensor, slabs: Tensor, group: slice) -> None:
        """Add the slabs (group, heads, slab, D) of a range of blocks onto the rows they came from."""
        blocks = group.stop - group.start
        for offset in range(0, self.slab, self.block):
            width = min(self.block, self.slab - offset)
            start = group.start * self.block + offset
            part = rows[start : start + (blocks - 1) * self.block + width]
            target = part.unfold(0, width, self.block).transpose(-2, -1)
            target.add_(slabs[:, :, offset : offset + width])


@dataclass(frozen=True)
class Alignment:
    """How queries and keys of unequal number come to stand on the same positions.

    The last query stands at the last key. Keys that no query can see are dropped; then the shorter
    side is extended in front.

    Attributes:
        dropped: keys dropped in front.
        query_padding: rows to add before the queries, and to drop from the output.
        key_padding: masked rows to add before the keys.
    """

    dropped: int
    query_padding: int
    key_padding: int

    @classmethod
    def of(cls, query_length: int, key_length: int, before: int) -> "Alignment":
        """The alignment for these lengths and a band that reaches ``before`` positions back."""
        if query_length == key_length:
            return cls(0, 0, 0)
        if query_length > key_length:
            return cls(0, 0, query_length - key_length)
        reach = min(key_length - query_length, before)
        return cls(key_length - query_length - reach, reach, 0)

    def keys(self, tensor: Tensor) -> Tensor:
        """(..., Nk, D) to (..., N, D)."""
        return _extend(tensor[..., self.dropped :, :] if self.dropped else tensor, self.key_padding)

    def queries(self, tensor: Tensor) -> Tensor:
        """(..., Nq, D) to (..., N, D)."""
        return _extend(tensor, self.query_padding)

    def mask(self, key_mask: Tensor | None, key_length: int, device: torch.device) -> Tensor | None:
        """Key mask (..., 1, Nk) to (..., 1, N); padded keys are masked. None when nothing is."""
        if key_mask is None:
            if not self.key_padding:
                return None
            key_mask = torch.ones(1, 1, 1, key_length, dtype=torch.bool, device=device)
        return pad(key_mask[..., self.dropped :], (self.key_padding, 0), value=False)


def _gather(tensor: Tensor, position: Tensor) -> Tensor:
    """(batch, heads, N, D) at positions (blocks, rows) to (batch * blocks, heads, rows, D)."""
    taken = tensor[:, :, position.clamp(0, tensor.shape[2] - 1)].transpose(1, 2)
    # Copied, so that a compiler need not prove which strides merge.
    return taken.clone(memory_format=torch.contiguous_format).flatten(0, 1)


def _extend(tensor: Tensor, front: int) -> Tensor:
    return pad(tensor, (0, 0, front, 0)) if front else tensor
