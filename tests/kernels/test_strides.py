"""Every kernel gives the same for any memory layout of its inputs, values and gradients."""

import pytest
import torch

from primaldual import preset

LAYOUTS = {
    "transposed": lambda tensor: tensor.mT.contiguous().mT,
    "heads last": lambda tensor: tensor.transpose(1, 2).contiguous().transpose(1, 2),
    "sliced": lambda tensor: torch.cat([tensor, tensor], -1)[..., : tensor.shape[-1]],
    "every other": lambda tensor: torch.stack([tensor, tensor], -1).flatten(-2)[..., ::2],
    "channels last": lambda tensor: tensor.contiguous(memory_format=torch.channels_last),
    "expanded": lambda tensor: tensor[:1].expand_as(tensor),
}

SPECS = ("softmax", "bn", "linear", "window(0)", "window(2)", "bn+window(3)", "sh(1,2,3,4)", "bn+sh(1,2,3,4)")


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("spec", [*SPECS, "conv(3)+bn", "anchored(1,2,3,4,kept=0.5)"])
def test_memory_layout_changes_nothing(spec, layout, is_causal):
    generator = torch.Generator().manual_seed(0)
    problem = preset(spec).bind(4, 8)
    first = torch.randn(4, 1, 4, 11, 8, generator=generator, dtype=torch.float64).expand(-1, 2, -1, -1, -1)
    *plain, seed = (tensor.clone() for tensor in first.unbind(0))
    for place in range(4):
        given = [tensor.clone() for tensor in (*plain, seed)]
        given[place] = LAYOUTS[layout](given[place])
        *inputs, gradient = (tensor.detach() for tensor in given)
        found = _outputs_and_gradients(problem, inputs, gradient, is_causal)
        wanted = _outputs_and_gradients(problem, plain, seed, is_causal)
        for part, reference in zip(found, wanted, strict=True):
            torch.testing.assert_close(part, reference, rtol=1e-9, atol=1e-10)


def _outputs_and_gradients(problem, inputs, gradient, is_causal):
    leaves = [tensor.requires_grad_() for tensor in inputs]
    out = problem.attend(*leaves, is_causal=is_causal)
    return out, *torch.autograd.grad(out, leaves, gradient)
