"""Few columns whose product is nearly a kernel matrix, where there are any."""

from __future__ import annotations

from primaldual.kernels.support_vectors.operators import DenseKernel, NearlyFactoredKernel

NEARLY = 1e-5
"""Share of the trace that may be left out: solvers of equations become approximate, products stay exact."""

TRIAL = 24
"""Columns after which the decay so far must be half as fast as needed: it often goes faster later."""


def nearly_factored(kernel: DenseKernel) -> NearlyFactoredKernel | None:
    """The kernel with a factor of at most a quarter as many columns as positions, or None.

    Cholesky with the largest pivot first, K = Psi Psi' + rest, stopped as soon as it does not pay; smooth
    kernels of few dimensions have such a form, and one column costs O(N F).
    """
    matrix = kernel.matrix
    size = matrix.shape[-1]
    most = size // 4
    remaining = matrix.diagonal().clone()
    total = float(remaining.sum())
    features = matrix.new_zeros(size, max(1, most))
    for column in range(most + 1):
        left = float(remaining.sum())
        if left <= NEARLY * total:
            return NearlyFactoredKernel(matrix, features[:, : max(1, column)].contiguous(), left / size)
        if column == most or (column == TRIAL and left > total * NEARLY ** (TRIAL / most / 2)):
            break
        pivot = int(remaining.argmax())
        found = matrix[pivot] - features[:, :column] @ features[pivot, :column]
        features[:, column] = found * remaining[pivot].rsqrt()
        remaining = (remaining - features[:, column].square()).clamp(min=0)
        remaining[pivot] = 0
    return None
