"""Pools, their statistics and their softmax in Triton against the formula, outputs and gradients."""

import pytest
import torch
from tests.quick import one_in

from primaldual.kernels.gpu import cudnn
from primaldual.kernels.gpu import scaled_heads as module
from primaldual.kernels.gpu.entering import Setting, entering
from primaldual.kernels.gpu.keys import pools
from primaldual.kernels.gpu.normalization import Normalization
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
            beta, eps, gain = normalization
            rows, keys = standardized(rows, keys, beta[head] if isinstance(beta, torch.Tensor) else beta, eps)
            rows = rows if gain is None else rows * gain[head]
        outputs.append(attended(rows, keys, values, scale))
    return torch.stack(outputs, 1)


def assert_same(out, tensors, wanted, wide_tensors, bound):
    gradient = torch.randn(out.shape, device=out.device)
    found = torch.autograd.grad(out, tensors, gradient)
    wishes = torch.autograd.grad(wanted, wide_tensors, gradient.double())
    for got, wish in zip((out, *found), (wanted, *wishes), strict=True):
        assert ((got.double() - wish).norm() / wish.norm()).item() < bound


@pytest.mark.parametrize(
    ("scales", "normalization", "is_causal", "groups"),
    one_in(2, [(SCALES, None, False, 1), (SCALES, None, True, 1), (SCALES, None, True, 2),
     (SCALES, Normalization(1.0, 1e-5), False, 1), (SCALES, "learned", False, 2),
     (SCALES, Normalization(0.5, None), False, 1), (None, Normalization(1.0, 1e-5), False, 1),
     (None, "learned", False, 2)]),
)  # fmt: skip
def test_scaled_heads_are_those_of_the_definition(scales, normalization, is_causal, groups, device):
    torch.manual_seed(0)
    heads = 4 if scales else 1
    query = torch.randn(1, heads * groups, 70, 8, device=device)
    key, value = torch.randn(1, heads, 70, 8, device=device) + 3, torch.randn(1, heads, 70, 8, device=device)
    key[..., 2] = 5  # a feature that stands still
    leaves = [query, key, value]
    if normalization == "learned":
        leaves += [torch.rand(heads * groups, device=device), torch.randn(heads * groups, 8, device=device)]
    leaves = [tensor.clone().requires_grad_() for tensor in leaves]
    wide = [tensor.detach().double().requires_grad_() for tensor in leaves]

    def normalized(learned):
        return Normalization(learned[0], 1e-2, learned[1]) if learned else normalization

    out = scaled_heads(*leaves[:3], Setting(0.3, scales, normalized(leaves[3:]), is_causal))
    wanted = head_by_head(*wide[:3], 0.3, normalized(wide[3:]), is_causal, scales or (1,))
    assert_same(out, leaves, wanted, wide, 1e-5)


def of_what_counts(tensor, valid, scale):
    """Means over the members of windows that count, of the windows that have any, (N, D)."""
    parts = zip(tensor.split(scale), valid.split(scale), strict=True)
    return torch.stack([part[counts].mean(0) for part, counts in parts if counts.any()])


def masked_definition(query, key, value, scale, normalization, scales, valid):
    """Head by head of every sequence on the keys that count; 0 where none does."""
    out = torch.zeros(*query.shape[:3], value.shape[3], dtype=query.dtype, device=query.device)
    for batch, head in [(batch, head) for batch in range(query.shape[0]) for head in range(query.shape[1])]:
        kv = head * key.shape[1] // query.shape[1]
        if valid[batch, kv].any():
            window = scales[kv] if scales else 1
            keys, values = (
                of_what_counts(each[batch, kv], valid[batch, kv], window) for each in (key, value)
            )
            one = [each[None, None] for each in (query[batch, head], keys, values)]
            beta, eps, gain = normalization or (0.0, None, None)
            if normalization:
                one[:2] = standardized(*one[:2], beta if isinstance(beta, float) else beta[head], eps)
                one[0] = one[0] if gain is None else one[0] * gain[head]
            out[batch, head] = attended(*one, scale)[0, 0]
    return out


