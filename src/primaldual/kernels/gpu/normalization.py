"""What a normalisation of queries and keys takes beside their statistics, as callers state it and as kernels take it."""

from typing import NamedTuple, Self

from torch import Tensor


class Normalization(NamedTuple):
    """g (q - beta mu) / s and (k - mu) / s with s = sqrt(sigma^2 + eps).

    Attributes:
        beta: a number, or (heads,).
        eps: added to the variance; None = s is 1.
        gain: g, (heads, D or 1); None = 1.
    """

    beta: float | Tensor
    eps: float | None
    gain: Tensor | None = None


class HeadNumbers(NamedTuple):
    """beta and g as kernels take them.

    Attributes:
        tensors: beta of every head and float32 g (heads, D); any tensor where there is none.
        number: beta, if it is a number.
        learned: whether beta is a tensor.
        gained: whether there is g.
    """

    tensors: tuple[Tensor, Tensor]
    number: float
    learned: bool
    gained: bool

    @classmethod
    def of(cls, normalization: Normalization, query: Tensor) -> Self:
        """Those of queries (batch, heads, Nq, D)."""
        beta, _, gain = normalization
        learned = isinstance(beta, Tensor)
        gains = query if gain is None else gain.expand(query.shape[1], query.shape[3]).float().contiguous()
        betas, number = (beta, 0.0) if isinstance(beta, Tensor) else (query, float(beta))
        return cls((betas, gains), number, learned, gain is not None)
