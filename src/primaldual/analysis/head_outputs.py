"""How alike the outputs of heads are, summed batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor


class OutputLikeness:
    r"""Linear CKA between the outputs of every two heads, over all tokens seen.

        CKA(Y, Z) = || Y^T Z ||_F^2 / (|| Y^T Y ||_F || Z^T Z ||_F),   Y, Z (tokens, Dv), columns centred

    1 = the same up to rotation and scale, 0 = nothing in common. Only products of widths are kept.

    Reference: Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019.

    Example:
        >>> likeness = OutputLikeness()
        >>> head = torch.randn(1, 1, 50, 4)
        >>> likeness.add(torch.cat([head, 3 * head], 1))
        >>> [round(value, 6) for value in likeness.value()[0].tolist()]
        [1.0, 1.0]
    """

    def __init__(self) -> None:
        self.count = 0
        self.heads = 0
        self.shift: Tensor | None = None  # centring by differences of large sums would lose small deviations
        self.sums: Tensor | None = None
        self.products: Tensor | None = None

    def add(self, outputs: Tensor, rows: Tensor | None = None) -> None:
        """Take in outputs (batch, heads, N, Dv), of the tokens in ``rows`` (batch, N) only."""
        self.heads = outputs.shape[1]
        tokens = outputs.detach().double().permute(0, 2, 1, 3).flatten(2)
        flat = tokens.flatten(0, 1) if rows is None else tokens[rows]
        flat = flat.cpu()
        if self.shift is None and len(flat):
            self.shift = flat[0]
        if self.shift is not None:
            flat = flat - self.shift
        self.count += len(flat)
        self.sums = flat.sum(0) + (0 if self.sums is None else self.sums)
        self.products = flat.T @ flat + (0 if self.products is None else self.products)

    def value(self) -> Tensor:
        """(heads, heads), float64; NaN with nothing taken in, 0 beside a head that is constant."""
        if self.sums is None or self.products is None or not self.count:
            return torch.full((self.heads, self.heads), torch.nan, dtype=torch.float64)
        centred = self.products - self.sums.outer(self.sums) / self.count
        width = len(centred) // self.heads
        blocks = centred.unflatten(0, (-1, width)).unflatten(2, (-1, width))
        cross = blocks.square().sum((1, 3))
        own = cross.diagonal().sqrt()
        scale = own.outer(own)
        return torch.where(scale > 0, cross / scale.clamp_min(torch.finfo(torch.double).tiny), 0.0)
