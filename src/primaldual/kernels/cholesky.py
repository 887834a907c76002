"""Cholesky factors that say what is wrong with a matrix that has none."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.modes import in_graph, in_transform


def cholesky(matrix: Tensor, what: str) -> Tensor:
    """L with L L' = matrix, (..., n, n), lower triangular.

    Args:
        matrix: symmetric.
        what: what it is, for the message.

    Raises:
        ArgumentError: it is not positive definite in its type; the message tells its smallest eigenvalue. In a graph
            and under torch.func the error is torch's.

    Example:
        >>> cholesky(torch.tensor([[1.0, 1.0], [1.0, 1.0]]), "the matrix of the keys")
        Traceback (most recent call last):
        primaldual.errors.ArgumentError: the matrix of the keys must be positive definite in torch.float32; ...
    """
    if in_graph() or in_transform():
        return torch.linalg.cholesky(matrix)
    factor, info = torch.linalg.cholesky_ex(matrix)
    check(info, matrix, what)
    return factor


def check(info: Tensor, matrix: Tensor, what: str) -> None:
    """Raise ArgumentError where ``cholesky_ex`` found no factor.

    Args:
        info: what ``cholesky_ex`` returned.
        matrix: of which there is none.
        what: what it is.
    """
    if info.is_meta or not bool(info.any()):
        return
    failed = matrix.detach()[info > 0][0]
    if not bool(failed.isfinite().all()):
        raise ArgumentError(
            f"{what} must be finite in {matrix.dtype}; got {int((~failed.isfinite()).sum())} numbers that are not: accepted "
            "are smaller keys, or a wider type"
        )
    smallest = float(torch.linalg.eigvalsh(failed)[0])
    raise ArgumentError(
        f"{what} must be positive definite in {matrix.dtype}; its smallest eigenvalue is {smallest:.3g}: accepted are a "
        "larger penalty, keys that differ, or a wider type"
    )
