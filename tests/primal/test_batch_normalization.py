"""Batch normalisation of queries and keys: the learned gain, and what is exact in every precision."""

import pytest
import torch
from tests.quick import one_in
from torch.testing import assert_close

from primaldual import MultiheadAttention, fold_batch_norm, preset
from primaldual.errors import SpecError
from primaldual.testing import check_attention


def tensors(*lead, dtype=torch.float64):
    return (
        torch.randn(3, *lead, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        .to(dtype)
        .unbind(0)
    )


@pytest.mark.parametrize(
    "spec",
    one_in(
        2,
        [
            "bn(gain=0.5,per=feature)+sh(1,1,2,4)",
            "bn(gain=0.2)",
            "linear+bn(gain=2)",
            "bn(gain=0.3)+window(3)",
        ],
    ),
)
def test_gain_keeps_the_contract(spec):
    check_attention(spec, level="quick")


@pytest.mark.parametrize("per", ["head", "feature"])
def test_gain_is_a_metric_on_the_scores(per):
    query, key, value = tensors(1, 2, 7, 4)
    problem = preset(f"bn(gain=0.5,per={per})").bind(2, 4).double()
    gain = problem.transform.learned_gain
    assert gain.shape == (2, 4 if per == "feature" else 1)
    with torch.no_grad():
        gain.copy_(torch.rand(gain.shape, generator=torch.Generator().manual_seed(1)))
    mean, deviation = key.mean(2, keepdim=True), (key.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
    left, right = ((part - mean) / deviation for part in (query, key))
    wanted = torch.softmax(left * gain[:, None] @ right.mT / 2, -1) @ value
    assert_close(problem.attend(query, key, value), wanted)
    assert_close(problem.dense(query, key, value), wanted)


def test_a_gain_of_one_is_the_problem_without():
    query, key, value = tensors(2, 3, 90, 4)
    for is_causal in (False, True):
        found = preset("bn(gain=1)").bind(3, 4).double().attend(query, key, value, is_causal=is_causal)
        assert_close(found, preset("bn").attend(query, key, value, is_causal=is_causal))


def test_gain_is_written_in_the_equation_and_folds():
    assert "learned g_h, one for each head" in preset("bn(gain=0.2)").equation()
    layer = MultiheadAttention(
        8, 2, batch_first=True, attention="bn(running=true,gain=0.3,per=feature)"
    ).double()
    inputs = torch.randn(3, 9, 8, dtype=torch.float64)
    torch.nn.init.normal_(layer.problem.transform.learned_gain)
    layer(inputs, inputs, inputs)
    layer.eval()
    assert_close(fold_batch_norm(layer)(inputs, inputs, inputs)[0], layer(inputs, inputs, inputs)[0])


@pytest.mark.parametrize("spec", ["bn(gain=nan)", "bn(per=feature)", "bn(gain=1,per=row)", "bn(gain=true)"])
def test_bad_gains(spec):
    with pytest.raises(SpecError, match=r"gain|per"):
        preset(spec)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("spec", ["bn", "bn+sh(1,2)", "bn+window(5)", "conv(3,causal=true)+bn"])
def test_the_first_token_of_a_causal_sequence_is_its_value(spec, dtype):
    query, key, value = tensors(1, 2, 6, 16, dtype=dtype)
    out = preset(spec).bind(2, 16).attend(query, key, value, is_causal=True)
    assert_close(out[:, :, 0], value[:, :, 0])
    mask = torch.tensor([0, 0, 1, 1, 1, 1]).bool()
    out = preset(spec).bind(2, 16).attend(query, key, value, mask, True)
    assert (out[:, :, :2] == 0).all()
    assert_close(out[:, :, 2], value[:, :, 2])


def test_a_series_that_stands_still_has_the_digits_of_the_definition():
    query, key, value = tensors(1, 2, 300, 8)
    key = key + 5
    key[:, :, :100] = key[:, :, :1].clone()
    exact = preset("bn").dense(query, key, value, is_causal=True)
    found = preset("bn").attend(query.float(), key.float(), value.float(), is_causal=True)
    defined = preset("bn").dense(query.float(), key.float(), value.float(), is_causal=True)
    errors = [float((out.double() - exact).norm() / exact.norm()) for out in (found, defined)]
    assert errors[0] <= 10 * max(errors[1], 3e-7)


def test_autocast_gradients_are_finite():
    for spec in ("bn", "bn+sh(1,2)", "conv(3)+bn", "linear+bn", "bn+window(3)"):
        layer = MultiheadAttention(16, 2, batch_first=True, attention=spec)
        inputs = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(inputs, inputs, inputs, is_causal=spec != "linear+bn", need_weights=False)[0]
        out.float().square().sum().backward()
        assert inputs.grad.isfinite().all(), spec


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("spec", ["bn", "bn+sh(2,2)", "conv(3)+bn"])
def test_a_single_visible_key_has_all_the_weight_and_no_gradient(spec, dtype):
    problem = preset(spec).bind(2, 16)
    inputs = query, key, value = [part.requires_grad_() for part in tensors(2, 2, 6, 16, dtype=dtype)]
    mask = torch.tensor([[1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]]).bool()[:, None, None]
    out = problem.attend(query, key, value, mask)
    assert_close(out[0], value[0, :, :1].expand_as(out[0]))
    seed = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    for gradient in torch.autograd.grad(out, inputs[:2], seed):
        assert gradient.isfinite().all()
        assert (gradient[0] == 0).all()
