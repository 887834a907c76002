"""Sinks against one more pair written out."""

import math

import pytest
import torch
from torch.testing import assert_close

from primaldual import Sink, preset, solve
from primaldual.errors import ArgumentError, SpecError, UnsupportedError
from primaldual.testing.families import draw
from primaldual.testing.inputs import prepared
from primaldual.testing.rounding import measure_rounding

HEADS, LENGTH, WIDTH = 4, 23, 6


def tensors(length=LENGTH, dtype=torch.float64):
    torch.manual_seed(0)
    return [each.requires_grad_() for each in torch.randn(3, 2, HEADS, length, WIDTH, dtype=dtype).unbind(0)]


def by_rows(query, key, value, logit, allowed, beta):
    """One query after the other: T by its own keys if beta is a number, then a softmax with one more score."""
    rows = []
    for row in range(query.shape[2]):
        seen = allowed[row]
        keys, values, one = key[:, :, seen], value[:, :, seen], query[:, :, row : row + 1]
        if beta is not None:
            mean, variance = keys.mean(2, keepdim=True), keys.var(2, keepdim=True, correction=0)
            one, keys = ((each - beta * mean) / (variance + 1e-5).sqrt() for each in (one, keys))
        scores = (one @ keys.mT / math.sqrt(WIDTH)).squeeze(2)
        scores = torch.cat([scores, logit.view(1, -1, 1).expand(2, -1, 1)], -1)
        rows.append((scores.softmax(-1)[..., :-1].unsqueeze(2) @ values).squeeze(2))
    return torch.stack(rows, 2)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("spec", "beta"), [("sink", None), ("sink+bn", 1), ("sink+bn(beta=0.7)", 0.7)])
def test_equals_one_more_score_of_every_query(spec, beta, is_causal):
    problem = preset(spec).bind(HEADS, WIDTH).double()
    logit, inputs = problem.normalizer.head_logit, tensors()
    with torch.no_grad():
        logit.copy_(torch.tensor([-2.0, 0.0, 0.5, 3.0]))
    allowed = torch.ones(LENGTH, LENGTH, dtype=torch.bool)
    wanted = by_rows(*inputs, logit, allowed.tril() if is_causal else allowed, beta)
    seed, leaves = torch.randn_like(wanted), [*inputs, logit]
    expected = torch.autograd.grad(wanted, leaves, seed)
    for compute in (problem.attend, problem.dense):
        found = compute(*inputs, is_causal=is_causal)
        assert_close(found, wanted, rtol=1e-9, atol=1e-10)
        for one, other in zip(torch.autograd.grad(found, leaves, seed), expected, strict=True):
            assert_close(one, other, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("is_causal", [False, True])
def test_one_more_key_serves_where_the_kernel_does_not(is_causal, dtype):
    """Graphs, dropout and other devices have no log-sum-exp."""
    inputs = [each.detach() for each in tensors(dtype=dtype)]
    problem = preset("sink(1.3)")
    compiled = torch.compile(problem.attend, backend="eager", fullgraph=True)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert_close(
        compiled(*inputs, is_causal=is_causal),
        problem.dense(*inputs, is_causal=is_causal),
        rtol=tolerance,
        atol=tolerance,
    )


def test_by_hand():
    """Three keys of score 0 and a sink of log 3: half of the mean."""
    zero, value = torch.zeros(1, 1, 3, 2), torch.tensor([3.0, 6.0, 9.0]).view(1, 1, 3, 1).expand(1, 1, 3, 2)
    problem = preset(f"sink({math.log(3)})")
    assert_close(problem.attend(zero, zero, value), torch.full((1, 1, 3, 2), 3.0))
    assert_close(problem.weights(zero, zero).sum(-1), torch.full((1, 1, 3), 0.5))


@pytest.mark.parametrize("is_causal", [False, True])
def test_a_sink_beside_flat_features_keeps_the_digits_of_the_definition(is_causal):
    """beta < 1 leaves a share of the mean over a small deviation, which all scores of a query have in common."""
    problem = prepared(preset("sink(0.3)+bn(beta=0.7)"), HEADS, WIDTH)
    given = draw("nearly constant dimensions", (2, HEADS, 30, WIDTH))
    assert max(measure_rounding(problem, given, torch.float32, is_causal).ratios.values()) < 10


def test_a_large_sink_keeps_its_digits_in_half_precision():
    """One key of score 32 beside a sink of 32.1, which half precision alone would take for 32."""
    query = torch.tensor([8.0, 0, 0, 0], dtype=torch.bfloat16).view(1, 1, 1, 4)
    compiled = torch.compile(preset("sink(32.1)").attend, backend="eager", fullgraph=True)
    found = compiled(query, query, torch.ones_like(query)).float()
    assert_close(found, torch.full((1, 1, 1, 4), 1 / (1 + math.exp(0.1))), rtol=0.01, atol=0)


def test_decodes_as_the_whole():
    problem = preset("sink(0.5)+bn+window(3)|sh(2)")
    query, key, value = (each.detach() for each in tensors(dtype=torch.float32))
    state = problem.init_state(2, HEADS, WIDTH)
    steps = [problem.step(state, *(t[:, :, i : i + 1] for t in (query, key, value))) for i in range(LENGTH)]
    assert_close(torch.cat(steps, 2), problem.dense(query, key, value, is_causal=True), rtol=1e-4, atol=1e-5)


def test_spec_heads_and_refusals():
    assert preset("sink(-1,learnable=false)").spec() == "sink(-1,learnable=false)"
    problem = preset("sink(2)").bind(4, 6)
    with torch.no_grad():
        problem.normalizer.head_logit.copy_(torch.arange(4.0))
    assert problem.keep_heads([1, 3], 4).normalizer.head_logit.tolist() == [1, 3]
    with pytest.raises(ArgumentError, match=r"logit must be a number from .* got nan"):
        Sink(math.nan)
    with pytest.raises(SpecError, match="two parts for the normalizer"):
        preset("sink+constant")
    with pytest.raises(UnsupportedError, match="has a pair without a training value"):
        solve(preset("sink"), torch.randn(1, 1, 5, 2), torch.randn(1, 1, 5, 1), C=1.0)
