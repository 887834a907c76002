"""The kernel matrix of the training pairs, whole or as a product of features, as solvers use it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

SMALLEST_PIVOT = 1e-13
"""First addition to a unit diagonal when rounding stops a factorisation; a hundred times more on every retry."""

ShiftedSolver = Callable[[Tensor], Tensor]
"""Rows r (outputs, N) -> x with (K + diag(d)) x = r, each row with its own d."""


class KernelOperator(Protocol):
    """A positive semidefinite matrix K (N, N) for all outputs, or one per output."""

    def times(self, rows: Tensor) -> Tensor:
        """K applied to each row of (outputs, N)."""

    def shifted(self, diagonal: Tensor) -> ShiftedSolver:
        """A solver with K + diag(d) for each row d > 0 of ``diagonal`` (outputs, N)."""

    def select(self, outputs: Tensor) -> Self:
        """The same for some of the outputs."""


@dataclass(frozen=True)
class DenseKernel:
    """The matrix itself, (N, N) for all outputs or (outputs, N, N)."""

    matrix: Tensor

    @property
    def rounding(self) -> float:
        """Share of the diagonal that is nothing but rounding once the mean was taken off."""
        return 1e3 * torch.finfo(self.matrix.dtype).eps

    def apply(self, change: Callable[[Tensor], Tensor]) -> DenseKernel:
        """The same with other numbers."""
        return DenseKernel(change(self.matrix))

    def pairs(self, rows: Tensor) -> DenseKernel:
        """The same for some of the training pairs."""
        return DenseKernel(self.matrix[..., rows, :][..., rows])

    def scaled(self, factor: Tensor) -> DenseKernel:
        """Each matrix times its factor."""
        return DenseKernel(self.matrix * factor[..., None, None])

    def diagonal(self) -> Tensor:
        """K_jj, (..., N)."""
        return self.matrix.diagonal(dim1=-2, dim2=-1)

    def dense(self) -> DenseKernel:
        """The matrix itself."""
        return self

    def times(self, rows: Tensor) -> Tensor:
        return rows @ self.matrix if rows.dim() == self.matrix.dim() else _by_row(rows, self.matrix)

    def select(self, outputs: Tensor) -> DenseKernel:
        return self if self.matrix.dim() == 2 else DenseKernel(self.matrix[outputs])

    def shifted(self, diagonal: Tensor) -> ShiftedSolver:
        whole = self.matrix + torch.diag_embed(diagonal)
        # Unit diagonals: entries of d range over many orders of magnitude near a solution.
        scaling = whole.diagonal(dim1=-2, dim2=-1).rsqrt()
        whole.mul_(scaling.unsqueeze(-1)).mul_(scaling.unsqueeze(-2))
        factor, failed = torch.linalg.cholesky_ex(whole)
        jitter = SMALLEST_PIVOT
        while bool(failed.any()) and jitter < 1:
            whole.diagonal(dim1=-2, dim2=-1).add_(jitter)
            factor, failed = torch.linalg.cholesky_ex(whole)
            jitter *= 100

        def solve(rows: Tensor) -> Tensor:
            return torch.cholesky_solve((rows * scaling).unsqueeze(-1), factor).squeeze(-1) * scaling

        return solve


@dataclass(frozen=True)
class FactoredKernel:
    """K = Psi Psi' with few columns, Psi (N, F) or (outputs, N, F); memory and work are linear in N."""

    features: Tensor

    @property
    def rounding(self) -> float:
        """As for a matrix, squared because features enter twice."""
        return (1e3 * torch.finfo(self.features.dtype).eps) ** 2

    def apply(self, change: Callable[[Tensor], Tensor]) -> FactoredKernel:
        """The same with other numbers."""
        return FactoredKernel(change(self.features))

    def pairs(self, rows: Tensor) -> FactoredKernel:
        """The same for some of the training pairs."""
        return FactoredKernel(self.features[..., rows, :])

    def scaled(self, factor: Tensor) -> FactoredKernel:
        """Each matrix times its factor."""
        return FactoredKernel(self.features * factor[..., None, None].sqrt())

    def diagonal(self) -> Tensor:
        """K_jj, (..., N)."""
        return self.features.square().sum(-1)

    def dense(self) -> DenseKernel:
        """The features multiplied out."""
        return DenseKernel(self.features @ self.features.mT)

    def times(self, rows: Tensor) -> Tensor:
        if rows.dim() == self.features.dim():
            return (rows @ self.features) @ self.features.mT
        return _by_row(_by_row(rows, self.features), self.features.mT)

    def select(self, outputs: Tensor) -> FactoredKernel:
        return self if self.features.dim() == 2 else FactoredKernel(self.features[outputs])

    def shifted(self, diagonal: Tensor) -> ShiftedSolver:
        """Through (D + Psi Psi')^-1 = D^-1 - D^-1 Psi (I + Psi' D^-1 Psi)^-1 Psi' D^-1.

        The inner matrix is never formed: R of a QR factorisation of [D^-1/2 Psi; I] is its root.
        """
        root = diagonal.rsqrt()
        scaled = root.unsqueeze(-1) * self.features
        identity = torch.eye(scaled.shape[-1], dtype=scaled.dtype, device=scaled.device)
        below = identity.expand(scaled.shape[0], -1, -1)
        triangle = torch.linalg.qr(torch.cat([scaled, below], -2), mode="r").R

        def solve(rows: Tensor) -> Tensor:
            small = (rows * root).unsqueeze(-1)
            inner = torch.linalg.solve_triangular(triangle.mT, scaled.mT @ small, upper=False)
            inner = torch.linalg.solve_triangular(triangle, inner, upper=True)
            return (small - scaled @ inner).squeeze(-1) * root

        return solve


@dataclass(frozen=True)
class NearlyFactoredKernel:
    """A matrix (N, N) and few columns whose product it nearly is: exact products, approximate solutions.

    Attributes:
        matrix: K.
        features: Psi (N, F).
        rest: mean diagonal of K - Psi Psi', which is added to d in :meth:`shifted`.
    """

    matrix: Tensor
    features: Tensor
    rest: float

    def times(self, rows: Tensor) -> Tensor:
        return rows @ self.matrix

    def select(self, outputs: Tensor) -> NearlyFactoredKernel:
        del outputs
        return self

    def shifted(self, diagonal: Tensor) -> ShiftedSolver:
        return FactoredKernel(self.features).shifted(diagonal + self.rest)


def _by_row(rows: Tensor, matrices: Tensor) -> Tensor:
    return (rows.unsqueeze(-2) @ matrices).squeeze(-2)
