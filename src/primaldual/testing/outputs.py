"""Checks of outputs and gradients."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from primaldual.errors import UnsupportedError
from primaldual.primal.problem import PrimalProblem
from primaldual.testing.comparing import close, close_gradients, gradients, repeatable
from primaldual.testing.composed import check_composed_prefix_rule
from primaldual.testing.inputs import cases, long_length, masks, refuses, tensors

NAMES = ("query", "key", "value")


def check_dense(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """Attend = dense, outputs and gradients, for every size, mask and causality."""
    for keys, sizes in cases(problem, heads, length, fixed_length):
        inputs = tensors(heads, head_dim, keys, **sizes, device=device)
        batch, query_length, key_length = inputs[0].shape[0], inputs[0].shape[2], inputs[1].shape[2]
        drawn = masks(batch, heads, query_length, key_length, device)
        for name in ("none", "padding") if keys == long_length(problem) else drawn:
            mask = drawn[name]
            for is_causal in (False, True):
                if refuses(problem, query_length, key_length, mask, is_causal):
                    continue
                fast = problem.attend(*inputs, mask, is_causal)
                slow = problem.dense(*inputs, mask, is_causal)
                scene = f"{problem.spec()}, {keys} keys, {sizes}, mask {name}, is_causal {is_causal}"
                close(fast, slow, scene)
                close_gradients(gradients(fast, inputs), gradients(slow, inputs), NAMES, scene)


def check_map(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """attention_map @ value = attend, and the weights have as many columns as there are pairs."""
    query, key, value = tensors(heads, head_dim, length, device=device)
    if problem.subset.by_feature or not problem.solver.has_map:
        _check_no_map(problem, query, key)
        return
    for name, mask in masks(2, heads, length, length, device).items():
        for is_causal in (False, True):
            spread = problem.attention_map(query, key, mask, is_causal)
            scene = f"{problem.spec()}, attention_map @ value, mask {name}, is_causal {is_causal}"
            close(spread @ value, problem.attend(query, key, value, mask, is_causal), scene)
    weights = problem.weights(query, key)
    fits = len(weights) == heads if isinstance(weights, list) else weights.shape[:3] == query.shape[:3]
    assert fits, f"{problem.spec()}: weights must have a row for every query of the {heads} heads"


def _check_no_map(problem: PrimalProblem, query: Tensor, key: Tensor) -> None:
    """A map is refused where there is none."""
    try:
        problem.attention_map(query, key)
    except UnsupportedError:
        return
    raise AssertionError(f"{problem.spec()}: attention_map must be refused where features count differently")


def check_gradients(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """Gradients equal finite differences in float64, causal and not."""
    size = length if fixed_length else 5
    inputs = tensors(heads, head_dim, size, batch=1, device=device)
    mask = torch.arange(size, device=device) != 2
    for is_causal in (False, True):

        def attention(query: Tensor, key: Tensor, value: Tensor, is_causal: bool = is_causal) -> Tensor:
            return problem.attend(query, key, value, mask, is_causal)

        scene = f"{problem.spec()}, is_causal {is_causal}"
        try:
            torch.autograd.gradcheck(attention, inputs, fast_mode=True, nondet_tol=repeatable(device))
        except RuntimeError as error:
            raise AssertionError(f"{scene}: gradients differ from finite differences: {error}") from error
        _check_slope_at_zero(problem, inputs, is_causal, scene)


def _check_slope_at_zero(
    problem: PrimalProblem, inputs: tuple[Tensor, ...], is_causal: bool, scene: str
) -> None:
    """Where one number is exactly 0 its derivative lies between the one-sided difference quotients, kink or not."""
    step, place = 1e-6, (0, -1, -2, 0)
    for form in (problem.attend, problem.dense):
        for number, name in enumerate(NAMES[:2]):
            given = [tensor.detach().clone() for tensor in inputs]
            losses = []
            for shift in (-step, 0.0, step):
                given[number][place] = shift
                leaves = [tensor.clone().requires_grad_() for tensor in given]
                losses.append(form(leaves[0], leaves[1], leaves[2], is_causal=is_causal).sin().sum())
                if not shift:
                    slope = float(gradients(losses[-1], leaves, torch.ones(()))[number][place])
            sides = [float((after - before).detach()) / step for before, after in itertools.pairwise(losses)]
            margin = 1e-4 * (1 + max(map(abs, sides)))
            assert min(sides) - margin <= slope <= max(sides) + margin, (
                f"{scene}, {form.__name__}: the derivative at a {name} of exactly 0 is {slope:.6g}; difference "
                f"quotients are {sides[0]:.6g} and {sides[1]:.6g}"
            )


def check_padding(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """What stands in masked keys and values changes nothing, not even NaN or inf; nor does padding itself."""
    query, key, value = (tensor.detach() for tensor in tensors(heads, head_dim, length, device=device))
    kept = length - 4
    mask = torch.arange(length, device=device) < kept
    for is_causal in (False, True):
        clean = problem.attend(query, key, value, mask, is_causal)
        spoiled_key, spoiled_value = key.clone(), value.clone()
        spoiled_key[:, :, kept:], spoiled_value[:, :, kept:] = math.nan, math.inf
        spoiled = spoiled_key.requires_grad_(), spoiled_value.requires_grad_()
        out = problem.attend(query, *spoiled, mask, is_causal)
        scene = f"{problem.spec()}, is_causal {is_causal}"
        same = repeatable(device)
        close(out, clean, f"{scene}, NaN in padded keys and inf in padded values", rtol=same, atol=same)
        for gradient in gradients(out, spoiled):
            assert gradient.isfinite().all(), f"{scene}: gradients of padded keys or values are not finite"
        spoiled_dense = problem.dense(query, *spoiled, mask, is_causal)
        close(spoiled_dense, clean, f"{scene}, dense with NaN in padded keys and inf in padded values")
        if not fixed_length:
            short = problem.attend(
                query[:, :, :kept], key[:, :, :kept], value[:, :, :kept], is_causal=is_causal
            )
            close(clean[:, :, :kept], short, f"{scene}, padded beside cut off")


def check_empty_rows(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """A query without any key gives exactly 0, with finite gradients, in float32 too."""
    for dtype in (torch.float64, torch.float32):
        inputs = tensors(heads, head_dim, length, dtype=dtype, device=device)
        for mask in (
            torch.zeros(2, 1, 1, length, dtype=torch.bool, device=device),
            masks(2, heads, length, length, device)["pattern"],
        ):
            assert mask is not None
            out = problem.attend(*inputs, mask)
            empty = ~mask.any(-1).expand(2, heads, length)
            scene = f"{problem.spec()}, {dtype}"
            assert (out[empty] == 0).all(), f"{scene}: a query without keys must give exactly 0"
            for name, gradient in zip(NAMES, gradients(out, inputs), strict=True):
                assert gradient.isfinite().all(), (
                    f"{scene}: the gradient of {name} under a fully masked row is not finite"
                )


def check_prefix_rule(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """Output i of the causal form = the bidirectional form of query i on keys and values 0..i.

    Of a composed solver this holds of the weights that it combines: what it computed of a position is final.
    """
    if fixed_length:
        return
    query, key, value = tensors(heads, head_dim, length, device=device)
    if problem.solver.composed:
        check_composed_prefix_rule(problem, query, key, value)
        return
    causal = problem.attend(query, key, value, is_causal=True)
    for row in range(length):
        prefix = slice(0, row + 1)
        queries = query[:, :, prefix] if problem.transform.mixes_queries else query[:, :, row : row + 1]
        alone = problem.attend(queries, key[:, :, prefix], value[:, :, prefix])
        scene = f"{problem.spec()}, causal row {row} of {length} beside its prefix alone"
        close(causal[:, :, row], alone[:, :, -1], scene, rtol=1e-7, atol=1e-8)


def check_samples(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """A sample alone gives what it gives in a batch."""
    inputs = query, key, value = tensors(heads, head_dim, length, device=device)
    alone = problem.attend(query[:1], key[:1], value[:1])
    scene = f"{problem.spec()}, a sample in a batch beside the sample alone"
    close(problem.attend(*inputs)[:1], alone, scene, rtol=1e-9, atol=1e-10)
