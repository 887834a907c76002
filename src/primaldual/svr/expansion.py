"""The solution of a primal problem: an attention whose values are dual coefficients."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from primaldual.errors import ShapeError
from primaldual.kernels.support_vectors.objective import relative
from primaldual.primal.problem import PrimalProblem
from primaldual.svr import saving

SCORES = 2**24
"""Scores of queries against keys that are held at a time."""


@dataclass(frozen=True, eq=False, repr=False)
class SupportVectorExpansion:
    """f(x) = sum_j kappa(T x, T k_j) / h(x) v_j + b, with v_j = beta_j / h(k_j): attention with solved values.

    Leading dimensions ([[batch,] heads,]) are those of the keys. Members of a pooled pair share its numbers.

    Attributes:
        problem: the choices.
        keys: (..., N, D), as given.
        values: v, (..., N, outputs).
        coefficients: beta = alpha - alpha~, (..., N, outputs), within [-C, C], times the weights where there are any.
        intercept: b, (..., outputs); 0 where none was fitted.
        fitted: f at the training pairs, (..., N, outputs).
        primal_objective: 1/2 ||W||^2 + sum_j C_j |y_j - f(k_j)|_eps, (..., outputs).
        gap: primal minus dual objective, (..., outputs), computed as a sum of terms that are 0 or more.
        C: (..., outputs).
        epsilon: (..., outputs).
        mask: bool (..., N), True = a training pair; None = all.

    Example:
        >>> from primaldual import preset, solve
        >>> keys = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None]
        >>> found = solve(preset("softmax"), keys, keys.sin(), epsilon=0.1)
        >>> bool(found.gap < 1e-6), bool((found.predict(keys) - keys.sin()).abs().max() < 0.2)
        (True, True)
    """

    problem: PrimalProblem
    keys: Tensor
    values: Tensor
    coefficients: Tensor
    intercept: Tensor
    fitted: Tensor
    primal_objective: Tensor
    gap: Tensor
    C: Tensor
    epsilon: Tensor
    mask: Tensor | None = None
    file_format: ClassVar[str] = "primaldual expansion 1"

    def __str__(self) -> str:
        """What was solved, how sparse and how good the solution is, in a few lines."""
        (count, dim), outputs = self.keys.shape[-2:], self.values.shape[-1]
        leading = " x ".join(map(str, self.keys.shape[:-2]))
        pairs = self.support.numel() if self.mask is None else int(self.mask.sum()) * outputs
        lines = {
            "attention": f"{self.problem.spec()}{f' ({leading} heads)' if leading else ''}",
            "keys": f"{count} of dimension {dim}, {outputs} output{'s' * (outputs > 1)} each",
            "support vectors": f"{int(self.support.sum())} of {pairs}",
            **self.loss_lines(),
            "intercept": spread(self.intercept),
            "objective": spread(self.primal_objective),
            "duality gap": f"{self.duality_gap:.1e} of the objective, at most",
        }
        return "\n".join(f"{name:<16} {text}" for name, text in lines.items())

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.problem.spec()!r}, keys={tuple(self.keys.shape)}, "
            f"outputs={self.values.shape[-1]}, duality_gap={self.duality_gap:.1e})"
        )

    def loss_lines(self) -> dict[str, str]:
        """The parameters of the loss, for printing."""
        return {"C, epsilon": f"{spread(self.C)}, {spread(self.epsilon)}"}

    @property
    def dual_objective(self) -> Tensor:
        """The value of the dual problem, (..., outputs), here -1/2 beta' K beta + y' beta - eps sum_j |beta_j|."""
        return self.primal_objective - self.gap

    @property
    def relative_gap(self) -> Tensor:
        """The gap over the larger objective in size, (..., outputs); 0 where both are 0."""
        return relative(self.gap, self.primal_objective)

    @property
    def duality_gap(self) -> float:
        """The largest relative gap of any output."""
        return float(self.relative_gap.max())

    @property
    def support(self) -> Tensor:
        """Bool (..., N, outputs): the support vectors, whose coefficients are not exactly 0."""
        return self.coefficients != 0

    def predict(self, queries: Tensor) -> Tensor:
        """f at queries (..., M, D): ``problem.attend(queries, keys, values) + intercept``, chunk by chunk.

        Raises:
            ShapeError: other leading dimensions or features than the keys have.
        """
        queries = torch.as_tensor(queries).to(self.keys)
        if queries.dim() != self.keys.dim() or (
            (*queries.shape[:-2], queries.shape[-1]) != (*self.keys.shape[:-2], self.keys.shape[-1])
        ):
            accepted = ", ".join(map(str, (*self.keys.shape[:-2], "M", self.keys.shape[-1])))
            raise ShapeError(f"queries must be ({accepted}); got {tuple(queries.shape)}")
        key, value, query = (self._batched(tensor) for tensor in (self.keys, self.values, queries))
        mask = None if self.mask is None else self._batched(self.mask.unsqueeze(-1)).mT
        rows = max(1, SCORES // (key.shape[0] * key.shape[1] * key.shape[2]))
        chunks = [query] if self.problem.transform.mixes_queries else query.split(rows, 2)
        with torch.no_grad():
            found = torch.cat([self.problem.attend(chunk, key, value, mask) for chunk in chunks], 2)
        return found.view(*queries.shape[:-1], self.values.shape[-1]) + self.intercept.unsqueeze(-2)

    def _batched(self, tensor: Tensor) -> Tensor:
        return tensor.reshape((1,) * (4 - tensor.dim()) + tuple(tensor.shape))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file, whole or not at all.

        Raises:
            CheckpointError: a part of the problem has no name in specs, or the place cannot be written.
        """
        saving.write(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            CheckpointError: the file is missing, corrupt or holds something else.
        """
        return cls(**saving.read(path, cls.file_format))


def spread(numbers: Tensor) -> str:
    """The smallest and the largest number, as text; one where they are the same.

    Example:
        >>> spread(torch.tensor([1.0, 3.0])), spread(torch.tensor([2.0]))
        ('1 to 3', '2')
    """
    low, high = float(numbers.min()), float(numbers.max())
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
