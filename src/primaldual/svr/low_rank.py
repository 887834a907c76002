"""Few columns whose product is a kernel matrix to rounding, where there are any."""

from __future__ import annotations

from primaldual.svr.operators import DenseKernel, FactoredKernel

EXACT = 1e-15
"""Share of the trace that may be left out."""

TRIAL = 24
"""Columns after which the decay so far must promise an exact factorisation."""


def compressed(kernel: DenseKernel) -> DenseKernel | FactoredKernel:
    """The kernel as a product of features if an eighth as many as positions suffice, else as it is.

    Cholesky with the largest pivot first, K = Psi Psi' + rest, stopped as soon as it does not pay; smooth
    kernels of few dimensions have such a form, and one column costs O(N F).
    """
    matrix = kernel.matrix
    size = matrix.shape[-1]
    most = size // 8
    remaining = matrix.diagonal().clone()
    total = float(remaining.sum())
    if total <= 0:
        return FactoredKernel(matrix.new_zeros(size, 1))
    features = matrix.new_zeros(size, most)
    for column in range(most):
        left = float(remaining.sum()) / total
        if left <= EXACT:
            return FactoredKernel(features[:, :column].contiguous())
        if column == TRIAL and left > EXACT ** (TRIAL / most):
            return kernel
        pivot = int(remaining.argmax())
        if remaining[pivot] <= 0:
            return FactoredKernel(features[:, :column].contiguous())
        found = matrix[pivot] - features[:, :column] @ features[pivot, :column]
        features[:, column] = found * remaining[pivot].rsqrt()
        remaining = (remaining - features[:, column].square()).clamp(min=0)
        remaining[pivot] = 0
    return kernel
