"""Batch normalisation with running statistics, folded into the projections in front of it."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.nn.multihead import MultiheadAttention
from primaldual.primal.batch_normalization import BatchNormalization
from primaldual.primal.chain import Chain
from primaldual.primal.depthwise import DepthwiseConvolution
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.running_statistics import RunningStatistics
from primaldual.primal.transforms import Identity, Transform

Model = TypeVar("Model", bound=nn.Module)


def fold_batch_norm(module: Model) -> Model:
    """A copy in which layers with running batch normalisation have none, and the outputs that they had in evaluation.

    Under softmax only the query projection changes, head by head, with the running m and s^2:

        W_q' = W_q / (s^2 + eps),   b_q' = (b_q - beta m) / (s^2 + eps)

    Other feature maps, and transforms that follow, see the normalised keys themselves, so both projections
    become W' = W / sqrt(s^2 + eps), b' = (b - beta m) / sqrt(s^2 + eps). Divisions fall away with ``scale=none``.
    A projection without bias gets one. The rest of each problem stays, and so does the mode: the copy gives the
    outputs of evaluation in training mode too.

    Args:
        module: a :class:`MultiheadAttention`, or any module with some inside; it is not changed.

    Raises:
        ArgumentError: no running statistics to fold, or some that have seen no training batch.
        UnsupportedError: a projection that is no plain ``nn.Linear``, statistics outside a MultiheadAttention, or
            a transform in front that does not let the normalisation through.

    Example:
        >>> layer = MultiheadAttention(8, 2, batch_first=True, attention="bn(running=true)")
        >>> inputs = torch.randn(3, 5, 8)
        >>> trained = layer(inputs, inputs, inputs)
        >>> folded = fold_batch_norm(layer.eval())
        >>> folded.problem.spec()
        'softmax'
        >>> torch.allclose(folded(inputs, inputs, inputs)[0], layer(inputs, inputs, inputs)[0], atol=1e-6)
        True
    """
    if not isinstance(module, nn.Module):
        raise ArgumentError(f"module must be a torch.nn.Module; got {type(module).__name__}")
    folded = deepcopy(module)
    layers = {
        name: layer
        for name, layer in folded.named_modules()
        if isinstance(layer, MultiheadAttention) and isinstance(layer.problem, PrimalProblem)
    }
    to_fold = {name: layer for name, layer in layers.items() if _place(_steps(layer)) is not None}
    for name, part in folded.named_modules():
        if isinstance(part, RunningStatistics) and not any(name.startswith(_prefix(at)) for at in to_fold):
            raise UnsupportedError(
                f"the running statistics at {name!r} belong to no MultiheadAttention with one problem for all heads, "
                "whose projections could take them up"
            )
    if not to_fold:
        found = ", ".join(f"{layer.problem.spec()!r} at {name!r}" for name, layer in layers.items())
        raise ArgumentError(
            "module must hold a MultiheadAttention that keeps running statistics, such as 'bn(running=true)'; found "
            f"{found or f'no MultiheadAttention in {type(module).__name__}'}"
        )
    for name, layer in to_fold.items():
        try:
            while (place := _place(_steps(layer))) is not None:
                _fold(layer, place)
        except (ArgumentError, UnsupportedError) as error:
            raise type(error)(
                f"the layer {name!r} cannot be folded: {error}" if name else str(error)
            ) from None
    return folded


def _fold(layer: MultiheadAttention, place: int) -> None:
    """Fold the normalisation at one place of the layer's transforms."""
    steps, problem = _steps(layer), layer.problem
    former, part, later = steps[:place], steps[place], steps[place + 1 :]
    assert isinstance(part, BatchNormalization)
    offset, inverse = _constants(part, layer.num_heads)
    only_weights = problem.feature_map.score_scale(layer.head_dim) is not None
    if not later and only_weights and problem.normalizer.cancels_query_factors:
        for step in former:
            if not _leaves_queries(step):
                raise UnsupportedError(
                    f"{step.spec()!r} in front of {part.spec()!r} changes the queries, so no projection stands right "
                    "before the normalisation; accepted in front are convolutions of the keys alone"
                )
        layer.q_proj = _rescaled("q_proj", layer.q_proj, offset, inverse.square())
    elif not former:
        shared = _of_key_heads(part, layer, offset), _of_key_heads(part, layer, inverse)
        q_proj = _rescaled("q_proj", layer.q_proj, offset, inverse)
        layer.k_proj = _rescaled("k_proj", layer.k_proj, *shared)
        layer.q_proj = q_proj
    else:
        raise UnsupportedError(
            f"the keys of {problem.spec()!r} are normalised after {former[-1].spec()!r} and not only then weighed by "
            "softmax, so no projection can take the normalisation up"
        )
    rest = [*former, *later]
    transform = Chain(*rest) if len(rest) > 1 else rest[0] if rest else Identity()
    problem.transform = transform.train(problem.training)


