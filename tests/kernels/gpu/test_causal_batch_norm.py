"""Causal batch-normalised attention in Triton, of keys and of pools, against the definition, row by row in float64."""

from contextlib import nullcontext

import pytest
import torch
from tests.kernels.gpu.bfloat16 import right_bfloat16
from tests.quick import one_in

from primaldual.kernels.gpu.entering import Setting
from primaldual.kernels.gpu.normalization import Normalization
from primaldual.kernels.gpu.scaled_heads import scaled_heads


def pooled(tensor, scale):
    """Means over windows, the last one shorter."""
    return torch.stack([part.mean(-2) for part in tensor.split(scale, -2)], -2)


def row_by_row(query, key, value, normalization, scale, window):
    """Every query on the pools of the keys up to its own."""
    beta, eps, gain = normalization
    beta = beta.view(-1, 1, 1) if isinstance(beta, torch.Tensor) else beta
    rows = []
    for i in range(query.shape[2]):
        seen, values = pooled(key[:, :, : i + 1], window), pooled(value[:, :, : i + 1], window)
        mean = seen.mean(2, keepdim=True)
        inverse = 1 if eps is None else (seen.var(2, keepdim=True, unbiased=False) + eps).rsqrt()
        changed, keys = (query[:, :, i : i + 1] - beta * mean) * inverse, (seen - mean) * inverse
        changed = changed if gain is None else changed * gain.unsqueeze(1)
        rows.append((changed @ keys.mT * scale).softmax(-1) @ values)
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


def attend(query, key, value, normalization, window):
    """By the kernels, whose windows are those of heads beside others."""
    scales = None if window == 1 else (window,) * key.shape[1]
    return scaled_heads(query, key, value, Setting(0.35, scales, normalization, True))


KINDS = ("plain", "far from 0", "stands still", "a huge first key", "short")


@pytest.mark.parametrize(
    ("kind", "beta", "eps", "groups", "window"),
    one_in(
        2,
        [(kind, 1.0, 1e-5, 1, 1) for kind in KINDS]
        + [
            ("stands still", "learned", 1e-2, 2, 1),
            ("plain", 0.5, None, 1, 1),
            ("far from 0", 1.0, 1e-5, 1, 4),
        ]
        + [("stands still", "learned", 1e-2, 2, 8), ("short", 0.5, None, 1, 2)],
    ),
)
def test_outputs_and_gradients_are_those_of_the_definition(kind, beta, eps, groups, window, device):
    torch.manual_seed(0)
    key = series(kind, device)
    query = torch.randn(1, groups, key.shape[2], 8, device=device)
    leaves = [query, key, torch.randn(key.shape, device=device)]
    if beta == "learned":
        leaves += [torch.rand(groups, device=device), torch.randn(groups, 8, device=device)]
    leaves = [tensor.clone().requires_grad_() for tensor in leaves]
    wide = [tensor.detach().double().requires_grad_() for tensor in leaves]

    def normalization(learned):
        return Normalization(learned[0], eps, learned[1]) if learned else Normalization(beta, eps)

    out = attend(*leaves[:3], normalization(leaves[3:]), window)
    repeated = [tensor.repeat_interleave(groups, 1) for tensor in wide[1:3]]
    wanted = row_by_row(wide[0], *repeated, normalization(wide[3:]), 0.35, window)
    gradient = torch.randn(out.shape, device=device)
    found = torch.autograd.grad(out, leaves, gradient)
    wishes = torch.autograd.grad(wanted, wide, gradient.double())
    for got, wish in zip((out, *found), (wanted, *wishes), strict=True):
        assert ((got.double() - wish).norm() / wish.norm()).item() < 5e-5


@pytest.mark.parametrize("window", [1, 4])
def test_a_key_to_come_moves_no_output_before_it(window, device):
    torch.manual_seed(0)
    tensors = [torch.randn(1, 1, 100, 8, device=device) for _ in range(3)]
    before = attend(*tensors, Normalization(1.0, 1e-5), window)
    tensors[1][:, :, 90] = 1e4
    after = attend(*tensors, Normalization(1.0, 1e-5), window)
    assert torch.equal(before[:, :, :64], after[:, :, :64])
    torch.testing.assert_close(before[:, :, :90], after[:, :, :90], rtol=1e-5, atol=1e-5)


def test_bfloat16_keeps_its_digits_far_from_0(device):
    torch.manual_seed(0)
    tensors = [(torch.randn(1, 1, 72, 64, device=device) + mean).bfloat16() for mean in (20, 20, 0)]
    leaves = [tensor.requires_grad_() for tensor in tensors]
    wide = [tensor.detach().double().requires_grad_() for tensor in leaves]
    gradient = torch.randn(1, 1, 72, 64, device=device).bfloat16()
    with right_bfloat16() if device == "cpu" else nullcontext():
        out = attend(*leaves, Normalization(1.0, 1e-5), 4)
        found = torch.autograd.grad(out, leaves, gradient)
    wanted = row_by_row(*wide, Normalization(1.0, 1e-5), 0.35, 4)
    wishes = torch.autograd.grad(wanted, wide, gradient.double())
    errors = [
        ((got.double() - wish).norm() / wish.norm()).item()
        for got, wish in zip((out, *found), (wanted, *wishes), strict=True)
    ]
    assert max(errors) < 1e-2
