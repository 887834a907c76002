import pytest
import torch

import primaldual as pdl


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_features_beyond_the_range_of_half_precision_are_finite(dtype, is_causal):
    """Powers of 300 reach 300^4, and the largest float16 is 65504."""
    torch.manual_seed(0)
    problem = pdl.preset("taylor(4)").bind(heads=2, head_dim=4)
    tensors = [(300 * torch.rand(1, 2, 400, 4)).to(dtype).requires_grad_() for _ in range(3)]
    assert problem.explain((1, 2, 400, 4), dtype=dtype).forms == ["factored"]
    out = problem.attend(*tensors, is_causal=is_causal)
    exact = problem.dense(*(tensor.detach().double() for tensor in tensors), is_causal=is_causal)
    assert (out.double() - exact).abs().max() <= 0.02 * exact.abs().max()
    gradients = torch.autograd.grad(out.float().sum(), tensors)
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_decoding_has_the_same_range():
    torch.manual_seed(0)
    problem = pdl.preset("taylor(4)").bind(heads=2, head_dim=4)
    query, key, value = ((300 * torch.rand(1, 2, 12, 4)).half() for _ in range(3))
    state = problem.init_state(1, 2, 4, dtype=torch.float16)
    outputs = [
        problem.step(state, *(each[:, :, i : i + 1] for each in (query, key, value))) for i in range(12)
    ]
    exact = problem.dense(*(each.double() for each in (query, key, value)), is_causal=True)
    assert (torch.cat(outputs, 2).double() - exact).abs().max() <= 0.02 * exact.abs().max()
