"""Causal batch-normalised attention in Triton against the definition, row by row in float64."""

import pytest
import torch

from primaldual.kernels.gpu.causal_batch_norm import causal_batch_norm


def row_by_row(query, key, value, beta, eps, scale):
    """Every query on the keys up to its own."""
    rows = []
    for i in range(query.shape[2]):
        seen = key[:, :, : i + 1]
        mean = seen.mean(2, keepdim=True)
        inverse = 1 if eps is None else (seen.var(2, keepdim=True, unbiased=False) + eps).rsqrt()
        changed, keys = (query[:, :, i : i + 1] - beta * mean) * inverse, (seen - mean) * inverse
        rows.append((changed @ keys.mT * scale).softmax(-1) @ value[:, :, : i + 1])
    return torch.cat(rows, 2)


def series(kind, device):
    key = torch.randn(1, 1, 100, 8, device=device)
    if kind == "far from 0":
        key += 3
    if kind == "stands still":
        key[:, :, :70] = key[:, :, :1]
        key[:, :, :90, 3] = 4.0
    if kind == "a huge first key":
        key[:, :, 0] = 60
    if kind == "short":
        key = key[:, :, :40]
    return key


@pytest.mark.parametrize(
    ("kind", "beta", "eps", "groups"),
    [(kind, 1.0, 1e-5, 1) for kind in ("plain", "far from 0", "stands still", "a huge first key", "short")]
    + [("stands still", "learned", 1e-2, 2), ("plain", 0.5, None, 1)],
)
def test_outputs_and_gradients_are_those_of_the_definition(kind, beta, eps, groups, device):
    torch.manual_seed(0)
    key = series(kind, device)
    query = torch.randn(1, groups, key.shape[2], 8, device=device)
    value = torch.randn(key.shape, device=device)
    tensors = [tensor.clone().requires_grad_() for tensor in (query, key, value)]
    wide = [tensor.double().requires_grad_() for tensor in (query, key, value)]
    wide_beta = beta
    if beta == "learned":
        beta = torch.rand(groups, device=device).requires_grad_()
        wide_beta = beta.detach().double().requires_grad_()
    out = causal_batch_norm(*tensors, beta, eps, 0.35)
    shaped = wide_beta.view(-1, 1, 1) if isinstance(wide_beta, torch.Tensor) else wide_beta
    repeated = [tensor.repeat_interleave(groups, 1) for tensor in wide[1:]]
    wanted = row_by_row(wide[0], *repeated, shaped, eps, 0.35)
    if isinstance(wide_beta, torch.Tensor):
        tensors, wide = [*tensors, beta], [*wide, wide_beta]
    gradient = torch.randn(out.shape, device=device)
    found = torch.autograd.grad(out, tensors, gradient)
    wishes = torch.autograd.grad(wanted, wide, gradient.double())
    for got, wish in zip((out, *found), (wanted, *wishes), strict=True):
        assert ((got.double() - wish).norm() / wish.norm()).item() < 5e-5


def test_a_key_to_come_moves_no_output_before_it(device):
    torch.manual_seed(0)
    tensors = [torch.randn(1, 1, 100, 8, device=device) for _ in range(3)]
    before = causal_batch_norm(*tensors, 1.0, 1e-5, 0.35)
    tensors[1][:, :, 90] = 1e4
    after = causal_batch_norm(*tensors, 1.0, 1e-5, 0.35)
    assert torch.equal(before[:, :, :64], after[:, :, :64])
    torch.testing.assert_close(before[:, :, :90], after[:, :, :90], rtol=1e-5, atol=1e-5)
