"""The contract of every attention, as checks that you can run on your own parts."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem

Case = dict[str, object]


def check_attention(
    problem: PrimalProblem | str,
    *,
    heads: int = 4,
    head_dim: int = 6,
    length: int = 13,
    fixed_length: bool = False,
) -> None:
    """Run the whole contract on a problem; an AssertionError tells what does not hold.

    fast = dense in outputs and gradients, under every mask; gradients equal finite differences; padding
    changes nothing; a query without keys gives 0; the prefix rule; a sample alone equals the sample in
    its batch; bfloat16; train = eval; copies; torch.compile and torch.export.

    Args:
        problem: a PrimalProblem or a spec.
        heads: query heads to try it with.
        head_dim: their dimension.
        length: positions; a pattern of fixed size needs its own.
        fixed_length: the problem accepts no other length (a fixed mask or grid).

    Example:
        >>> check_attention("bn+window(3)")
    """
    problem = preset(problem).bind(heads, head_dim)
    for check in CHECKS:
        check(problem, heads, head_dim, length, fixed_length)


def tensors(heads: int, head_dim: int, length: int, *, query_length: int | None = None, kv_heads: int | None = None,
            batch: int = 2, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:  # fmt: skip
    """Random query, key and value that require gradients; the keys have a mean and unequal deviations."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, heads, query_length or length, head_dim)] + 2 * [
        (batch, kv_heads or heads, length, head_dim)
    ]
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    drawn[1] = drawn[1] * torch.linspace(0.5, 1.5, head_dim, dtype=torch.float64) + 0.7
    return [tensor.to(dtype).requires_grad_() for tensor in drawn]


