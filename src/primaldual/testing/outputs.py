"""Checks of outputs and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.testing import assert_close

from primaldual.primal.problem import PrimalProblem
from primaldual.testing.inputs import cases, filled, masks, tensors


def check_dense(problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool) -> None:
    """Attend = dense, outputs and gradients, for every size, mask and causality."""
    for keys, sizes in cases(heads, length, fixed_length):
        inputs = tensors(heads, head_dim, keys, **sizes)
        batch, query_length, key_length = inputs[0].shape[0], inputs[0].shape[2], inputs[1].shape[2]
        if problem.transform.mixes_queries and query_length != key_length:
            continue
        for name, mask in masks(batch, heads, query_length, key_length).items():
            for is_causal in (False, True):
                fast = problem.attend(*inputs, mask, is_causal)
                slow = problem.dense(*inputs, mask, is_causal)
                scene = f"{problem.spec()}, {keys} keys, {sizes}, mask {name}, is_causal {is_causal}"
                assert_close(fast, slow, rtol=1e-8, atol=1e-9, msg=_in(scene))
                seed = torch.randn(slow.shape, dtype=slow.dtype, generator=torch.Generator().manual_seed(2))
                wanted = torch.autograd.grad(slow, inputs, seed, allow_unused=True)
                found = torch.autograd.grad(fast, inputs, seed, allow_unused=True)
                for gradient, reference in zip(found, wanted, strict=True):
                    assert_close(
                        filled(gradient),
                        filled(reference),
                        rtol=1e-6,
                        atol=1e-7,
                        msg=_in(f"gradients, {scene}"),
                    )


def _in(scene: str) -> Callable[[str], str]:
    return lambda text: f"{scene}: {text}"


def check_map(problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool) -> None:
    """attention_map @ value = attend, and the weights have as many columns as there are pairs."""
    query, key, value = tensors(heads, head_dim, length)
    for mask in masks(2, heads, length, length).values():
        for is_causal in (False, True):
            spread = problem.attention_map(query, key, mask, is_causal)
            assert_close(
                spread @ value, problem.attend(query, key, value, mask, is_causal), rtol=1e-8, atol=1e-9
            )
    weights = problem.weights(query, key)
    assert len(weights) == heads if isinstance(weights, list) else weights.shape[:3] == query.shape[:3]


def check_gradients(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool
) -> None:
    """Gradients equal finite differences in float64, causal and not."""
    size = length if fixed_length else 5
    inputs = tensors(heads, head_dim, size, batch=1)
    mask = torch.arange(size) != 2
    for is_causal in (False, True):

        def attention(query: Tensor, key: Tensor, value: Tensor, is_causal: bool = is_causal) -> Tensor:
            return problem.attend(query, key, value, mask, is_causal)

        assert torch.autograd.gradcheck(attention, inputs, fast_mode=True)


def check_padding(problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool) -> None:
    """What stands in masked keys and values changes nothing, not even NaN or inf; nor does padding itself."""
    query, key, value = (tensor.detach() for tensor in tensors(heads, head_dim, length))
    kept = length - 4
    mask = torch.arange(length) < kept
    for is_causal in (False, True):
        clean = problem.attend(query, key, value, mask, is_causal)
        spoiled_key, spoiled_value = key.clone(), value.clone()
        spoiled_key[:, :, kept:], spoiled_value[:, :, kept:] = math.nan, math.inf
        spoiled = spoiled_key.requires_grad_(), spoiled_value.requires_grad_()
        out = problem.attend(query, *spoiled, mask, is_causal)
        assert_close(out, clean, rtol=0, atol=0)
        for gradient in torch.autograd.grad(out.sum(), spoiled, allow_unused=True):
            assert filled(gradient).isfinite().all(), "gradients of padded keys or values are not finite"
        assert_close(problem.dense(query, *spoiled, mask, is_causal), clean, rtol=1e-8, atol=1e-9)
        if not fixed_length:
            short = problem.attend(
                query[:, :, :kept], key[:, :, :kept], value[:, :, :kept], is_causal=is_causal
            )
            assert_close(clean[:, :, :kept], short, rtol=1e-8, atol=1e-9)


def check_empty_rows(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool
) -> None:
    """A query without any key gives exactly 0, with finite gradients, in float32 too."""
    for dtype in (torch.float64, torch.float32):
        inputs = tensors(heads, head_dim, length, dtype=dtype)
        for mask in (
            torch.zeros(2, 1, 1, length, dtype=torch.bool),
            masks(2, heads, length, length)["pattern"],
        ):
            assert mask is not None
            out = problem.attend(*inputs, mask)
            empty = ~mask.any(-1).expand(2, heads, length)
            assert (out[empty] == 0).all(), "a query without keys must give exactly 0"
            for gradient in torch.autograd.grad(out.square().sum(), inputs, allow_unused=True):
                assert filled(gradient).isfinite().all(), "gradients under a fully masked row are not finite"


def check_prefix_rule(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool
) -> None:
    """Output i of the causal form = the bidirectional form of query i on keys and values 0..i."""
    if fixed_length:
        return
    query, key, value = tensors(heads, head_dim, length)
    causal = problem.attend(query, key, value, is_causal=True)
    for row in range(length):
        prefix = slice(0, row + 1)
        queries = query[:, :, prefix] if problem.transform.mixes_queries else query[:, :, row : row + 1]
        alone = problem.attend(queries, key[:, :, prefix], value[:, :, prefix])
        assert_close(causal[:, :, row], alone[:, :, -1], rtol=1e-7, atol=1e-8)


def check_samples(problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool) -> None:
    """A sample alone gives what it gives in a batch."""
    inputs = query, key, value = tensors(heads, head_dim, length)
    alone = problem.attend(query[:1], key[:1], value[:1])
    assert_close(problem.attend(*inputs)[:1], alone, rtol=1e-9, atol=1e-10)


def check_low_precision(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool
) -> None:
    """bfloat16 is finite, and within a few of its roundings of float64 where keys suffice to normalise by."""
    for is_causal in (False, True):
        query, key, value = inputs = tensors(heads, head_dim, length, dtype=torch.bfloat16)
        exact = problem.dense(query.double(), key.double(), value.double(), None, is_causal)
        low = problem.attend(*inputs, None, is_causal)
        assert low.dtype == torch.bfloat16
        assert low.isfinite().all(), "bfloat16 outputs are not finite"
        rows = slice(length // 2 if is_causal else 0, None)
        tolerance = 0.1 * float(exact[:, :, rows].detach().abs().max())
        assert_close(low.double()[:, :, rows], exact[:, :, rows], rtol=0.1, atol=tolerance)
