"""Fold batch normalisation with running statistics into the projections in front of it."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.nn.multihead import MultiheadAttention
from primaldual.primal.attention import Attention
from primaldual.primal.chain import in_turn
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.transforms import AffineMap, Transform

Model = TypeVar("Model", bound=nn.Module)


def fold_batch_norm(module: Model) -> Model:
    """A copy without running batch normalisation, with the outputs that the layers had in evaluation.

    Under softmax only the query projection changes, head by head, with the running m and s^2:

        W_q' = W_q / (s^2 + eps),   b_q' = (b_q - beta m) / (s^2 + eps)

    Other feature maps, and transforms that follow, see the normalised keys themselves, so both projections
    become W' = W / sqrt(s^2 + eps), b' = (b - beta m) / sqrt(s^2 + eps). With ``scale=none`` nothing is divided.
    A projection without bias gets one. The rest of each problem and the mode stay as they are: the copy gives the
    outputs of evaluation in training mode too. Every transform that states ``fixed_at_inference`` is folded so.

    Args:
        module: a :class:`MultiheadAttention`, or any module with some inside; it is not changed.

    Raises:
        ArgumentError: no running statistics to fold, or some that have seen no training batch.
        UnsupportedError: a projection that is not a plain ``nn.Linear``, running statistics outside a
            MultiheadAttention, or a transform in front that the normalisation cannot move past.

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
    layers = {name: layer for name, layer in folded.named_modules() if isinstance(layer, MultiheadAttention)}
    to_fold = {
        name: layer
        for name, layer in layers.items()
        if (problem := _only_problem(layer)) is not None and _place(problem) is not None
    }
    for name, part in folded.named_modules():
        fixed = isinstance(part, Transform) and part.fixed_at_inference
        if fixed and not any(name.startswith(_prefix(at)) for at in to_fold):
            raise UnsupportedError(
                f"the transform at {name!r} belongs to no MultiheadAttention with a single problem for all heads, whose "
                "projections could take it up"
            )
    if not to_fold:
        found = ", ".join(f"{layer.problem.spec()!r} at {name!r}" for name, layer in layers.items())
        raise ArgumentError(
            "module must hold a MultiheadAttention that keeps running statistics, such as 'bn(running=true)'; found "
            f"{found or f'no MultiheadAttention in {type(module).__name__}'}"
        )
    for name, layer in to_fold.items():
        problem = _only_problem(layer)
        assert problem is not None
        try:
            while (place := _place(problem)) is not None:
                _fold(layer, problem, place)
        except (ArgumentError, UnsupportedError) as error:
            raise type(error)(
                f"the layer {name!r} cannot be folded: {error}" if name else str(error)
            ) from None
    return folded


def _fold(layer: MultiheadAttention, problem: PrimalProblem, place: int) -> None:
    """Fold the affine map at one place of the layer's transforms."""
    steps = problem.transform.steps()
    former, part, later = steps[:place], steps[place], steps[place + 1 :]
    found = part.affine(layer.num_heads)
    only_weights = problem.parts().softmax_scale(layer.head_dim) is not None
    if not later and only_weights:
        for step in former:
            if not step.keeps_queries:
                raise UnsupportedError(
                    f"{step.spec()!r} in front of {part.spec()!r} changes the queries, so no projection precedes the "
                    "normalisation directly; accepted in front are convolutions of the keys alone"
                )
        layer.q_proj = _rescaled("q_proj", layer.q_proj, found.of_queries(found.factor.square()))
    elif not former:
        shared = AffineMap(*(_of_key_heads(part, layer, each) for each in (found.offset, found.factor)))
        q_proj = _rescaled("q_proj", layer.q_proj, found.of_queries(found.factor))
        layer.k_proj = _rescaled("k_proj", layer.k_proj, shared)
        layer.q_proj = q_proj
    else:
        raise UnsupportedError(
            f"the keys of {problem.spec()!r} are normalised after {former[-1].spec()!r}, and more than softmax weights "
            "depends on them, so no projection can take up the normalisation"
        )
    rest = [*former, *later]
    transform = in_turn(rest) if rest else PrimalProblem().transform
    problem.transform = transform.train(problem.training)


def _of_key_heads(part: Transform, layer: MultiheadAttention, constants: Tensor) -> Tensor:
    """The constants (heads, D) of the query heads, one row for each key head; its query heads must agree."""
    grouped = constants.unflatten(0, (layer.kv_heads, -1))
    first = grouped[:, :1]
    if not torch.equal(grouped, first.expand_as(grouped)):
        raise UnsupportedError(
            f"query heads that share a key head have different constants in {part.spec()!r}, by their scale or "
            "beta, so one key projection cannot take them up"
        )
    return first.squeeze(1)


def _rescaled(name: str, projection: nn.Module, found: AffineMap) -> nn.Linear:
    """The projection x W + b followed by an affine map, (x W + b - offset) * factor, as a new module."""
    plain = type(projection) is nn.Linear and type(projection.weight) is nn.Parameter
    if not plain or projection._forward_hooks or projection._forward_pre_hooks:
        what = type(projection).__name__
        if type(projection) is nn.Linear:
            what = "nn.Linear with hooks, or with a weight that is not a plain nn.Parameter"
        raise UnsupportedError(
            f"{name} is of type {what}; accepted is a plain nn.Linear (merge adapters first, quantise afterwards)"
        )
    assert isinstance(projection, nn.Linear)
    weight, offset, factor = projection.weight, found.offset, found.factor.reshape(-1, 1)
    bias = torch.zeros_like(offset) if projection.bias is None else projection.bias.detach().double()
    changed = nn.Linear(
        projection.in_features, projection.out_features, device=weight.device, dtype=weight.dtype
    )
    with torch.no_grad():
        changed.weight.copy_(weight.double() * factor)
        changed.bias.copy_((bias.reshape(-1, 1) - offset.reshape(-1, 1)).mul(factor).squeeze(-1))
    changed.requires_grad_(weight.requires_grad)
    return changed.train(projection.training)


def _only_problem(layer: MultiheadAttention) -> PrimalProblem | None:
    """The problem that all heads of a layer solve, None if there are several."""
    attention: Attention = layer.problem
    problems = [problem for problem, _ in attention.problems(layer.num_heads)]
    return problems[0] if len(problems) == 1 else None


def _place(problem: PrimalProblem) -> int | None:
    """Where the first transform stands that projections can take up."""
    places = (place for place, step in enumerate(problem.transform.steps()) if step.fixed_at_inference)
    return next(places, None)


def _prefix(layer: str) -> str:
    return f"{layer}.problem." if layer else "problem."
