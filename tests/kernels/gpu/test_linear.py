"""Against the kernel matrix, in float64, written out."""

import itertools

import pytest
import torch
from tests.quick import one_in
from torch.testing import assert_close

from primaldual.errors import ArgumentError, ShapeError, UnsupportedError
from primaldual.kernels.gpu import linear_passes
from primaldual.kernels.gpu.linear import linear_attention

TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}
"""Of the largest number: rounding of the results, and of features and kernels in bfloat16."""


def definition(query, key, value, key_mask=None, is_causal=False, features="elu+1"):
    """Outputs in float64; the feature map is written by two branches of slope 1 at 0."""

    def phi(inputs):
        if features == "identity":
            return inputs
        return torch.where(inputs > 0, inputs + 1, torch.where(inputs > 0, 0.0, inputs).exp())

    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    allowed = torch.ones(1, 1, query.shape[2], key.shape[2], dtype=torch.bool, device=query.device)
    if key_mask is not None:
        allowed = allowed & key_mask.repeat_interleave(group if key_mask.shape[1] > 1 else 1, 1)
        value = torch.where(allowed[:, :, -1, :, None], value, 0.0)
        key = torch.where(allowed[:, :, -1, :, None], key, 0.0)
    if is_causal:
        allowed = allowed.tril()
    kernels = torch.where(allowed, phi(query) @ phi(key).transpose(-2, -1), 0.0)
    totals = kernels.sum(-1, keepdim=True)
    return kernels @ value / torch.where(totals == 0, torch.inf, totals)


def check(tensors, tolerance=None, **options):
    """Outputs and the gradients of all inputs, for a gradient of the outputs that is strided by heads."""
    tensors = [tensor.detach().requires_grad_() for tensor in tensors]
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    out, wanted = linear_attention(*tensors, **options), definition(*exact, **options)
    assert out.dtype == tensors[0].dtype
    assert out.transpose(1, 2).is_contiguous()
    gradient = torch.randn_like(wanted)
    found = torch.autograd.grad(out, tensors, gradient.to(out.dtype))
    expected = torch.autograd.grad(wanted, exact, gradient.to(out.dtype).double())
    tolerance = tolerance or TOLERANCE[out.dtype]
    for name, one, other in zip("oqkv", (out, *found), (wanted, *expected), strict=True):
        error = (one.double() - other).abs().max() / other.abs().max().clamp(min=0.2)
        assert error <= tolerance, (name, error)


def tensors(
    device, batch=1, heads=2, length=70, width=16, dtype=torch.float32, keys=None, kv_heads=None, values=None
):
    torch.manual_seed(0)
    sizes = (heads, length, width), (kv_heads or heads, keys or length, width)
    sizes += ((*sizes[1][:2], values or width),)
    return [torch.randn(batch, *size, device=device).to(dtype) for size in sizes]


@pytest.fixture(autouse=True)
def several_chunks(monkeypatch):
    """Of one or two blocks, also of short sequences."""
    monkeypatch.setattr(linear_passes, "PROGRAMS", 4)
    monkeypatch.setattr(linear_passes, "CAUSAL_PROGRAMS", 4)


@pytest.mark.parametrize(
    ("dtype", "is_causal"),
    one_in(5, itertools.product((torch.float32, torch.float16, torch.bfloat16), (False, True))),
)
def test_it_is_its_definition(device, dtype, is_causal):
    check(tensors(device, length=150, dtype=dtype), is_causal=is_causal)


@pytest.mark.parametrize("is_causal", one_in(2, [True, False]))
def test_widths_that_are_no_powers_of_two(device, is_causal):
    check(tensors(device, width=20, values=9), is_causal=is_causal)
    check(tensors(device, width=3, values=33), is_causal=is_causal)


def test_other_lengths_of_queries_and_keys(device):
    check(tensors(device, length=1, keys=70))
    check(tensors(device, length=70, keys=1))


@pytest.mark.parametrize("is_causal", one_in(2, [True, False]))
def test_one_row(device, is_causal):
    check(tensors(device, length=1), is_causal=is_causal)


@pytest.mark.parametrize("is_causal", one_in(2, [True, False]))
def test_key_heads_that_query_heads_share(device, is_causal):
    check(tensors(device, heads=4, kv_heads=2, length=70), is_causal=is_causal)


