"""Padded series with their targets, and how an epoch cuts them into batches."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

BUCKET = 4
"""Batches whose series are sorted by length together: enough to spare padding, few enough to stay random."""


@dataclass(frozen=True)
class Examples:
    """A data set, or a batch of one.

    Args:
        values: (cases, time points, channels), padded at the end.
        padding: (cases, time points), True at padding; None when there is none.
        targets: (cases,).
        weights: (cases,), each case's share in the loss.

    Example:
        >>> values = torch.zeros(2, 5, 1)
        >>> padding = torch.arange(5) >= torch.tensor([[2], [3]])
        >>> examples = Examples(values, padding, torch.zeros(2), torch.ones(2))
        >>> examples.lengths.tolist(), examples.take(torch.tensor([0])).values.shape
        ([2, 3], torch.Size([1, 2, 1]))
    """

    values: Tensor
    padding: Tensor | None
    targets: Tensor
    weights: Tensor

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.values)

    @property
    def lengths(self) -> Tensor:
        """(cases,): time points that are not padding."""
        if self.padding is None:
            return torch.full((len(self),), self.values.shape[1], device=self.values.device)
        return (~self.padding).sum(1)

    @property
    def inputs(self) -> tuple[Tensor, Tensor | None]:
        """Arguments of the model: values and padding."""
        return self.values, self.padding

    def load(self, batches: Sequence[Tensor], seed: int) -> Iterator["Examples"]:
        """The batches of these cases, one after the other; nothing is drawn, so ``seed`` does not matter."""
        del seed
        return map(self.take, batches)

    def fingerprint(self) -> bytes:
        """A digest of shapes and numbers."""
        digest = hashlib.sha256()
        for tensor in astuple(self):
            if tensor is not None:
                digest.update(f"{tuple(tensor.shape)}".encode() + tensor.cpu().numpy().tobytes())
        return digest.digest()

    def take(self, indices: Tensor) -> "Examples":
        """Some cases, cut to the longest of them; the mask goes when nothing is padded, as SDPA is faster."""
        values, targets, weights = self.values[indices], self.targets[indices], self.weights[indices]
        if self.padding is None:
            return Examples(values, None, targets, weights)
        padding = self.padding[indices]
        longest = int((~padding).sum(1).max())
        values, padding = values[:, :longest], padding[:, :longest]
        return Examples(values, padding if bool(padding.any()) else None, targets, weights)

    def to(self, device: torch.device) -> "Examples":
        """The same on another device."""
        padding = None if self.padding is None else self.padding.to(device)
        return Examples(self.values.to(device), padding, self.targets.to(device), self.weights.to(device))


def shuffled_batches(lengths: Tensor, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Cut all cases into even random batches, series of similar length together.

    Example:
        >>> batches = shuffled_batches(torch.tensor([5, 9, 5, 9, 5]), 2, torch.Generator().manual_seed(0))
        >>> sorted(torch.cat(batches).tolist()), sorted(map(len, batches))
        ([0, 1, 2, 3, 4], [1, 2, 2])
    """
    order = torch.randperm(len(lengths), generator=generator)
    buckets = torch.split(order, BUCKET * batch_size)
    order = torch.cat([bucket[lengths[bucket].argsort(stable=True)] for bucket in buckets])
    batches = order.tensor_split(-(-len(order) // batch_size))
    return [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]


def sorted_batches(lengths: Tensor, batch_size: int) -> list[Tensor]:
    """Cut all cases into batches by length, with no randomness: for validation and prediction.

    Example:
        >>> [batch.tolist() for batch in sorted_batches(torch.tensor([5, 9, 4]), 2)]
        [[2, 0], [1]]
    """
    return list(torch.split(lengths.argsort(stable=True), batch_size))


def shard(batches: list[Tensor], process: int, processes: int) -> list[tuple[Tensor, bool]]:
    """The batches of one process, as many as any other has; False marks a repeat that fills the last round.

    Example:
        >>> batches = [torch.tensor([0]), torch.tensor([1]), torch.tensor([2])]
        >>> [(batch.tolist(), counts) for batch, counts in shard(batches, process=1, processes=2)]
        [([1], True), ([0], False)]
    """
    rounds = -(-len(batches) // processes)
    indices = range(process, rounds * processes, processes)
    return [(batches[index % len(batches)], index < len(batches)) for index in indices]
