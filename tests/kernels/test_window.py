"""Windowed attention and statistics against full masks in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from primaldual.errors import ArgumentError, ShapeError
from primaldual.kernels.window import window_attention, window_statistics

LENGTHS = [(1, 1), (7, 7), (63, 63), (65, 65), (1000, 1000), (1, 90), (70, 200), (200, 70), (130, 1), (90, 3)]


def allowed(query_length, key_length, radius, is_causal, key_mask=None):
    position = torch.arange(query_length)[:, None] + key_length - query_length
    key = torch.arange(key_length)
    band = (key >= position - radius) & (key <= position + (0 if is_causal else radius))
    return band[None, None] if key_mask is None else band & key_mask


def dense_attention(query, key, value, mask, scale=None):
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    weights = scores.exp() * mask
    return weights @ value / weights.sum(-1, keepdim=True).clamp(min=1e-300)


def dense_statistics(key, mask):
    member = mask.to(key.dtype)[..., None]
    count = member.sum(-2).clamp(min=1)
    mean = (member * key[:, :, None]).sum(-2) / count
    variance = (member * (key[:, :, None] - mean[:, :, :, None]) ** 2).sum(-2) / count
    return mean, variance


def heads_of(length, heads, dim, batch=2, dtype=torch.float64):
    return torch.randn(batch, length, heads, dim, dtype=dtype).transpose(1, 2).requires_grad_()


def assert_same(outputs, expected, inputs, **tolerance):
    weights = [torch.randn_like(part) for part in expected]
    got = torch.autograd.grad(sum((w * o).sum() for w, o in zip(weights, outputs, strict=True)), inputs)
    want = torch.autograd.grad(sum((w * o).sum() for w, o in zip(weights, expected, strict=True)), inputs)
    for left, right in zip((*outputs, *got), (*expected, *want), strict=True):
        torch.testing.assert_close(left, right, **tolerance)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("radius", [0, 3, 40, 2000])
@pytest.mark.parametrize(("query_length", "key_length"), LENGTHS)
def test_attention_equals_the_full_mask(query_length, key_length, radius, is_causal):
    torch.manual_seed(0)
    batch = 1 if query_length == 1000 else 2
    query = heads_of(query_length, 4, 5, batch)
    key, value = heads_of(key_length, 2, 5, batch), heads_of(key_length, 2, 3, batch)
    out = window_attention(query, key, value, radius, is_causal=is_causal)
    mask = allowed(query_length, key_length, radius, is_causal)
    assert_same([out], [dense_attention(query, key, value, mask)], (query, key, value))


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("mask_heads", [1, 2, 4])
@pytest.mark.parametrize(("query_length", "key_length"), [(65, 65), (200, 200), (20, 150), (150, 20)])
def test_masked_keys_never_leak(query_length, key_length, mask_heads, is_causal):
    torch.manual_seed(0)
    query, key, value = heads_of(query_length, 4, 5), heads_of(key_length, 2, 5), heads_of(key_length, 2, 7)
    key_mask = torch.rand(2, mask_heads, 1, key_length) > 0.4
    key_mask[0, -1] = False
    expanded = key_mask if mask_heads != 2 else key_mask.repeat_interleave(2, 1)
    used = key_mask.unflatten(1, (2, -1)).any(2) if mask_heads == 4 else key_mask.expand(2, 2, 1, key_length)
    poison = torch.tensor([float("nan"), float("inf")], dtype=torch.float64)[
        torch.arange(key_length) % 2, None
    ]
    dirty_key, dirty_value = (torch.where(used.mT, part, poison) for part in (key, value))
    out = window_attention(
        query, dirty_key, dirty_value, 9, key_mask=key_mask, is_causal=is_causal, scale=0.7
    )
    mask = allowed(query_length, key_length, 9, is_causal, expanded)
    assert_same([out], [dense_attention(query, key, value, mask, 0.7)], (query, key, value))
    empty = ~mask.any(-1).expand(2, 4, query_length)
    assert empty.any()
    assert (out[empty] == 0).all()


@pytest.mark.parametrize("length", [9, 100])
def test_attention_gradcheck(length):
    torch.manual_seed(0)
    query, key, value = heads_of(length, 2, 2, 1), heads_of(length, 1, 2, 1), heads_of(length, 1, 1, 1)
    key_mask = torch.rand(1, 1, 1, length) > 0.3
    assert gradcheck(
        lambda *tensors: window_attention(*tensors, 3, key_mask=key_mask), (query, key, value), fast_mode=True
    )


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    st.integers(1, 150),
    st.integers(1, 150),
    st.integers(0, 70),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
)
def test_any_shape(query_length, key_length, radius, kv_heads, is_causal, masked):
    torch.manual_seed(query_length)
    query, key = heads_of(query_length, 2 * kv_heads, 4), heads_of(key_length, kv_heads, 4)
    key_mask = torch.rand(2, 1, 1, key_length) > 0.5 if masked else None
    mask = allowed(query_length, key_length, radius, is_causal, key_mask)
    out = window_attention(query, key, key, radius, key_mask=key_mask, is_causal=is_causal)
    assert_same([out], [dense_attention(query, key, key, mask)], (query, key))
    moments = window_statistics(
        key, radius, query_length=query_length, key_mask=key_mask, is_causal=is_causal
    )
    assert_same(moments, dense_statistics(key, mask), (key,))


def test_causal_row_is_the_last_row_of_its_prefix():
    torch.manual_seed(0)
    query, key, value = heads_of(150, 2, 4), heads_of(150, 2, 4), heads_of(150, 2, 4)
    causal = window_attention(query, key, value, 20, is_causal=True)
    mean, variance = window_statistics(key, 20, query_length=150, is_causal=True)
    for i in (0, 1, 63, 64, 149):
        prefix = key[:, :, : i + 1], value[:, :, : i + 1]
        last = window_attention(query[:, :, i : i + 1], *prefix, 20)
        torch.testing.assert_close(causal[:, :, i : i + 1], last)
        last_mean, last_variance = window_statistics(prefix[0], 20, query_length=1)
        torch.testing.assert_close(mean[:, :, i : i + 1], last_mean)
        torch.testing.assert_close(variance[:, :, i : i + 1], last_variance)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)]
)
def test_lower_precision_is_close(dtype, tolerance):
    torch.manual_seed(0)
    query, key, value = (heads_of(300, 2, 16, dtype=dtype) for _ in range(3))
    out = window_attention(query, key, value, 40)
    assert out.dtype == dtype
    wide = [part.detach().double().requires_grad_() for part in (query, key, value)]
    expected = dense_attention(*wide, allowed(300, 300, 40, False))
    weight = torch.randn_like(expected)
    got = torch.autograd.grad((out.double() * weight).sum(), (query, key, value))
    want = torch.autograd.grad((expected * weight).sum(), wide)
    for left, right in zip((out, *got), (expected, *want), strict=True):
        torch.testing.assert_close(left.double(), right, atol=tolerance * 3, rtol=tolerance)


class _LargestTensor(TorchDispatchMode):
    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for part in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(part, torch.Tensor):
                self.elements = max(self.elements, part.untyped_storage().nbytes() // part.element_size())
        return out


@pytest.mark.parametrize("masked", [False, True])
def test_no_tensor_is_quadratic_in_the_length(masked):
    length = 2048
    query, key, value = (heads_of(length, 2, 8, 1, torch.float32) for _ in range(3))
    key_mask = torch.rand(1, 1, 1, length) > 0.5 if masked else None
    with _LargestTensor() as largest:
        window_attention(query, key, value, 16, key_mask=key_mask).sum().backward()
        mean, variance = window_statistics(key, 16, query_length=length, key_mask=key_mask)
        (mean + variance).sum().backward()
    assert 0 < largest.elements < length * length // 8


def test_dropout_keeps_the_mean_and_drops():
    torch.manual_seed(0)
    query, key = heads_of(80, 2, 4, 1), heads_of(80, 2, 4, 1)
    value = torch.ones(1, 2, 80, 4, dtype=torch.float64)
    out = torch.stack([window_attention(query, key, value, 30, dropout_p=0.5) for _ in range(50)])
    assert out.std() > 0.01
    assert abs(out.mean() - 1) < 0.02
    torch.testing.assert_close(
        window_attention(query, key, value, 30, dropout_p=1e-12), torch.ones_like(value)
    )


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("query_length", "key_length"), [(1, 1), (65, 65), (300, 300), (20, 90), (90, 20)])
def test_statistics_equal_the_full_mask(query_length, key_length, is_causal):
    torch.manual_seed(0)
    key = heads_of(key_length, 3, 4)
    for mask_heads in (0, 1, 3):
        key_mask = torch.rand(2, mask_heads, 1, key_length) > 0.6 if mask_heads else None
        used = torch.ones(1, 1, 1, key_length, dtype=torch.bool) if key_mask is None else key_mask
        dirty = torch.where(used.mT, key, torch.nan)
        moments = window_statistics(
            dirty, 12, query_length=query_length, key_mask=key_mask, is_causal=is_causal
        )
        mask = allowed(query_length, key_length, 12, is_causal, key_mask)
        assert_same(moments, dense_statistics(key, mask), (key,))
        empty = ~mask.any(-1).expand(2, 3, query_length)
        assert all((part[empty] == 0).all() for part in moments)


def test_statistics_gradcheck():
    torch.manual_seed(0)
    key = heads_of(90, 1, 2, 1)
    assert gradcheck(lambda tensor: window_statistics(tensor, 5, query_length=90), (key,), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_statistics_survive_a_large_mean(dtype):
    torch.manual_seed(0)
    key = (100 + 0.1 * torch.randn(2, 3, 500, 8, dtype=torch.float64)).to(dtype)
    mean, variance = window_statistics(key, 20, query_length=500)
    assert mean.dtype == torch.float32
    true_mean, true_variance = dense_statistics(key.double(), allowed(500, 500, 20, False))
    torch.testing.assert_close(mean.double(), true_mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(variance.double(), true_variance, rtol=1e-3, atol=1e-8)


def test_compiles_and_exports_with_dynamic_sizes():
    class Both(torch.nn.Module):
        def forward(self, query, key, value, key_mask):
            out = window_attention(query, key, value, 5, key_mask=key_mask)
            return out, *window_statistics(key, 5, query_length=query.shape[2], key_mask=key_mask)

    def inputs(batch, length):
        key_mask = torch.rand(batch, 1, 1, length) > 0.3
        return *(heads_of(length, heads, 4, batch) for heads in (4, 2, 2)), key_mask

    torch.manual_seed(0)
    compiled = torch.compile(Both(), backend="aot_eager", fullgraph=True)
    for size in ((2, 100), (3, 70)):
        tensors = inputs(*size)
        for tensor, axes in zip(tensors, ((0, 2), (0, 2), (0, 2), (0, 3)), strict=True):
            torch._dynamo.mark_dynamic(tensor, axes)
        assert_same(compiled(*tensors), Both()(*tensors), tensors[:3])
    batch, length = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("length", min=2, max=4096)
    shapes = ({0: batch, 2: length},) * 3 + ({0: batch, 3: length},)
    exported = torch.export.export(Both(), inputs(2, 100), dynamic_shapes=shapes).module()
    for size in ((1, 3), (3, 64), (2, 300)):
        tensors = inputs(*size)
        for left, right in zip(exported(*tensors), Both()(*tensors), strict=True):
            torch.testing.assert_close(left, right)


def test_no_keys_and_no_queries():
    query, key = torch.randn(2, 2, 5, 4), torch.randn(2, 2, 5, 4)
    assert (window_attention(query, key[:, :, :0], key[:, :, :0], 3) == 0).all()
    assert window_attention(query[:, :, :0], key, key, 3).shape == (2, 2, 0, 4)
    assert window_attention(query[:, :, :0], key, key, 0).shape == (2, 2, 0, 4)
    mean, variance = window_statistics(key[:, :, :0], 3, query_length=5)
    assert mean.shape == variance.shape == (2, 2, 5, 4)
    assert window_statistics(key, 0, query_length=0)[0].shape == (2, 2, 0, 4)
    assert window_attention(query[:0], key[:0], key[:0], 3).shape == (0, 2, 5, 4)


def test_bad_input_is_named():
    tensor = torch.randn(1, 2, 5, 4)
    with pytest.raises(ArgumentError, match=r"radius must be 0 or more; got -1"):
        window_attention(tensor, tensor, tensor, -1)
    with pytest.raises(ShapeError, match="head_dim"):
        window_attention(tensor, tensor[..., :3], tensor, 1)
    with pytest.raises(ShapeError, match="divide"):
        window_attention(tensor, torch.randn(1, 3, 5, 4), torch.randn(1, 3, 5, 4), 1)
    with pytest.raises(ShapeError, match="key_mask"):
        window_attention(tensor, tensor, tensor, 1, key_mask=torch.ones(1, 1, 1, 4, dtype=torch.bool))
    with pytest.raises(ArgumentError, match="boolean"):
        window_statistics(tensor, 1, query_length=5, key_mask=torch.ones(1, 1, 1, 5))
