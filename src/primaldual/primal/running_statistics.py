"""Running averages over training batches of the keys' mean and variance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, distributed, nn

from primaldual.errors import ArgumentError
from primaldual.kernels.arguments import finite
from primaldual.kernels.statistics import KeyStatistics, accumulation_dtype
from primaldual.primal.sources import selection


class RunningStatistics(nn.Module):
    """Moving averages over batches of the mean over sequences of mu and of sigma^2, for every query head.

        m <- (1 - a) m + a mean_sequences(mu),     a = max(momentum, 1 / (batches so far + 1))

    and likewise for sigma^2: the first batch sets them, and until 1 / momentum batches they are plain means. In a
    process group the means go over the sequences of all its processes, in one all-reduce for each update. The
    averages are float32 or wider, also in models of half precision. Before any batch they are 0 and 1.

    Args:
        momentum: least weight of the newest batch, from 0 (plain mean over all batches) to 1 (the newest alone).

    Attributes:
        running_mean: (heads, D); None before ``bind``.
        running_variance: (heads, D).
        batches: int64 (heads,), batches with a sequence that has keys for the head.

    Raises:
        ArgumentError: a momentum outside [0, 1].

    Example:
        >>> averages = RunningStatistics(momentum=0.1).bind(heads=1, head_dim=2)
        >>> found = KeyStatistics(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[3.0, 4.0]]]]))
        >>> averages.update(found, None, [0])
        >>> averages.of([0]).variance.tolist()
        [[[[3.0, 4.0]]]]
    """

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self.momentum = finite("momentum", momentum, 0, 1)
        self.running_mean: Tensor | None
        self.running_variance: Tensor | None
        self.batches: Tensor | None
        for name in ("running_mean", "running_variance", "batches"):
            self.register_buffer(name, None)

    def bind(self, heads: int, head_dim: int) -> Self:
        """Make room for a number of query heads, and start afresh."""
        self.running_mean = torch.zeros(heads, head_dim)
        self.running_variance = torch.ones(heads, head_dim)
        self.batches = torch.zeros(heads, dtype=torch.int64)
        return self

    def keep_heads(self, members: list[int]) -> None:
        """Forget all heads but these."""
        self.running_mean, self.running_variance, self.batches = (kept[members] for kept in self._bound())

    def of(self, members: list[int], dtype: torch.dtype = torch.float32) -> KeyStatistics:
        """The averages of these heads, (1, heads, 1, D), as wide as ``dtype``, float32 at least.

        Raises:
            ArgumentError: sizes are not known yet.
        """
        mean, variance, _ = self._bound()
        rows, dtype = selection(members), torch.promote_types(mean.dtype, dtype)
        return KeyStatistics(mean[None, rows, None].to(dtype), variance[None, rows, None].to(dtype))

    def update(self, found: KeyStatistics, present: Tensor | None, members: list[int]) -> None:
        """Let the averages of these heads follow the statistics of a batch.

        Args:
            found: mean and variance of every sequence, (batch, heads, 1, D).
            present: bool (batch or 1, heads or 1, 1), the sequences that have keys; None = all.
            members: numbers of the heads.
        """
        mean, variance, batches = self._bound()
        rows = selection(members)
        with torch.no_grad():
            weight = torch.ones_like(found.mean[..., 0]) if present is None else present.to(found.mean.dtype)
            weight = weight.expand(*found.mean.shape[:2], 1)
            stacked = torch.cat(
                [found.mean.squeeze(-2) * weight, found.variance.squeeze(-2) * weight, weight], -1
            )
            sums = _over_processes(stacked.sum(0))
            count = sums[:, -1:]
            new_mean, new_variance = (sums[:, :-1] / count.clamp(min=1)).chunk(2, -1)
            share = (1 / (batches[rows].to(sums.dtype) + 1)).clamp(min=self.momentum).unsqueeze(-1)
            share = torch.where(count > 0, share, 0.0)
            # Not old + share * (new - old): the first batch would round small variances away against 1.
            mean[rows] = (mean[rows] * (1 - share) + new_mean * share).to(mean.dtype)
            variance[rows] = (variance[rows] * (1 - share) + new_variance * share).to(variance.dtype)
            batches[rows] += count.squeeze(-1) > 0

    def check_seen(self) -> None:
        """Raise ArgumentError unless every head has seen a batch."""
        if not bool((self._bound()[2] > 0).all()):
            raise ArgumentError(
                "running statistics have seen no training batch of every head and are 0 and 1 there; needed is a "
                "forward pass in training mode, or a state_dict that holds them"
            )

    def _bound(self) -> tuple[Tensor, Tensor, Tensor]:
        if self.running_mean is None or self.running_variance is None or self.batches is None:
            raise ArgumentError(
                "bn(running=true) keeps statistics for each head: call problem.bind(heads, head_dim) first"
            )
        return self.running_mean, self.running_variance, self.batches

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move and convert as every module does, but never to half precision."""
        former = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call] # torch has none here
        for name, moved in self._buffers.items():
            before = former[name]
            if moved is not None and before is not None and accumulation_dtype(moved.dtype) != moved.dtype:
                source = moved if before.is_meta else before
                self._buffers[name] = source.to(moved.device, accumulation_dtype(moved.dtype))
        return self


def _over_processes(sums: Tensor) -> Tensor:
    """The sum over the processes of the default group, where there is one."""
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        distributed.all_reduce(sums)
    return sums
