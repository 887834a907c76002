"""Unions of training sets against loops over queries, subsets and pairs."""

import itertools
import math

import pytest
import torch
from tests.quick import one_in
from torch.testing import assert_close

from primaldual import AllKeys, MaskedKeys, PooledHeads, PrimalProblem, Union, Window, preset
from primaldual.errors import ArgumentError, SpecError, UnsupportedError
from primaldual.testing.inputs import masks, prepared, tensors

LENGTH, HEADS, WIDTH = 29, 4, 6


def pairs_of_query(row, allowed, subsets, disjoint):
    """Members of every pair of a query: lists of positions, for ("window", radius) and ("sh", scale)."""
    held, found = set(), []
    for kind, number in subsets:
        free = [j for j in allowed if not (disjoint and j in held)]
        if kind == "window":
            own = [[j] for j in free if abs(row - j) <= number]
        elif number == 1:
            own = [[j] for j in free]
        else:
            own = [[j for j in free if j // number == window] for window in range(row // number + LENGTH)]
            own = [members for members in own if members]
        held |= {j for members in own for j in members}
        found.append((kind, number, own))
    single = {
        j
        for kind, number, own in found
        for (j,) in [m for m in own if len(m) == 1]
        if kind == "window" or number == 1
    }
    kept = []
    for kind, number, own in found:
        last = max((j for members in own for j in members), default=-1)
        for members in own:
            unfinished = kind == "sh" and number > 1 and (members[0] // number + 1) * number - 1 > last
            if not (unfinished and set(members) <= single):
                kept.append(members)
    return kept


def by_loops(query, key, value, allowed, subsets, disjoint=False, bn=False):
    """Query (D,), keys (N, D) of one head after the other."""
    out = torch.zeros_like(query)
    for batch in range(query.shape[0]):
        for head in range(HEADS):
            of_head = [(kind, n[head] if isinstance(n, tuple) else n) for kind, n in subsets]
            for row in range(query.shape[2]):
                seen = [j for j in range(LENGTH) if allowed[batch, row, j]]
                groups = pairs_of_query(row, seen, of_head, disjoint)
                if not groups:
                    continue
                shares = torch.zeros(len(groups), LENGTH, dtype=key.dtype)
                for share, members in zip(shares, groups, strict=True):
                    share[members] = 1 / len(members)
                keys, values = shares @ key[batch, head], shares @ value[batch, head]
                q = query[batch, head, row]
                if bn:
                    mean, variance = keys.mean(0), keys.var(0, unbiased=False)
                    q, keys = ((x - mean) / (variance + 1e-5).sqrt() for x in (q, keys))
                weights = (keys @ q / math.sqrt(WIDTH)).softmax(0)
                out[batch, head, row] = weights @ values
    return out


CASES = {
    "window(3)|sh(4)": [("window", 3), ("sh", 4)],
    "window(1)|sh(5)": [("window", 1), ("sh", 5)],
    "window(2)|sh(1,2,3,4)": [("window", 2), ("sh", (1, 2, 3, 4))],
    "sh(1)|sh(3)": [("sh", 1), ("sh", 3)],
    "sh(2)|sh(4)": [("sh", 2), ("sh", 4)],
    "window(3)|sh(4)|disjoint=true": [("window", 3), ("sh", 4)],
    "window(3)|window(1)": [("window", 3), ("window", 1)],
    "window(3)|window(5)|disjoint=true": [("window", 3), ("window", 5)],
    "sh(3)|window(4)|sh(6)+bn": [("sh", 3), ("window", 4), ("sh", 6)],
}


@pytest.mark.parametrize(
    ("spec", "is_causal", "mask"),
    one_in(5, itertools.product(CASES, (False, True), ("none", "padding", "pairs"))),
)
def test_equals_loops(spec, is_causal, mask):
    torch.manual_seed(0)
    tensors = torch.randn(3, 2, HEADS, LENGTH, WIDTH, dtype=torch.float64).unbind(0)
    tensors = [tensor.requires_grad_() for tensor in tensors]
    allowed = torch.ones(2, LENGTH, LENGTH, dtype=torch.bool)
    given = None
    if mask == "padding":
        given = torch.arange(LENGTH) < torch.tensor([LENGTH, 18])[:, None, None, None]
        allowed = given[:, 0].expand(-1, LENGTH, -1)
    if mask == "pairs":
        allowed = torch.rand(2, LENGTH, LENGTH) > 0.4
        given = allowed[:, None]
    seen = allowed.tril() if is_causal else allowed
    wanted = by_loops(*tensors, seen, CASES[spec], "disjoint" in spec, "bn" in spec)
    seed, problem = torch.randn_like(wanted), preset(spec)
    expected = torch.autograd.grad(wanted, tensors, seed)
    for compute in (problem.attend, problem.dense):
        found = compute(*tensors, given, is_causal)
        assert_close(found, wanted, rtol=1e-9, atol=1e-9)
        for one, other in zip(torch.autograd.grad(found, tensors, seed), expected, strict=True):
            assert_close(one, other, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("length", [1, 3])
def test_queries_before_the_first_key_keep_the_unfinished_window(length):
    """The window holds its members for the last queries alone."""
    torch.manual_seed(0)
    query, (key, value) = torch.randn(1, 1, 5, 2).double(), torch.randn(2, 1, 1, length, 2).double()
    problem = preset("window(1)|sh(2)")
    assert torch.allclose(problem.attend(query, key, value), problem.dense(query, key, value))


def test_by_hand():
    """Query 0 of keys 0 has its own key, 4, and means 6 and 8 of two windows, all alike."""
    value = torch.tensor([4.0, 8.0, 7.0, 9.0]).view(1, 1, 4, 1)
    out = preset("window(0)|sh(2)").attend(torch.zeros_like(value), torch.zeros_like(value), value)
    assert_close(out[0, 0, 0, 0], torch.tensor((4 + 6 + 8) / 3))


def test_pairs_that_are_there_twice_count_twice():
    tensors = torch.randn(3, 1, 2, 9, 4).unbind(0)
    twice = PrimalProblem(subset=Union(AllKeys(), AllKeys()))
    assert_close(twice.attend(*tensors), PrimalProblem().attend(*tensors))
    weights = twice.weights(*tensors[:2])
    assert weights.shape[-1] == 18
    assert_close(weights.sum(-1), torch.ones(1, 2, 9))
    assert_close(twice.attention_map(*tensors[:2]), PrimalProblem().attention_map(*tensors[:2]))


def test_masks_of_ones_own_cover_windows_too():
    torch.manual_seed(0)
    near = torch.ones(12, 12, dtype=torch.bool).tril().triu(-4)
    tensors = torch.randn(3, 1, 2, 12, 4).double().unbind(0)
    by_mask = PrimalProblem(subset=Union(MaskedKeys(near), PooledHeads(3)))
    assert_close(
        by_mask.attend(*tensors, is_causal=True),
        PrimalProblem(subset=Union(Window(4), PooledHeads(3))).attend(*tensors, is_causal=True),
    )


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(
    "spec",
    [
        "window(2)|sh(1,1,3,3)",
        "sh(2,2,3,3)|sh(4)+bn",
        "window(2)|anchored(1,1,2,2)",
        "sink(0)+window(2)|sh(3)",
    ],
)
def test_masks_of_every_head_and_shared_keys(spec, is_causal):
    torch.manual_seed(0)
    query = torch.randn(2, HEADS, 17, WIDTH, dtype=torch.float64)
    key, value = torch.randn(2, 2, 2, 17, WIDTH, dtype=torch.float64).unbind(0)
    problem = preset(spec).bind(HEADS, WIDTH).double()
    for shape in ((2, HEADS, 17, 17), (2, HEADS, 1, 17), (1, HEADS, 17, 17)):
        mask = torch.rand(shape) > 0.3
        wanted = problem.dense(query, key, value, mask, is_causal)
        assert_close(problem.attend(query, key, value, mask, is_causal), wanted, rtol=1e-9, atol=1e-9)


def test_heads_of_fixed_masks_go_with_their_heads():
    torch.manual_seed(0)
    tensors = torch.randn(3, 1, HEADS, 12, WIDTH, dtype=torch.float64).unbind(0)
    problem = PrimalProblem(
        subset=Union(MaskedKeys(torch.rand(HEADS, 12, 12) > 0.5), PooledHeads(1, 1, 3, 3))
    )
    for mask in (None, torch.rand(1, HEADS, 12, 12) > 0.3):
        assert_close(problem.attend(*tensors, mask), problem.dense(*tensors, mask))


def test_grouped_heads_and_decoding():
    torch.manual_seed(0)
    problem = preset("window(2)|sh(1,2,3,4)+bn")
    query = torch.randn(2, HEADS, 17, WIDTH)
    key, value = torch.randn(2, 2, 2, 17, WIDTH).unbind(0)
    wanted = problem.dense(query, key, value, is_causal=True)
    assert_close(problem.attend(query, key, value, is_causal=True), wanted, rtol=1e-4, atol=1e-5)
    state = problem.init_state(2, HEADS, WIDTH, kv_heads=2)
    tokens = [problem.step(state, *(t[:, :, i : i + 1] for t in (query, key, value))) for i in range(17)]
    assert_close(torch.cat(tokens, 2), wanted, rtol=1e-4, atol=1e-5)


def test_specs():
    for spec in ("window(3)|sh(4)+bn", "bn + (window(3) | sh(4))", "bn+window(3)|sh(4)"):
        assert preset(spec).spec() == "bn+window(3)|sh(4)"
    assert preset("sh(2)|sh(4)|disjoint=true").subset.disjoint
    assert preset(preset("window(1)|sh(1)").spec()).spec() == "window(1)|sh(1)"


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("window(3)|bn", "'bn' in a union"),
        ("window(3)|disjoint=true", "subsets must be two or more"),
        ("window(3)|sh(2)|disjoint=2", "disjoint must be True or False"),
        ("window(3)|", "is not a part"),
        ("window(3)|sh(2)+sh(2)", "two parts for the subset"),
    ],
)
def test_bad_specs_name_what_is_wrong(spec, named):
    with pytest.raises(SpecError, match=named.replace("(", r"\(").replace(")", r"\)")):
        preset(spec)


def test_bad_arguments_are_named():
    with pytest.raises(ArgumentError, match="subsets must be Subsets, no unions; got Union"):
        Union(Union(Window(1), Window(2)), Window(3))
    with pytest.raises(UnsupportedError, match=r"conv\(3\) takes pairs for neighbours"):
        preset("conv(3)+window(2)|sh(2)")


def test_heads_are_kept_with_their_scales():
    problem = preset("window(2)|sh(1,2,3,4)").bind(4, 6)
    assert problem.keep_heads([1, 3], 4).spec() == "window(2)|sh(2,4)"


@pytest.mark.parametrize("order", ["lla(0.1)", "parallax"])
@pytest.mark.parametrize("weights", ["", "forget+", "alibi+"])
@pytest.mark.parametrize("spec", ["top(1,1)|window(2)|disjoint=true", "sh(1)|sh(1)", "window(1)|top(1,2)"])
def test_a_slope_over_unions_of_single_keys(spec, weights, order):
    problem = prepared(preset(f"{weights}{order}+{spec}"), 2, 3)
    query, key, value = tensors(2, 3, 6)
    mask = masks(2, 2, 6, 6)["pattern"]
    assert_close(problem.attend(query, key, value, mask), problem.dense(query, key, value, mask))


@pytest.mark.parametrize("rest", ["bn", "bn+sink(0.3)", "linear+bn", "whiten", "bn+alibi"])
@pytest.mark.parametrize("is_causal", [False, True])
def test_normalised_keys_of_disjoint_single_keys(rest, is_causal):
    problem = prepared(preset(f"{rest}+window(2)|sh(1)|disjoint=true"), 2, 3)
    query, key, value = tensors(2, 3, 7)
    for mask in masks(2, 2, 7, 7).values():
        found = problem.attend(query, key, value, mask, is_causal)
        assert_close(found, problem.dense(query, key, value, mask, is_causal))


@pytest.mark.parametrize("weights", ["forget", "alibi"])
@pytest.mark.parametrize("is_causal", [False, True])
def test_weights_of_pairs_over_unions_of_all_keys(weights, is_causal):
    problem = prepared(preset(f"{weights}+sh(1)|sh(1)"), 2, 3)
    query, key, value = tensors(2, 3, 6)
    found = problem.attend(query, key, value, is_causal=is_causal)
    assert_close(found, problem.dense(query, key, value, is_causal=is_causal))


@pytest.mark.parametrize(
    "spec",
    [
        "sh(2,4,weighted=true)|sh(3,3,suffix=2)",
        "sh(2)|sh(3,prefix=1)",
        "sh(2,prefix=2)|sh(3)|window(1)",
        "anchored(2,3)|sh(3,suffix=1)",
    ],
)
@pytest.mark.parametrize("is_causal", [False, True])
def test_subsets_keep_their_own_lone_positions(spec, is_causal):
    for rest in ("", "+sink(0.3)", "+bn(beta=0.5)"):
        problem = prepared(preset(spec + rest), 2, 3)
        query, key, value = tensors(2, 3, 7)
        for mask in masks(2, 2, 7, 7).values():
            found = problem.attend(query, key, value, mask, is_causal)
            assert_close(found, problem.dense(query, key, value, mask, is_causal))


@pytest.mark.parametrize(
    "spec", ["window(2)|anchored(1,3)", "sh(2)|anchored(2,3)", "sink(0.3)+anchored(1,3)"]
)
@pytest.mark.parametrize("is_causal", [False, True])
def test_anchors_have_their_gradient_beside_other_pairs(spec, is_causal):
    problem = prepared(preset(spec), 2, 3)
    leaves = list(tensors(2, 3, 9)) + list(problem.parameters())
    outputs = [compute(*leaves[:3], is_causal=is_causal) for compute in (problem.attend, problem.dense)]
    seed = torch.randn_like(outputs[0])
    found, wanted = (torch.autograd.grad(out, leaves, seed) for out in outputs)
    for mine, theirs in zip(found, wanted, strict=True):
        assert_close(mine, theirs)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("length", [4, 5])
def test_gated_windows_of_one_key_are_single_keys(length, is_causal):
    query, key, value = torch.randn(3, 1, 2, length, 6, dtype=torch.double).unbind(0)
    gated, plain = preset("sh(2,2)|gated(1)").bind(2, 6), preset("sh(2,2)|sh(1,1)").bind(2, 6)
    gates = {name: torch.randn_like(key) for name in ("key_gate", "value_gate")}
    wanted = plain.dense(query, key, value, is_causal=is_causal)
    for method in (gated.attend, gated.dense):
        assert_close(method(query, key, value, is_causal=is_causal, inputs=gates), wanted)
