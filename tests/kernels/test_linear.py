"""Linear attention against the kernel matrix in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from primaldual.errors import ShapeError
from primaldual.kernels.linear import linear_attention

LENGTHS = [(1, 1), (7, 7), (63, 63), (65, 65), (1000, 1000), (1, 90), (70, 200), (200, 70), (90, 1)]


def allowed(query_length, key_length, is_causal, key_mask=None):
    position = torch.arange(query_length)[:, None] + key_length - query_length
    earlier = torch.arange(key_length) <= position
    mask = earlier[None, None] if is_causal else torch.ones_like(earlier)[None, None]
    return mask if key_mask is None else mask & key_mask


def dense(query, key, value, mask, normalize=True):
    group = query.shape[1] // key.shape[1]
    weights = query @ key.repeat_interleave(group, 1).mT * mask
    out = weights @ value.repeat_interleave(group, 1)
    total = weights.sum(-1, keepdim=True)
    return torch.where(total == 0, 0.0, out / torch.where(total == 0, 1.0, total)) if normalize else out


def positive(length, heads, dim, batch=2, dtype=torch.float64):
    tensor = torch.rand(batch, length, heads, dim, dtype=torch.float64) + 0.1
    return tensor.to(dtype).transpose(1, 2).requires_grad_()


def signed(length, heads, dim, batch=2, dtype=torch.float64):
    return torch.randn(batch, length, heads, dim, dtype=dtype).transpose(1, 2).requires_grad_()


def assert_same(out, expected, inputs, **tolerance):
    weight = torch.randn_like(expected)
    got = torch.autograd.grad((out * weight).sum(), inputs)
    want = torch.autograd.grad((expected * weight).sum(), inputs)
    for left, right in zip((out, *got), (expected, *want), strict=True):
        torch.testing.assert_close(left, right, **tolerance)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("query_length", "key_length"), LENGTHS)
def test_equals_the_kernel_matrix(query_length, key_length, is_causal, normalize):
    torch.manual_seed(0)
    query, key, value = positive(query_length, 4, 5), positive(key_length, 2, 5), signed(key_length, 2, 3)
    out = linear_attention(query, key, value, is_causal=is_causal, normalize=normalize)
    expected = dense(query, key, value, allowed(query_length, key_length, is_causal), normalize)
    assert_same(out, expected, (query, key, value))


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("mask_heads", [1, 2, 4])
@pytest.mark.parametrize(("query_length", "key_length"), [(65, 65), (20, 150), (150, 20)])
def test_masked_keys_never_leak(query_length, key_length, mask_heads, is_causal):
    torch.manual_seed(0)
    query, key, value = positive(query_length, 4, 5), positive(key_length, 2, 5), signed(key_length, 2, 3)
    key_mask = torch.rand(2, mask_heads, 1, key_length) > 0.4
    key_mask[0, -1] = False
    expanded = key_mask if mask_heads != 2 else key_mask.repeat_interleave(2, 1)
    used = key_mask.unflatten(1, (2, -1)).any(2) if mask_heads == 4 else key_mask.expand(2, 2, 1, key_length)
    poison = torch.tensor([float("nan"), float("inf")], dtype=torch.float64)[
        torch.arange(key_length) % 2, None
    ]
    dirty_key, dirty_value = (torch.where(used.mT, part, poison) for part in (key, value))
    out = linear_attention(query, dirty_key, dirty_value, key_mask=key_mask, is_causal=is_causal)
    mask = allowed(query_length, key_length, is_causal, expanded)
    assert_same(out, dense(query, key, value, mask), (query, key, value))
    empty = ~mask.any(-1).expand(2, 4, query_length)
    assert empty.any()
    assert (out[empty] == 0).all()


@pytest.mark.parametrize("is_causal", [False, True])
def test_gradcheck(is_causal):
    torch.manual_seed(0)
    inputs = positive(70, 2, 2, 1), positive(80, 1, 2, 1), signed(80, 1, 1, 1)
    assert gradcheck(lambda *t: linear_attention(*t, is_causal=is_causal), inputs, fast_mode=True)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    st.integers(1, 150), st.integers(1, 150), st.integers(1, 3), st.booleans(), st.booleans(), st.booleans()
)
def test_any_shape(query_length, key_length, kv_heads, is_causal, masked, normalize):
    torch.manual_seed(query_length)
    query, key = positive(query_length, 2 * kv_heads, 4), positive(key_length, kv_heads, 4)
    value = signed(key_length, kv_heads, 5)
    key_mask = torch.rand(2, 1, 1, key_length) > 0.5 if masked else None
    mask = allowed(query_length, key_length, is_causal, key_mask)
    out = linear_attention(query, key, value, key_mask=key_mask, is_causal=is_causal, normalize=normalize)
    assert_same(out, dense(query, key, value, mask, normalize), (query, key, value))


def test_causal_row_is_the_last_row_of_its_prefix():
    torch.manual_seed(0)
    query, key, value = positive(150, 2, 4), positive(150, 2, 4), signed(150, 2, 4)
    causal = linear_attention(query, key, value, is_causal=True)
    for i in (0, 1, 63, 64, 149):
        last = linear_attention(query[:, :, i : i + 1], key[:, :, : i + 1], value[:, :, : i + 1])
        torch.testing.assert_close(causal[:, :, i : i + 1], last)


def test_a_zero_denominator_gives_zero_with_finite_gradients():
    query = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]], dtype=torch.float64, requires_grad=True)
    key = torch.tensor([[[[0.0, 1.0], [0.0, 2.0]]]], dtype=torch.float64, requires_grad=True)
    for is_causal in (False, True):
        out = linear_attention(query, key, key, is_causal=is_causal)
        assert out[0, 0, 0].tolist() == [0.0, 0.0]
        assert all(grad.isfinite().all() for grad in torch.autograd.grad(out.sum(), (query, key)))


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)]
)
def test_lower_precision_is_close(dtype, tolerance, is_causal):
    torch.manual_seed(0)
    inputs = positive(300, 2, 16, 2, dtype), positive(300, 2, 16, 2, dtype), signed(300, 2, 16, 2, dtype)
    out = linear_attention(*inputs, is_causal=is_causal)
    assert out.dtype == dtype
    wide = [part.detach().double().requires_grad_() for part in inputs]
    expected = dense(*wide, allowed(300, 300, is_causal))
    got = torch.autograd.grad(out.double().square().sum(), inputs)
    want = torch.autograd.grad(expected.square().sum(), wide)
    for left, right in zip((out, *got), (expected, *want), strict=True):
        torch.testing.assert_close(left.double(), right, atol=tolerance, rtol=tolerance)


def test_the_causal_form_stores_only_its_inputs():
    length, dim = 512, 8
    inputs = positive(length, 1, dim, 1), positive(length, 1, dim, 1), signed(length, 1, dim, 1)
    stored = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: stored.append(t.numel()) or t, lambda t: t):
        linear_attention(*inputs, is_causal=True)
    assert max(stored) <= length * dim


@pytest.mark.long
def test_compiles_and_exports_with_dynamic_sizes():
    class Attention(torch.nn.Module):
        def forward(self, query, key, value, key_mask):
            return linear_attention(query, key, value, key_mask=key_mask, is_causal=True)

    def inputs(batch, length):
        key_mask = torch.rand(batch, 1, 1, length) > 0.3
        return (
            positive(length, 4, 4, batch),
            positive(length, 2, 4, batch),
            signed(length, 2, 4, batch),
            key_mask,
        )

    torch.manual_seed(0)
    compiled = torch.compile(Attention(), backend="aot_eager", fullgraph=True)
    for size in ((2, 100), (3, 70)):
        tensors = inputs(*size)
        for tensor, axes in zip(tensors, ((0, 2), (0, 2), (0, 2), (0, 3)), strict=True):
            torch._dynamo.mark_dynamic(tensor, axes)
        assert_same(compiled(*tensors), Attention()(*tensors), tensors[:3])
    batch, length = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("length", min=2, max=4096)
    shapes = ({0: batch, 2: length},) * 3 + ({0: batch, 3: length},)
    exported = torch.export.export(Attention(), inputs(2, 100), dynamic_shapes=shapes).module()
    for size in ((1, 3), (3, 64), (2, 300)):
        tensors = inputs(*size)
        torch.testing.assert_close(exported(*tensors), Attention()(*tensors))


@pytest.mark.parametrize("is_causal", [False, True])
def test_no_keys_and_no_queries(is_causal):
    tensor = torch.randn(2, 2, 5, 4)
    none = tensor[:, :, :0]
    assert (linear_attention(tensor, none, none, is_causal=is_causal) == 0).all()
    assert linear_attention(none, tensor, tensor, is_causal=is_causal).shape == (2, 2, 0, 4)


def test_bad_input_is_named():
    tensor = torch.randn(1, 2, 5, 4)
    with pytest.raises(ShapeError, match="share head_dim"):
        linear_attention(tensor, tensor[..., :3], tensor)
    with pytest.raises(ShapeError, match="share the batch"):
        linear_attention(tensor, tensor, tensor[:, :, :4])


def test_subnormal_totals_give_finite_means():
    query = torch.full((1, 1, 1, 1), 1e-40)
    value = torch.tensor([2.0, 4.0]).reshape(1, 1, 2, 1)
    out = linear_attention(query, torch.ones(1, 1, 2, 1), value)
    assert abs(out.item() - 3) < 1e-3


def test_gradients_of_keys_keep_their_digits_behind_much_smaller_ones():
    """The first outputs are quotients of sums of 1e-7, whose gradients no later key may meet."""
    query, key, value = (
        torch.randn(3, 1, 1, 150, 4, generator=torch.Generator().manual_seed(0)).double().exp().unbind(0)
    )
    key = torch.cat([key[:, :, :8] * 1e-7, key[:, :, 8:]], 2).requires_grad_()
    found, wanted = (
        torch.autograd.grad(out.sin().sum(), key)[0]
        for out in (
            linear_attention(query, key, value, is_causal=True),
            dense(query, key, value, allowed(150, 150, True)),
        )
    )
    torch.testing.assert_close(found[:, :, 8:], wanted[:, :, 8:], rtol=0, atol=1e-13)