def _constants(part: BatchNormalization, heads: int) -> tuple[Tensor, Tensor]:
    """Beta m and 1 / sqrt(s^2 + eps) of every query head, (heads, D), in float64."""
    assert part.averages is not None
    part.averages.check_seen()
    mean, variance = (each[0, :, 0] for each in part.averages.of(list(range(heads)), torch.float64)[:2])
    beta = part.beta if part.head_beta is None else part.head_beta.detach().double().unsqueeze(-1)
    inverse = (variance + part.eps).rsqrt() if part.scale == "inv_std" else torch.ones_like(variance)
    return beta * mean, inverse


def _of_key_heads(part: BatchNormalization, layer: MultiheadAttention, constants: Tensor) -> Tensor:
    """Constants of the query heads (heads, D) as those of the key heads, where they agree."""
    grouped = constants.unflatten(0, (layer.kv_heads, -1))
    first = grouped[:, :1]
    if not torch.equal(grouped, first.expand_as(grouped)):
        raise UnsupportedError(
            f"query heads that share a key head have constants of their own in {part.spec()!r}, by their scale or "
            "beta, so one key projection cannot take them up"
        )
    return first.squeeze(1)


def _rescaled(name: str, projection: nn.Module, offset: Tensor, factor: Tensor) -> nn.Linear:
    """The projection x W + b as (x W + b - offset) * factor, a new module."""
    plain = type(projection) is nn.Linear and type(projection.weight) is nn.Parameter
    if not plain or projection._forward_hooks or projection._forward_pre_hooks:
        what = type(projection).__name__
        if type(projection) is nn.Linear:
            what = "nn.Linear with hooks, or with a weight that is no plain nn.Parameter"
        raise UnsupportedError(
            f"{name} is of type {what}; accepted is a plain nn.Linear (merge adapters first, quantise afterwards)"
        )
    assert isinstance(projection, nn.Linear)
    weight, factor = projection.weight, factor.reshape(-1, 1)
    bias = torch.zeros_like(offset) if projection.bias is None else projection.bias.detach().double()
    changed = nn.Linear(
        projection.in_features, projection.out_features, device=weight.device, dtype=weight.dtype
    )
    with torch.no_grad():
        changed.weight.copy_(weight.double() * factor)
        changed.bias.copy_((bias.reshape(-1, 1) - offset.reshape(-1, 1)).mul(factor).squeeze(-1))
    changed.requires_grad_(weight.requires_grad)
    return changed.train(projection.training)


def _steps(layer: MultiheadAttention) -> list[Transform]:
    """The layer's transforms one after the other."""
    pending, steps = [layer.problem.transform], []
    while pending:
        transform = pending.pop(0)
        if isinstance(transform, Chain):
            pending[:0] = transform.steps()
        else:
            steps.append(transform)
    return steps


def _place(steps: list[Transform]) -> int | None:
    """Where the first normalisation with running statistics stands."""
    for place, step in enumerate(steps):
        if isinstance(step, BatchNormalization) and step.running:
            return place
    return None


def _leaves_queries(step: Transform) -> bool:
    return isinstance(step, Identity) or (isinstance(step, DepthwiseConvolution) and not step.queries)


def _prefix(layer: str) -> str:
    return f"{layer}.problem." if layer else "problem."