def masks(batch: int, heads: int, query_length: int, length: int) -> dict[str, Tensor | None]:
    """No mask, padding, holes (with a fully masked sample), and a pattern with an empty row."""
    generator = torch.Generator().manual_seed(1)
    padding = torch.arange(length) < torch.tensor([length, max(1, length - 4)])[:, None]
    holes = torch.rand(batch, 1, 1, length, generator=generator) > 0.4
    holes[-1] = False
    pattern = torch.rand(1, heads, query_length, length, generator=generator) > 0.5
    pattern[:, :, query_length // 2] = False
    return {"none": None, "padding": padding[:, None, None, :], "holes": holes, "pattern": pattern}


def cases(heads: int, length: int, fixed_length: bool) -> Iterator[Case]:
    """Sizes to try: self, shorter and longer queries, grouped key heads."""
    yield {"length": length}
    if heads % 2 == 0:
        yield {"length": length, "kv_heads": heads // 2}
    if not fixed_length:
        yield {"length": length, "query_length": 5}
        yield {"length": length, "query_length": 1}
        yield {"length": 3, "query_length": 7}


def check_dense(problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool) -> None:
    """attend = dense, outputs and gradients, for every size, mask and causality."""
    for case in cases(heads, length, fixed_length):
        inputs = tensors(heads, head_dim, **case)  # type: ignore[arg-type]
        batch, query_length, key_length = inputs[0].shape[0], inputs[0].shape[2], inputs[1].shape[2]
        for name, mask in masks(batch, heads, query_length, key_length).items():
            for is_causal in (False, True):
                fast = problem.attend(*inputs, mask=mask, is_causal=is_causal)
                slow = problem.dense(*inputs, mask=mask, is_causal=is_causal)
                scene = f"{problem.spec()}, {case}, mask {name}, is_causal {is_causal}"
                assert_close(
                    fast, slow, rtol=1e-8, atol=1e-9, msg=lambda text, scene=scene: f"{scene}: {text}"
                )
                seed = torch.randn(slow.shape, dtype=slow.dtype, generator=torch.Generator().manual_seed(2))
                wanted = torch.autograd.grad(slow, inputs, seed, allow_unused=True)
                found = torch.autograd.grad(fast, inputs, seed, allow_unused=True)
                for gradient, reference in zip(found, wanted, strict=True):
                    assert_close(
                        _filled(gradient),
                        _filled(reference),
                        rtol=1e-6,
                        atol=1e-7,
                        msg=lambda text, scene=scene: f"gradients, {scene}: {text}",
                    )


def _filled(gradient: Tensor | None) -> Tensor:
    return torch.zeros(()) if gradient is None else gradient


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

        def attention(*qkv: Tensor, is_causal: bool = is_causal) -> Tensor:
            return problem.attend(*qkv, mask=mask, is_causal=is_causal)

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
        spoiled = [spoiled_key.requires_grad_(), spoiled_value.requires_grad_()]
        out = problem.attend(query, *spoiled, mask, is_causal)
        assert_close(out, clean, rtol=0, atol=0)
        for gradient in torch.autograd.grad(out.sum(), spoiled, allow_unused=True):
            assert _filled(gradient).isfinite().all(), "gradients of padded keys or values are not finite"
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
            out = problem.attend(*inputs, mask=mask)
            empty = ~mask.any(-1).expand(2, heads, length)
            assert (out[empty] == 0).all(), "a query without keys must give exactly 0"
            for gradient in torch.autograd.grad(out.square().sum(), inputs, allow_unused=True):
                assert _filled(gradient).isfinite().all(), "gradients under a fully masked row are not finite"


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
        alone = problem.attend(query[:, :, row : row + 1], key[:, :, prefix], value[:, :, prefix])
        assert_close(causal[:, :, row : row + 1], alone, rtol=1e-7, atol=1e-8)


def check_samples(problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool) -> None:
    """A sample alone gives what it gives in a batch."""
    inputs = tensors(heads, head_dim, length)
    alone = problem.attend(*(tensor[:1] for tensor in inputs))
    assert_close(problem.attend(*inputs)[:1], alone, rtol=1e-9, atol=1e-10)


def check_low_precision(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool
) -> None:
    """bfloat16 is finite, and within a few of its roundings of float64 where there are keys enough to normalise by."""
    for is_causal in (False, True):
        inputs = tensors(heads, head_dim, length, dtype=torch.bfloat16)
        exact = problem.dense(*(tensor.double() for tensor in inputs), is_causal=is_causal)
        low = problem.attend(*inputs, is_causal=is_causal)
        assert low.dtype == torch.bfloat16
        assert low.isfinite().all(), "bfloat16 outputs are not finite"
        rows = slice(length // 2 if is_causal else 0, None)
        tolerance = 0.1 * float(exact[:, :, rows].detach().abs().max())
        assert_close(low.double()[:, :, rows], exact[:, :, rows], rtol=0.1, atol=tolerance)


def check_module(problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool) -> None:
    """train = eval, and copies through state_dict, pickle and deepcopy give the same outputs."""
    inputs = tensors(heads, head_dim, length)
    out = problem.train().attend(*inputs)
    loaded = copy.deepcopy(problem)
    loaded.load_state_dict(problem.state_dict())
    for other in (problem.eval(), loaded, copy.deepcopy(problem), pickle.loads(pickle.dumps(problem))):
        assert_close(other.attend(*inputs), out, rtol=0, atol=0)


class _Attention(nn.Module):
    def __init__(self, problem: PrimalProblem, is_causal: bool) -> None:
        super().__init__()
        self.problem = problem
        self.is_causal = is_causal

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return self.problem.attend(query, key, value, is_causal=self.is_causal)


def check_compile(problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool) -> None:
    """torch.compile makes one graph, with the same outputs and gradients."""
    for is_causal in (False, True):
        module = _Attention(problem, is_causal)
        inputs = tensors(heads, head_dim, length)
        torch.compiler.reset()
        compiled = torch.compile(module, backend="aot_eager", fullgraph=True)(*inputs)
        eager = module(*inputs)
        assert_close(compiled, eager, rtol=1e-9, atol=1e-10)
        for found, wanted in zip(
            *(
                torch.autograd.grad(out.square().sum(), inputs, allow_unused=True)
                for out in (compiled, eager)
            ),
            strict=True,
        ):
            assert_close(_filled(found), _filled(wanted), rtol=1e-8, atol=1e-9)


def check_export(problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool) -> None:
    """torch.export with dynamic batch and length (16 and up) gives the same outputs at another size."""
    sizes = {0: torch.export.Dim("batch", min=2, max=64)}
    longer = length
    if not fixed_length:
        sizes[2] = torch.export.Dim("length", min=16, max=4096)
        length, longer = 19, 41
    inputs = tuple(tensor.detach() for tensor in tensors(heads, head_dim, length, dtype=torch.float32))
    other = [tensor.detach() for tensor in tensors(heads, head_dim, longer, batch=3, dtype=torch.float32)]
    module = _Attention(problem, False)
    with torch.no_grad():
        exported = torch.export.export(module, inputs, dynamic_shapes=(sizes, sizes, sizes)).module()
        assert_close(exported(*other), module(*other), rtol=1e-4, atol=1e-5)


CHECKS: tuple[Callable[[PrimalProblem, int, int, int, bool], None], ...] = (
    check_dense,
    check_map,
    check_gradients,
    check_padding,
    check_empty_rows,
    check_prefix_rule,
    check_samples,
    check_low_precision,
    check_module,
    check_compile,
    check_export,
)
"""Every check of the contract; each takes (problem, heads, head_dim, length, fixed_length)."""
