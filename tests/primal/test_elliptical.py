"""Elliptical attention against a loop over queries, its inputs, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from primaldual import MultiheadAttention, convert, preset
from primaldual.errors import ArgumentError, ShapeError, UnsupportedError
from primaldual.integrations.attention_hooks import attending, watching
from primaldual.primal.head_groups import HeadGroups

HEADS, LENGTH, WIDTH = 4, 11, 3


def tensors(query_length=LENGTH, kv_heads=HEADS):
    generator = torch.Generator().manual_seed(0)
    shapes = [(HEADS, query_length), *[(kv_heads, LENGTH)] * 3]
    return [torch.randn(2, *shape, WIDTH, generator=generator, dtype=torch.float64) for shape in shapes]


def one_query(query, key, value, previous):
    """The attention of one query on its keys, by numpy."""
    if not len(key):
        return np.zeros(value.shape[-1])
    change = np.abs(value - previous).mean(0)
    metric = change / change.max() if change.max() else np.ones(len(change))
    scores = key @ (metric * query) / math.sqrt(len(query))
    weights = np.exp(scores - scores.max())
    return weights @ value / weights.sum()


@pytest.mark.parametrize("mask", ["none", "padding", "heads", "pairs"])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("query_length", "kv_heads"), [(LENGTH, HEADS), (LENGTH + 3, 2), (4, 2)])
@pytest.mark.parametrize("spec", ["elliptical", "elliptical+window(2)"])
def test_it_is_attention_in_the_metric_of_changed_values(spec, query_length, kv_heads, is_causal, mask):
    query, key, value, previous = tensors(query_length, kv_heads)
    previous[:, :, :4] = value[:, :, :4]  # the first queries see no change
    drawn = torch.rand(2, HEADS, query_length, LENGTH, generator=torch.Generator().manual_seed(1)) > 0.3
    masks = {
        "none": torch.ones(1, 1, 1, LENGTH, dtype=torch.bool),
        "padding": (torch.arange(LENGTH) >= torch.tensor([4, 0])[:, None])[:, None, None],
        "heads": drawn[:, :, :1],
        "pairs": drawn,
    }
    distance = torch.arange(LENGTH) - torch.arange(query_length)[:, None] - LENGTH + query_length
    allowed = masks[mask].expand(2, HEADS, query_length, LENGTH)
    allowed = allowed & (distance <= 0) if is_causal else allowed
    allowed = allowed & (distance.abs() <= 2) if "window" in spec else allowed
    wanted = torch.empty(*query.shape[:3], WIDTH, dtype=torch.float64)
    for b, h, i in np.ndindex(*query.shape[:3]):
        pair, seen = (b, h * kv_heads // HEADS), allowed[b, h, i]
        rows = query[b, h, i], key[pair][seen], value[pair][seen], previous[pair][seen]
        wanted[b, h, i] = torch.from_numpy(one_query(*(part.numpy() for part in rows)))
    problem, given = preset(spec), None if mask == "none" else masks[mask]
    for compute in (problem.attend, problem.dense):
        found = compute(query, key, value, given, is_causal, inputs={"previous_value": previous})
        assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("is_causal", [False, True])
def test_values_that_did_not_change_give_softmax(is_causal):
    query, key, value, _ = tensors()
    wanted = preset("softmax").attend(query, key, value, is_causal=is_causal)
    for previous in (value, torch.full_like(value, math.nan)):
        found = preset("elliptical").attend(
            query, key, value, is_causal=is_causal, inputs={"previous_value": previous}
        )
        assert_close(found, wanted)


def test_the_metric_has_no_gradient():
    query, key, value, previous = (tensor.requires_grad_() for tensor in tensors())
    out = preset("elliptical").attend(query, key, value, inputs={"previous_value": previous})
    gradient = torch.autograd.grad(out.sum(), [previous, value], allow_unused=True)
    assert gradient[0] is None
    assert_close(gradient[1].sum(), torch.tensor(float(out.numel()), dtype=torch.float64))


def test_a_map_needs_the_values():
    query, key, value, previous = tensors(kv_heads=2)
    problem, inputs = preset("elliptical"), {"previous_value": previous}
    with pytest.raises(ArgumentError, match=r"needs the input 'value'.*\(2, 4, 11, 3\)"):
        problem.attention_map(query, key, inputs=inputs)
    found = problem.attention_map(query, key, inputs={**inputs, "value": value})
    wanted = problem.attend(query, key, value, inputs=inputs)
    assert_close(found @ value.repeat_interleave(2, 1), wanted)


@pytest.mark.parametrize("spec", ["elliptical+differential(0.3)", "elliptical"])
def test_values_of_another_width_than_queries_have_a_map(spec):
    """The halves of differential have the width of the values."""
    problem = preset(spec).bind(2, 4).double()
    query, key = torch.randn(2, 1, 2, 5, 4 * problem.solver.key_parts).double()
    value, previous = torch.randn(2, 1, 2, 5, 4).double()
    out = problem.attend(query, key, value, inputs={"previous_value": previous})
    assert_close(out, problem.dense(query, key, value, inputs={"previous_value": previous}))
    given = {"previous_value": previous, "value": value}
    assert_close(problem.attention_map(query, key, inputs=given) @ value, out)


def test_it_is_as_fast_as_softmax():
    for spec, form in (("elliptical", "softmax"), ("elliptical+window(2)", "band")):
        assert preset(spec).explain((1, 4, 64, 8), is_causal=True).forms == [form]


def test_heads_may_be_divided():
    query, key, value, previous = tensors()
    groups = HeadGroups([(preset("elliptical"), [0, 3]), (preset("softmax"), [1, 2])])
    found = groups.attend(query, key, value, inputs={"previous_value": previous})
    wanted = preset("elliptical").attend(query, key, value, inputs={"previous_value": previous})
    assert_close(found[:, [0, 3]], wanted[:, [0, 3]])


def test_a_layer_takes_the_values_of_the_layer_before():
    torch.manual_seed(0)
    first, second = (MultiheadAttention(12, 4, batch_first=True, attention="elliptical") for _ in range(2))
    tokens = torch.randn(2, LENGTH, 12)
    none = {"previous_value": torch.full((2, 4, LENGTH, 3), math.nan)}
    hidden, _ = first(tokens, tokens, tokens, is_causal=True, inputs=none)
    before = {"previous_value": first.v_proj(tokens).unflatten(-1, (4, 3)).transpose(1, 2)}
    out, weights = second(hidden, hidden, hidden, is_causal=True, average_attn_weights=False, inputs=before)
    values = second.v_proj(hidden).unflatten(-1, (4, 3)).transpose(1, 2)
    assert_close(second.out_proj((weights @ values).transpose(1, 2).flatten(2)), out)
    state = second.init_state(batch=2)
    steps = [
        second.step(state, hidden[:, [t]], given={"previous_value": before["previous_value"][:, :, [t]]})
        for t in range(LENGTH)
    ]
    assert_close(torch.cat(steps, 1), out)
    with pytest.raises(ArgumentError, match=r"needs the input 'previous_value'.*\(2, 4, 11, 3\)"):
        second(hidden, hidden, hidden)


def test_a_first_converted_layer_is_plain_softmax():
    model = torch.nn.TransformerEncoderLayer(12, 4, batch_first=True).eval()
    tokens = torch.randn(2, 5, 12)
    plain = model(tokens)
    convert(model, "elliptical", verbose=False)
    assert_close(model(tokens), plain, atol=1e-5, rtol=1e-4)


def test_what_is_seen_of_a_layer_is_what_it_does():
    torch.manual_seed(0)
    layer = MultiheadAttention(12, 4, batch_first=True, attention="elliptical")
    tokens, seen = torch.randn(1, 5, 12), []
    with (
        attending(layer) as sites,
        watching(sites, lambda call: seen.append((call, call.attend_with(call.problem)))),
    ):
        layer(tokens, tokens, tokens, inputs={"previous_value": torch.randn(1, 4, 5, 3)})
    ((call, again),) = seen
    assert_close(again, call.outputs)


def test_refusals():
    query, key, value, previous = tensors()
    with pytest.raises(UnsupportedError, match=r"pairs that are positions; those of sh\(2\)"):
        preset("elliptical+sh(2)")
    with pytest.raises(UnsupportedError, match="elliptical before it differs from call to call"):
        preset("elliptical+bn(running=true)")
    with pytest.raises(ShapeError, match="head_dim 3 and value_dim 2"):
        preset("elliptical").attend(query, key, value[..., :2], inputs={"previous_value": previous[..., :2]})


def test_differences_beyond_half_precision_count():
    query, key, value, previous = (tensor.half() for tensor in tensors())
    value, previous = 60_000 * value.sign(), 60_000 * previous.sign()
    found = preset("elliptical").attend(query, key, value, inputs={"previous_value": previous})
    wide = preset("elliptical").dense(
        *(tensor.double() for tensor in (query, key, value)), inputs={"previous_value": previous.double()}
    )
    assert_close(found.double() / 60_000, wide / 60_000, atol=2e-3, rtol=0)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("spec", ["elliptical", "elliptical+window(2)"])
@pytest.mark.parametrize(("dtype", "large"), [(torch.float32, 2.0**125), (torch.float64, 2.0**1021)])
def test_values_whose_changes_add_up_beyond_their_type_have_the_metric_of_smaller_ones(
    dtype, large, spec, is_causal
):
    query, key, value, previous = (tensor.to(dtype) for tensor in tensors())
    value = value.sign() * (1 - 0.5 * value.tanh().abs())
    previous = -value * previous.tanh().abs()
    problem, inputs = preset(spec), {"previous_value": previous}
    wanted = problem.attend(query, key, value, is_causal=is_causal, inputs=inputs)
    for compute in (problem.attend, problem.dense):
        found = compute(
            query, key, value * large, is_causal=is_causal, inputs={"previous_value": previous * large}
        )
        assert_close(found / large, wanted)
