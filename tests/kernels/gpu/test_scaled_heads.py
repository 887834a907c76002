"""Pools, their statistics and their softmax in Triton against the formula, outputs and gradients."""

import pytest
import torch

from primaldual.kernels.gpu import cudnn
from primaldual.kernels.gpu import scaled_heads as module
from primaldual.kernels.gpu.keys import pools
from primaldual.kernels.gpu.normalized import normalized
from primaldual.kernels.gpu.scaled_heads import scaled_heads

SCALES = (1, 2, 4, 8)


def pooled(tensor, scale):
    """Means over windows, the last one shorter."""
    return torch.stack([part.mean(-2) for part in tensor.split(scale, -2)], -2)


def standardized(query, key, beta, eps):
    mean = key.mean(-2, keepdim=True)
    inverse = 1 if eps is None else (key.var(-2, keepdim=True, unbiased=False) + eps).rsqrt()
    return (query - beta * mean) * inverse, (key - mean) * inverse


def attended(query, key, value, scale):
    return (query @ key.mT * scale).softmax(-1) @ value


def head_by_head(query, key, value, scale, normalization, is_causal, scales=SCALES):
    """The definition of scaled heads; causal, every query pools what it sees."""
    outputs = []
    for head in range(query.shape[1]):
        kv = head * key.shape[1] // query.shape[1]
        rows, keys, values, window = query[:, head], key[:, kv], value[:, kv], scales[kv]
        if is_causal:
            each = [
                attended(rows[:, i : i + 1], pooled(keys[:, : i + 1], window), pooled(values[:, : i + 1], window), scale)
                for i in range(rows.shape[1])
            ]  # fmt: skip
            outputs.append(torch.cat(each, 1))
            continue
        keys, values = pooled(keys, window), pooled(values, window)
        if normalization:
            beta, eps = normalization
            rows, keys = standardized(rows, keys, beta[head] if isinstance(beta, torch.Tensor) else beta, eps)
        outputs.append(attended(rows, keys, values, scale))
    return torch.stack(outputs, 1)


def assert_same(out, tensors, wanted, wide_tensors, bound):
    gradient = torch.randn(out.shape, device=out.device)
    found = torch.autograd.grad(out, tensors, gradient)
    wishes = torch.autograd.grad(wanted, wide_tensors, gradient.double())
    for got, wish in zip((out, *found), (wanted, *wishes), strict=True):
        assert ((got.double() - wish).norm() / wish.norm()).item() < bound


@pytest.mark.parametrize(
    ("normalization", "is_causal", "groups"),
    [(None, False, 1), (None, True, 1), (None, True, 2), ((1.0, 1e-5), False, 1), (("learned", 1e-2), False, 2),
     ((0.5, None), False, 1)],
)  # fmt: skip
def test_scaled_heads_are_those_of_the_definition(normalization, is_causal, groups, device):
    torch.manual_seed(0)
    query = torch.randn(1, 4 * groups, 70, 8, device=device)
    key, value = torch.randn(1, 4, 70, 8, device=device) + 3, torch.randn(1, 4, 70, 8, device=device)
    tensors = [tensor.clone().requires_grad_() for tensor in (query, key, value)]
    wide_tensors = [tensor.double().requires_grad_() for tensor in (query, key, value)]
    wide_normalization = normalization
    if normalization and normalization[0] == "learned":
        beta = torch.rand(4 * groups, device=device).requires_grad_()
        wide_beta = beta.detach().double().requires_grad_()
        normalization, wide_normalization = (beta, normalization[1]), (wide_beta, normalization[1])
    out = scaled_heads(*tensors, 0.3, SCALES, normalization, is_causal)
    wanted = head_by_head(*wide_tensors, 0.3, wide_normalization, is_causal)
    if isinstance(wide_normalization and wide_normalization[0], torch.Tensor):
        tensors, wide_tensors = [*tensors, beta], [*wide_tensors, wide_beta]
    assert_same(out, tensors, wanted, wide_tensors, 3e-6)


@pytest.mark.parametrize("kv_heads", [2, 4])
def test_normalized_queries_and_keys_give_the_scores_of_the_definition(kv_heads, device):
    torch.manual_seed(0)
    query, key = torch.randn(1, 4, 300, 8, device=device), torch.randn(1, kv_heads, 300, 8, device=device) + 3
    key[..., 2] = 5  # a feature that stands still
    value = torch.randn(1, 4, 300, 8, device=device)
    tensors, wide_tensors = [query.requires_grad_(), key.requires_grad_()], []
    changed, keys = normalized(query, key, 1.0, 1e-5)
    assert (keys[..., 2] == 0).all()
    out = attended(changed, keys.repeat_interleave(4 // kv_heads, 1), value, 0.3)
    wide_tensors = [tensor.detach().double().requires_grad_() for tensor in tensors]
    repeated = wide_tensors[1].repeat_interleave(4 // kv_heads, 1)
    wanted = attended(*standardized(wide_tensors[0], repeated, 1.0, 1e-5), value.double(), 0.3)
    assert_same(out, tensors, wanted, wide_tensors, 5e-6)


def test_neighbouring_heads_that_pool_alike_are_one_run():
    runs = pools((1, 1, 4, 1), 6, torch.device("cpu")).runs
    assert [(run.heads, run.pools) for run in runs] == [
        (slice(0, 2), slice(0, 12)),
        (slice(2, 3), slice(12, 14)),
        (slice(3, 4), slice(14, 20)),
    ]


def test_calls_for_each_scale_join_to_the_same(monkeypatch, device):
    """What is around cuDNN's calls, with the formula in their place."""

    def attend(query, key, value, is_causal, scale):
        assert not is_causal
        scores = query @ key.mT * scale
        return cudnn.Outcome(
            attended(query, key, value, scale), scores.logsumexp(-1, keepdim=True), None, None
        )

    def gradients(gradient, query, key, value, outcome, is_causal, scale):
        tensors = [tensor.detach().requires_grad_() for tensor in (query, key, value)]
        with torch.enable_grad():
            out = attended(*tensors, scale)
        torch.testing.assert_close(outcome.out, out)
        torch.testing.assert_close(outcome.logsumexp, (query @ key.mT * scale).logsumexp(-1, keepdim=True))
        return torch.autograd.grad(out, tensors, gradient)

    monkeypatch.setattr(cudnn, "cudnn_attend", attend)
    monkeypatch.setattr(cudnn, "cudnn_gradients", gradients)
    monkeypatch.setattr(module, "cudnn_serves", lambda *given: True)
    monkeypatch.setattr(module, "LONG", 1)
    torch.manual_seed(0)
    tensors = [torch.randn(2, 4, 30, 8, device=device, requires_grad=True) for _ in range(3)]
    wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
    out = scaled_heads(*tensors, 0.3, (1, 1, 4, 4), (1.0, 1e-2))
    wanted = head_by_head(*wide, 0.3, (1.0, 1e-2), False, (1, 1, 4, 4))
    assert_same(out, tensors, wanted, wide, 3e-6)