def mask(device):
    """A head that is padded on the left, one with holes, one of a single key, and one of none."""
    valid = torch.ones(2, 2, 40, dtype=torch.bool, device=device)
    valid[0, 0, :20] = False
    valid[0, 1, 16:25] = False
    valid[0, 1, ::3] = False
    valid[1, 0] = torch.arange(40, device=device) == 30
    valid[1, 1] = False
    return valid


@pytest.mark.parametrize(
    ("scales", "normalization"),
    one_in(
        2,
        [
            (None, Normalization(1.0, 1e-5)),
            ((1, 8), Normalization(1.0, 1e-5)),
            ((2, 8), "learned"),
            ((1, 8), None),
        ],
    ),
)
def test_keys_that_do_not_count_have_no_part(scales, normalization, device):
    torch.manual_seed(0)
    groups = 2 if normalization == "learned" else 1
    leaves = [torch.randn(2, heads, 40, 8, device=device) for heads in (2 * groups, 2, 2)]
    leaves[1][:, 0] += 3
    if normalization == "learned":
        leaves += [torch.rand(4, device=device), torch.randn(4, 8, device=device)]
    leaves, valid = [tensor.requires_grad_() for tensor in leaves], mask(device)
    wide = [tensor.detach().double().requires_grad_() for tensor in leaves]

    def normalized(learned):
        return Normalization(learned[0], 1e-2, learned[1]) if learned else normalization

    out = scaled_heads(*leaves[:3], Setting(0.3, scales, normalized(leaves[3:]), False), valid)
    wanted = masked_definition(*wide[:3], 0.3, normalized(wide[3:]), scales, valid)
    assert_same(out, leaves, wanted, wide, 1e-5)
    assert (out[1, groups:] == 0).all()


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(
    ("scales", "normalization"),
    [(None, Normalization(1.0, 1e-5)), ((1, 2), Normalization(1.0, 1e-5)), ((1, 2), None)],
)
def test_no_more_is_kept_than_what_was_given_the_output_and_statistics(
    scales, normalization, is_causal, device
):
    query, key, value = (torch.randn(1, 2, 130, 16, device=device, requires_grad=True) for _ in range(3))
    kept = {}

    def remember(tensor):
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        out = scaled_heads(query, key, value, Setting(0.3, scales, normalization, is_causal))
    given = {tensor.data_ptr() for tensor in (query, key, value)}
    assert given <= set(kept)
    more = sum(size for place, size in kept.items() if place not in given)
    blocks = 0 if normalization is None else 3 if is_causal else 1
    assert more == out.nbytes + 4 * (2 * 130 + 2 * blocks * 2 * 16)


@pytest.mark.parametrize("is_causal", [False, True])
def test_what_enters_again_by_statistics_is_what_entered(is_causal, device):
    torch.manual_seed(0)
    tensors = [torch.randn(1, 2, 100, 8, device=device) for _ in range(3)]
    setting = Setting(0.3, (1, 4), Normalization(1.0, 1e-5), is_causal)
    once, statistics = entering(*tensors, setting)
    again, same = entering(*tensors, setting, statistics)
    assert same is statistics
    for first, second in zip(once[:3], again[:3], strict=True):
        assert torch.equal(first, second)


def test_a_feature_that_stands_still_enters_as_0(device):
    query, key, value = (torch.randn(1, 1, 100, 8, device=device) for _ in range(3))
    key[..., 2] = 5
    for is_causal in (False, True):
        given, _ = entering(query, key, value, Setting(0.3, None, Normalization(1.0, 1e-5), is_causal))
        assert (given.key[..., 2] == 0).all()


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
    normalization = Normalization(1.0, 1e-2)
    out = scaled_heads(*tensors, Setting(0.3, (1, 1, 4, 4), normalization, False))
    wanted = head_by_head(*wide, 0.3, normalization, False, (1, 1, 4, 4))
    assert_same(out, tensors, wanted, wide, 3e-6)
