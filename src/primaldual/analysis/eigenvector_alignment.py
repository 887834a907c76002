"""A measurement on a contested claim: that trained values are eigenvectors of the centred kernel matrix of the keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from primaldual.errors import UnsupportedError
from primaldual.integrations.attention_hooks import AttentionCall, attending, evaluating, watching
from primaldual.kernels.heads import for_query_heads
from primaldual.primal.checks import check_shapes
from primaldual.primal.problem import PrimalProblem
from primaldual.svr.reading import read_training_data
from primaldual.svr.solve import MEMORY, own_copy
from primaldual.svr.training_kernel import TrainingKernel, training_kernels


@dataclass(frozen=True)
class EigenvectorAlignment:
    """How far the values of some heads are eigenvectors, beside what random numbers reach.

    Attributes:
        cosines: between a and K a for each value feature, (batch, heads, Dv): 1 for an eigenvector, 0 for a = 0.
        captured: share of the squared length of all a, each scaled to a largest entry of 1, that lies in the Dv leading
            eigenvectors, (batch, heads).
        chance_cosine: the cosine of a of independent normal numbers, about tr K / sqrt((N - 1) tr K^2), (batch, heads).
        chance_captured: the share of such a, Dv / (N - 1), at most 1, (batch, heads).
    """

    cosines: Tensor
    captured: Tensor
    chance_cosine: Tensor
    chance_captured: Tensor


def eigenvector_alignment(
    problem: PrimalProblem | str, key: Tensor, value: Tensor, *, mask: Tensor | None = None
) -> EigenvectorAlignment:
    r"""Measure how near the coefficients behind some values are to eigenvectors of the centred kernel matrix.

    Kernel principal component analysis of the keys, with features Phi(T k) / h(k) less their mean, has the matrix

        K_ij = kappa(T k_i, T k_j) / (h(k_i) h(k_j)), centred,      K a = lambda a,

    and attention projects queries on its components if v_j = a_j / h(k_j) + m with one m for all keys. Given values
    therefore stand for a_j = h(k_j) (v_j - m), with m such that sum_j a_j = 0, which all eigenvectors obey.

    **The claim is contested.** The first reference says that trained values come near such eigenvectors; the second
    examined ten models and found no alignment. Nothing in this library relies on it. Read the numbers beside
    those of chance: with few keys or many value features both are high.

    Args:
        problem: the attention of the heads, bound, with one set of keys for all queries.
        key: (batch, kv heads, N, D), from one head for each query head of the problem on.
        value: (batch, kv heads, N, Dv).
        mask: bool (batch, heads, N) or what broadcasts to it, True = may be attended.

    Raises:
        ShapeError: tensors that do not fit.
        ArgumentError: values that are not finite.
        UnsupportedError: a problem that fits every query on keys of its own.

    Reference:
        Teo, Nguyen, "Unveiling the Hidden Structure of Self-Attention via Kernel Principal Component Analysis", arXiv
        2406.13762; against it arXiv 2505.07908.

    Example:
        >>> key, value = torch.randn(2, 1, 2, 40, 4).unbind(0)
        >>> found = eigenvector_alignment("softmax", key, value)
        >>> found.cosines.shape, found.chance_captured.mean().round(decimals=3)
        (torch.Size([1, 2, 4]), tensor(0.1030, dtype=torch.float64))
    """
    problem = own_copy(problem, torch.float64)
    check_shapes(key, key, value)
    data = read_training_data(key, value, mask, torch.float64)
    found = EigenvectorAlignment(
        data.targets.new_zeros(*value.shape[:2], value.shape[3]),
        *(data.targets.new_zeros(value.shape[:2]) for _ in range(3)),
    )
    with torch.no_grad():
        for part in training_kernels(problem, data.keys, data.mask, MEMORY):
            members = part.heads.members
            measured = _measured(part, part.to_pairs(data.targets[:, members]))
            for whole, some in zip(vars(found).values(), measured, strict=True):
                whole[:, members] = some
    return found


def value_alignment(model: nn.Module, *inputs: Any) -> dict[str, EigenvectorAlignment]:
    """Run ``model(*inputs)`` and measure every attention layer in it by :func:`eigenvector_alignment`.

    Args:
        model: of torch, timm, transformers or this library; its layers are called with key padding at most.
        inputs: of the model.

    Returns:
        By the layer's path in the model.

    Raises:
        UnsupportedError: no attention layer, heads that solve different problems, a mask or an attention that fits
            every query on keys of its own.

    Example:
        >>> from primaldual.nn.multihead import MultiheadAttention
        >>> layer, x = MultiheadAttention(8, 2, batch_first=True), torch.randn(1, 20, 8)
        >>> value_alignment(layer, x, x, x)[""].captured.shape
        torch.Size([1, 2])
    """
    found: dict[str, EigenvectorAlignment] = {}

    def look(seen: AttentionCall) -> None:
        path, attendable, heads = seen.site.path, seen.attendable, seen.query.shape[1]
        if attendable.pairs is not None or attendable.is_causal:
            raise UnsupportedError(
                f"layer {path!r} is called with attn_mask or is_causal, which fit every query on keys of its own; "
                "accepted is key_padding_mask alone"
            )
        (problem, _), *others = seen.problem.problems(heads)
        if others:
            raise UnsupportedError(f"layer {path!r} has heads that solve different problems")
        keys, values = (for_query_heads(part, heads) for part in seen.source.take(list(range(heads))))
        mask = None if attendable.keys is None else attendable.keys.squeeze(2)
        found[path] = eigenvector_alignment(problem, keys, values, mask=mask)

    with evaluating(model), attending(model) as sites, watching(sites, look):
        model(*inputs)
    return found


def _measured(part: TrainingKernel, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cosines, captured share, and both by chance, of values (batch, heads, Nt, Dv) at the training pairs."""
    matrix = part.centred().kernel.dense().matrix
    normalizer = (part.normalizer * part.valid).unsqueeze(-1)
    middle = (normalizer * values).sum(-2, keepdim=True) / normalizer.sum(-2, keepdim=True)
    coefficients = normalizer * (values - middle)
    largest = coefficients.abs().amax(-2, keepdim=True)
    coefficients = coefficients / torch.where(largest > 0, largest, 1.0)
    changed = matrix @ coefficients
    length = coefficients.norm(dim=-2) * changed.norm(dim=-2)
    cosines = (coefficients * changed).sum(-2) / torch.where(length > 0, length, 1.0)
    width, freedom = values.shape[3], (part.valid.sum(-1) - 1).clamp(min=1).double()
    leading = torch.linalg.eigh(matrix).eigenvectors[..., -min(width, matrix.shape[-1]) :]
    squares = coefficients.square().sum((-2, -1))
    captured = (leading.mT @ coefficients).square().sum((-2, -1)) / torch.where(squares > 0, squares, 1.0)
    trace, of_square = matrix.diagonal(dim1=-2, dim2=-1).sum(-1), matrix.square().sum((-2, -1))
    chance = trace / (freedom * of_square).sqrt().clamp(min=torch.finfo(matrix.dtype).tiny)
    return cosines, captured, chance, (width / freedom).clamp(max=1)
