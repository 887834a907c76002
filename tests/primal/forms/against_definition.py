"""A problem on random tensors against its definition, under every kind of mask that differs by query."""

import torch
from torch.testing import assert_close

from primaldual import preset
from primaldual.primal.token_inputs import sizes_of


def check(spec, queries, form):
    """Outputs and all gradients; ``form`` must serve some heads under a mask by query."""
    torch.manual_seed(0)
    problem = preset(spec).bind(4, 6).double()
    with torch.no_grad():
        for parameter in problem.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    sizes = [(2, 4, queries, 6), (2, 2, 13, 6), (2, 2, 13, 5)]
    inputs = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes]
    numbers = sizes_of(inputs[0], 13, 5)
    given = {
        need.name: -torch.rand(need.shape(numbers), dtype=torch.float64).requires_grad_()
        for need in problem.token_inputs
    }
    leaves = [*inputs, *given.values(), *problem.parameters()]
    for mask in (None, torch.rand(2, 1, queries, 13) > 0.3, torch.rand(1, 4, queries, 13) > 0.3):
        for is_causal in (False, True):
            out, wanted = (
                compute(*inputs, mask, is_causal, inputs=given) for compute in (problem.attend, problem.dense)
            )
            assert_close(out, wanted)
            grads = [
                torch.autograd.grad(part.sin().sum(), leaves, allow_unused=True) for part in (out, wanted)
            ]
            for found, expected in zip(*grads, strict=True):
                scale = 1.0 if expected is None else max(1.0, expected.abs().max().item())
                assert_close(found, expected, rtol=1e-6, atol=1e-9 * scale)
            if mask is not None:
                assert form in problem.explain(sizes[0], sizes[1], mask, is_causal).forms
