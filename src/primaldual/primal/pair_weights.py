"""Pair weights: how much each training pair counts for a query."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.arguments import finite
from primaldual.kernels.statistics import widest
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.parts import Part, overrides
from primaldual.primal.token_inputs import Inputs


class PairWeights(Part):
    """Weights w_ij > 0 of the pairs, kappa(x_i, k_j) w_ij in place of kappa; the base class states: all 1.

    A pooled pair has the geometric mean of its members' weights.

    Example:
        >>> from primaldual import PrimalProblem
        >>> class Nearer(PairWeights):
        ...     name = "nearer"
        ...     def log_weights(self, heads, count, queries, keys, inputs):
        ...         return -(queries[:, None] - keys).abs()[None, None]
        >>> key = torch.zeros(1, 1, 2, 4)
        >>> PrimalProblem(pair_weights=Nearer()).weights(key, key)[0, 0, 0]
        tensor([0.7311, 0.2689])
    """

    choice = "pair_weights"
    name = ""
    uneven: ClassVar[bool] = False
    """Whether pairs count differently; a class that states ``log_weights`` says so unless it states otherwise."""
    relative: ClassVar[bool] = False
    """w_ij depends on the head and on i - j alone."""
    summed: ClassVar[bool] = False
    """log w_ij = c_i - c_j for every key j up to i, with c from ``prefix_sums``."""
    facts: ClassVar[dict[str, tuple[str, ...]]] = {
        "relative": ("log_weights",),
        "summed": ("log_weights", "prefix_sums"),
    }

    def __init_subclass__(cls, **options: Any) -> None:
        """Never leave stated weights out."""
        super().__init_subclass__(**options)
        if overrides(cls, "log_weights", "uneven"):
            cls.uneven = True

    def log_weights(
        self, heads: HeadSet, count: int, queries: Tensor, keys: Tensor, inputs: Inputs
    ) -> Tensor:
        """log w_ij of some queries and keys, (1 or batch, heads of the set, queries, keys), as fresh memory.

        Args:
            heads: which heads.
            count: heads of the problem.
            queries: their positions, whole numbers in the type of the result, negative before the first key.
            keys: those of the keys, likewise, 0 or more unless the weights are ``relative``.
            inputs: what ``token_inputs`` names, of all heads of the problem and all keys.
        """
        raise NotImplementedError

    def prefix_sums(self, heads: HeadSet, count: int, length: int, inputs: Inputs, like: Tensor) -> Tensor:
        """The numbers c of the first keys, (1 or batch, heads of the set, length), in float64 where there is one.

        Args:
            heads: which heads.
            count: heads of the problem.
            length: keys.
            inputs: as in :meth:`log_weights`.
            like: gives the device.
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
    relative = True
    summed = True

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

    def log_weights(
        self, heads: HeadSet, count: int, queries: Tensor, keys: Tensor, inputs: Inputs
    ) -> Tensor:
        return self._factors(heads, count, keys)[..., None] * (queries[:, None] - keys).abs()

    def prefix_sums(self, heads: HeadSet, count: int, length: int, inputs: Inputs, like: Tensor) -> Tensor:
        positions = torch.arange(length, dtype=widest(like.device), device=like.device)
        return self._factors(heads, count, positions) * positions

    def _factors(self, heads: HeadSet, count: int, like: Tensor) -> Tensor:
        """-slope_h, (1, heads of the set, 1)."""
        slopes = self.head_slopes(count)
        return like.new_tensor([-slopes[head] for head in heads.members]).view(1, -1, 1)

    def formula(self, style: str) -> list[str]:
        listed = ", ".join(f"{slope:g}" for slope in self.slopes)
        if style == "latex":
            slopes = listed or r"2^{-8 (h + 1) / H}"
            return [
                rf"\Phi(T(x_i))\cdot\Phi(T(k_j)) \text{{ times }} e^{{-m_h |i - j|}},\quad m = ({slopes})"
            ]
        return [f"Φ(T(x_i))·Φ(T(k_j)) times exp(−m_h |i − j|),  m = ({listed or '2^(−8 (h + 1) / H)'})"]
