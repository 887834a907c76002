"""Pair weights: how much each training pair counts for a query."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.arguments import finite
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.parts import Part


class PairWeights(Part):
    """Weights w_ij > 0 of the pairs, kappa(x_i, k_j) w_ij in the place of kappa; the base class states: all 1.

    A pooled pair has the geometric mean of its members' weights.
    """

    choice = "pair_weights"
    name = ""
    uneven: ClassVar[bool] = False
    """Whether pairs count differently."""

    def log_weights(self, heads: HeadSet, count: int, queries: Tensor, keys: Tensor) -> Tensor:
        """log w_ij of some queries and keys, (1 or batch, heads of the set, queries, keys), as fresh memory.

        Args:
            heads: which heads.
            count: heads of the problem.
            queries: their positions, in the type of the result.
            keys: those of the keys, likewise.
        """
        raise NotImplementedError


class Alibi(PairWeights):
    """log w_ij = -slope_h |i - j|: what is farther away counts less, at a rate of its own in every head.

    Args:
        slopes: one number 0 or more per head; none = 2^(-8 (h + 1) / H) in head h of H, from 0.

    Raises:
        ArgumentError: a slope that is negative or above 1e6, or as many slopes as do not match the heads.

    Reference: Press, Smith, Lewis, "Train Short, Test Long: Attention with Linear Biases Enables Input Length
    Extrapolation", ICLR 2022.

    Example:
        >>> from primaldual import preset
        >>> key = torch.zeros(1, 2, 2, 4)
        >>> preset("alibi(0,1)").weights(key, key)[0, 1, 0]
        tensor([0.7311, 0.2689])
    """

    name = "alibi"
    summary = "pairs count less the farther away they are, at a rate per head"
    cost = "that of softmax, about"
    examples = ("alibi",)
    uneven = True

    def __init__(self, *slopes: float) -> None:
        super().__init__()
        self.slopes = tuple(finite("slopes", slope, least=0) for slope in slopes)

    def arguments(self) -> tuple[object, ...]:
        return tuple(int(slope) if slope.is_integer() else slope for slope in self.slopes)

    def bind(self, heads: int, head_dim: int) -> Alibi:
        self.head_slopes(heads)
        return self

    def keep_heads(self, members: list[int], heads: int) -> None:
        slopes = self.head_slopes(heads)
        self.slopes = tuple(slopes[head] for head in members)

    @property
    def fixed_heads(self) -> int | None:
        return len(self.slopes) or None

    def head_slopes(self, heads: int) -> tuple[float, ...]:
        """The slope of every head."""
        if not self.slopes:
            return tuple(2.0 ** (-8 * (head + 1) / heads) for head in range(heads))
        if len(self.slopes) != heads:
            raise ArgumentError(
                f"slopes must hold one number for each of the {heads} heads; got {len(self.slopes)}: {self.slopes}"
            )
        return self.slopes

    def log_weights(self, heads: HeadSet, count: int, queries: Tensor, keys: Tensor) -> Tensor:
        slopes = self.head_slopes(count)
        factor = torch.tensor([-slopes[head] for head in heads.members], dtype=keys.dtype, device=keys.device)
        return factor.view(1, -1, 1, 1) * (queries[:, None] - keys).abs()

    def formula(self, style: str) -> list[str]:
        listed = ", ".join(f"{slope:g}" for slope in self.slopes)
        if style == "latex":
            slopes = listed or r"2^{-8 (h + 1) / H}"
            return [
                rf"\Phi(T(x_i))\cdot\Phi(T(k_j)) \text{{ times }} e^{{-m_h |i - j|}},\quad m = ({slopes})"
            ]
        return [f"Φ(T(x_i))·Φ(T(k_j)) times exp(−m_h |i − j|),  m = ({listed or '2^(−8 (h + 1) / H)'})"]
