"""The fused query of batch-normalised attention against plain autograd."""

import pytest
import torch
from torch.testing import assert_close

from primaldual.kernels.batch_norm import batch_normalized_query


def written_out(query, key, key_mask, beta, eps):
    member = (
        torch.ones_like(key[..., :1])
        if key_mask is None
        else key_mask.mT.to(key.dtype).expand(*key.shape[:3], 1)
    )
    count = member.sum(-2, keepdim=True).clamp(min=1)
    mean = (member * key).sum(-2, keepdim=True) / count
    variance = (member * (key - mean) ** 2).sum(-2, keepdim=True) / count
    groups = query.shape[1] // key.shape[1]
    mean, variance = mean.repeat_interleave(groups, 1), variance.repeat_interleave(groups, 1)
    return (query - beta * mean) / (1.0 if eps is None else variance + eps)


@pytest.mark.parametrize("eps", [None, 1e-3])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_scores_and_gradients(eps, masked, kv_heads):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, 5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    key = torch.randn(2, kv_heads, 7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    beta = torch.tensor([0.2, 0.5, 1.0, -0.3], dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 1, 1, 7, generator=generator) > 0.3 if masked else None
    if mask is not None:
        mask[1] = False
    changed, centred = batch_normalized_query(query, key, mask, beta.view(4, 1, 1), eps)
    wanted = written_out(query, key, mask, beta.view(4, 1, 1), eps)
    assert_close(changed, wanted * ((1 if mask is None else mask.any(-1, keepdim=True)) if eps else 1))

    def scores(changed, keys):
        raw = changed @ keys.repeat_interleave(4 // kv_heads, 1).mT
        return (raw if mask is None else raw.masked_fill(~mask, -1e9)).softmax(-1)

    seed = torch.randn(2, 4, 5, 7, generator=generator, dtype=torch.float64)
    used = torch.ones(2, 1, 1, 1) if mask is None else mask.any(-1, keepdim=True)
    assert_close(scores(changed, centred) * used, scores(wanted, key) * used)
    found = torch.autograd.grad((scores(changed, centred) * used * seed).sum(), (query, key, beta))
    exact = torch.autograd.grad((scores(wanted, key) * used * seed).sum(), (query, key, beta))
    for gradient, reference in zip(found, exact, strict=True):
        assert_close(gradient, reference, rtol=1e-9, atol=1e-10)