@pytest.mark.parametrize(
    ("sizes", "is_causal"), one_in(5, itertools.product([(2, 1), (1, 2), (2, 2)], (False, True)))
)
def test_masked_keys_may_hold_anything(device, sizes, is_causal):
    query, key, value = tensors(device, batch=2)
    mask = torch.rand(*sizes, 1, 70, device=device) > 0.4
    mask[0, :, :, :35] = False
    hidden = ~mask.expand(2, 2, 1, 70).transpose(-2, -1)
    check(
        (query, key.masked_fill(hidden, torch.nan), value.masked_fill(hidden, torch.inf)),
        key_mask=mask,
        is_causal=is_causal,
    )


@pytest.mark.parametrize("is_causal", one_in(2, [True, False]))
def test_rows_without_a_key_are_zero(device, is_causal):
    inputs = [tensor.requires_grad_() for tensor in tensors(device)]
    mask = torch.zeros(1, 1, 1, 70, dtype=torch.bool, device=device)
    out = linear_attention(*inputs, key_mask=mask, is_causal=is_causal)
    assert not out.any()
    assert not any(gradient.any() for gradient in torch.autograd.grad(out.sum(), inputs))


@pytest.mark.parametrize("is_causal", one_in(2, [True, False]))
def test_strides(device, is_causal):
    """Heads last in memory; every second column; a gradient of one number."""
    inputs = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in tensors(device)]
    check(inputs, is_causal=is_causal)
    check([torch.stack([tensor, tensor], -1).flatten(-2)[..., ::2] for tensor in inputs], is_causal=is_causal)
    leaves = [tensor.requires_grad_() for tensor in inputs]
    found = torch.autograd.grad(linear_attention(*leaves, is_causal=is_causal).sum(), leaves)
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = torch.autograd.grad(definition(*exact, is_causal=is_causal).sum(), exact)
    for one, other in zip(found, expected, strict=True):
        assert_close(one.double(), other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "is_causal"), one_in(3, itertools.product((0.0, 1e-6, 30.0), (False, True)), [(30.0, True)])
)
def test_zeros_and_numbers_of_all_sizes(device, size, is_causal):
    query, key, value = tensors(device)
    check((size * query, size * key, value), is_causal=is_causal)


@pytest.mark.parametrize("is_causal", one_in(2, [True, False]))
def test_features_beyond_the_range_of_float16(device, is_causal):
    """exp(-20) = 2e-9 is 0 in float16, and sums of 300 * 30000 are infinite."""
    query, key, value = tensors(device, dtype=torch.float16)
    check((query - 20, key, value), is_causal=is_causal)
    check((query, 300 * key.abs(), 30000 * value.clamp(-1, 1)), is_causal=is_causal)


@pytest.mark.parametrize("is_causal", one_in(2, [True, False]))
def test_values_far_from_zero_cost_no_digits_of_gradients(device, is_causal):
    """The gradients of queries and keys are differences of numbers that a shift of the values makes large."""
    query, key, value = tensors(device, length=100, dtype=torch.bfloat16)
    check((query, key, (value + 30)), tolerance=0.03, is_causal=is_causal)


@pytest.mark.parametrize("is_causal", one_in(2, [True, False]))
def test_features_that_are_given(device, is_causal):
    query, key, value = tensors(device)
    check((query.exp(), key.exp(), value), features="identity", is_causal=is_causal)


def test_refusals(device):
    query, key, value = tensors(device)
    with pytest.raises(ArgumentError, match=r"of one type.*got torch.float64"):
        linear_attention(query.double(), key.double(), value.double())
    with pytest.raises(ArgumentError, match="features must be one of"):
        linear_attention(query, key, value, features="relu")
    with pytest.raises(ShapeError, match="at most 128 wide; got 129"):
        linear_attention(*tensors(device, width=129))
    with pytest.raises(ShapeError, match="as many queries as keys; got 70 and 71"):
        linear_attention(*tensors(device, keys=71), is_causal=True)
    with pytest.raises(ShapeError, match="key_mask must be boolean"):
        linear_attention(query, key, value, key_mask=torch.ones(70, device=device))
    with pytest.raises(UnsupportedError, match="differentiated once"):
        torch.autograd.grad(
            linear_attention(query.requires_grad_(), key, value).sum(), query, create_graph=True
        )
