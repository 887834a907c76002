"""Whether a kernel over h can be that of a regression."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.support_vectors.operators import DenseKernel, FactoredKernel
from primaldual.primal.problem import PrimalProblem


def check_kernel(
    problem: PrimalProblem, kernel: DenseKernel | FactoredKernel, normalizer: Tensor, valid: Tensor
) -> None:
    """Examine the kernel of the training keys; feature maps that state it are taken to be positive semidefinite.

    Raises:
        ArgumentError: h is 0, or the kernel is not finite, symmetric and positive semidefinite.
    """
    numbers = kernel.matrix if isinstance(kernel, DenseKernel) else kernel.features
    used = normalizer[valid]
    # An h beyond the largest number is no obstacle where the kernel comes from logarithms: its pair gets the value 0.
    if not bool((used != 0).all() and numbers.sum().isfinite()):
        raise ArgumentError(
            f"keys give a normaliser h between {used.abs().min():.3g} and {used.abs().max():.3g} or a kernel that is not "
            "finite; accepted are keys for which h is not 0 and the kernel finite: scale them down"
        )
    if isinstance(kernel, FactoredKernel) or problem.feature_map.positive_semidefinite:
        return
    diagonal = kernel.matrix.diagonal(dim1=-2, dim2=-1)
    precision = torch.finfo(kernel.matrix.dtype).eps
    if (kernel.matrix - kernel.matrix.mT).abs().amax() > 1e6 * precision * diagonal.abs().amax():
        raise ArgumentError(
            f"feature_map {type(problem.feature_map).__name__} is not symmetric: kappa(x, y) and kappa(y, x) differ; "
            "accepted are kernels Phi . Phi"
        )
    scaling = torch.where(diagonal > 0, diagonal, 1.0).rsqrt()
    unit = kernel.matrix * scaling.unsqueeze(-1) * scaling.unsqueeze(-2)
    smallest = torch.linalg.eigvalsh(unit).amin()
    if smallest < -1e6 * precision * unit.shape[-1]:
        raise ArgumentError(
            f"feature_map {type(problem.feature_map).__name__} is not positive semidefinite on these keys: with a unit "
            f"diagonal its kernel matrix has the eigenvalue {smallest:.3g}; accepted are kernels Phi . Phi"
        )
