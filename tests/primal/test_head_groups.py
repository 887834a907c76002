"""Heads that solve different problems: each group is its problem on its own heads."""

import copy
import pickle
from itertools import product

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from primaldual import MultiheadAttention, preset
from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.kernels.layout import SEQUENCE
from primaldual.kernels.masks import Attendable
from primaldual.primal.head_groups import HeadGroups, joined
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.sources import TensorSource

HEADS, LENGTH, DIM = 6, 11, 4
DIVISIONS = [
    [("bn", [1, 4]), ("softmax", [0, 2, 3, 5])],
    [("sh(1,2,3)", [0, 1, 2]), ("bn(beta=0.5,learnable=true)+sh(2,4)", [5, 3]), ("linear", [4])],
    [("conv(3,queries=true)+bn", [0, 3]), ("window(2)", [1]), ("linear+sh(2,2,1)", [2, 5, 4])],
    [("taylor(2)", [2]), ("random(8)", [0, 1, 3, 4, 5])],
]


def grouped(division):
    torch.manual_seed(0)
    groups = HeadGroups(
        (preset(spec).bind(len(members), DIM), members) for spec, members in division
    ).double()
    with torch.no_grad():
        for parameter in groups.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return groups


def tensors(kv_heads=HEADS, query_length=LENGTH):
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(2, heads, length, DIM, dtype=torch.float64, generator=generator).requires_grad_()
        for heads, length in ((HEADS, query_length), (kv_heads, LENGTH), (kv_heads, LENGTH))
    ]


def masks():
    keys = torch.arange(LENGTH) < torch.tensor([LENGTH, 6])[:, None]
    pairs = torch.rand(2, HEADS, LENGTH, LENGTH, generator=torch.Generator().manual_seed(2)) < 0.7
    by_head = keys[:, None, None] & (torch.arange(HEADS)[:, None, None] + torch.arange(LENGTH) != 3)
    return {
        "none": None,
        "keys": keys[:, None, None],
        "keys by head": by_head,
        "pairs": pairs | torch.eye(LENGTH).bool(),
    }


def one_by_one(groups, query, key, value, mask, is_causal):
    """The definition of each problem on its own heads, with a key head for every query head."""
    key, value = (each.repeat_interleave(HEADS // each.shape[1], 1) for each in (key, value))
    outputs = torch.empty(*query.shape[:3], DIM, dtype=torch.float64)
    for problem, members in groups.problems():
        own = mask if mask is None or mask.shape[1] == 1 else mask[:, members]
        picked = (each[:, members] for each in (query, key, value))
        outputs[:, members] = problem.dense(*picked, own, is_causal)
    return outputs


@pytest.mark.parametrize("mask", masks())
@pytest.mark.parametrize("division", DIVISIONS, ids=str)
def test_groups_are_their_problems_on_their_heads(division, mask):
    groups, mask = grouped(division), masks()[mask]
    for kv_heads, is_causal in product((6, 3, 1), (False, True)):
        given = tensors(kv_heads)
        found = groups.attend(*given, mask, is_causal)
        wanted = one_by_one(groups, *given, mask, is_causal)
        assert_close(found, wanted)
        direction = torch.randn_like(found)
        learned = [*given, *groups.parameters()]
        gradients = torch.autograd.grad(found, learned, direction)
        assert_close(gradients, torch.autograd.grad(wanted, learned, direction))
        maps = groups.attention_map(*given[:2], mask, is_causal)
        assert_close(maps @ given[2].repeat_interleave(HEADS // kv_heads, 1), found)


def test_fewer_queries_than_keys():
    groups = grouped([("bn", [1, 4]), ("sh(1,2,3,4)", [0, 2, 3, 5])])
    given = tensors(query_length=3)
    for is_causal in (False, True):
        assert_close(
            groups.attend(*given, is_causal=is_causal), one_by_one(groups, *given, None, is_causal=is_causal)
        )


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("is_causal", [False, True])
def test_inside_a_layer_that_pools_before_it_projects(kv_heads, is_causal):
    torch.manual_seed(0)
    layer = MultiheadAttention(12, 4, kv_heads=kv_heads, batch_first=True, dtype=torch.float64)
    groups = HeadGroups([(preset("sh(3,2)"), [0, 3]), (preset("bn+sh(1,2)"), [1, 2])])
    layer.problem = groups
    inputs = torch.randn(2, LENGTH, 12, dtype=torch.float64)
    blocked = torch.arange(LENGTH) >= torch.tensor([LENGTH, 5])[:, None]
    pattern = torch.rand(LENGTH, LENGTH) < 0.3
    heads = [
        projection(inputs).unflatten(-1, (-1, 3)).transpose(1, 2)
        for projection in (layer.q_proj, layer.k_proj, layer.v_proj)
    ]
    for padding, attn_mask in product((None, blocked), (None, pattern)):
        mask = torch.ones(1, 1, 1, LENGTH, dtype=torch.bool)
        mask = mask if padding is None else mask & ~padding[:, None, None]
        mask = mask if attn_mask is None else mask & ~attn_mask
        options = {"attn_mask": attn_mask, "is_causal": is_causal, "average_attn_weights": False}
        poisoned = inputs if padding is None else inputs.masked_fill(padding[..., None], torch.nan)
        out, maps = layer(poisoned, poisoned, poisoned, padding, **options)
        mixed = groups.attend(*heads, mask, is_causal)
        kept = slice(None) if padding is None else ~padding
        assert_close(out[kept], layer.out_proj(mixed.transpose(1, 2).flatten(2))[kept])
        assert_close(
            (maps @ heads[2].repeat_interleave(4 // kv_heads, 1)).transpose(1, 2)[kept],
            mixed.transpose(1, 2)[kept],
        )


def test_pooled_heads_project_their_pools_only():
    """The source is asked for the pools of each scale, by the layer's numbers of the heads."""
    projected = []

    class Source(TensorSource):
        def pooled(self, heads, key_mask):
            key, value, mask = super().pooled(heads, key_mask)
            projected.append((heads, key.shape[2]))
            return key, value, mask

    query, key, value = tensors()
    groups = grouped([("sh(1,2,4)", [5, 1, 3]), ("softmax", [0, 2, 4])])
    groups(query, Source(key, value, HEADS), Attendable())
    assert projected == [(HeadSet([3], 2, SEQUENCE), 6), (HeadSet([5], 4, SEQUENCE), 3)]


def test_running_statistics_follow_their_own_heads():
    groups = HeadGroups(
        [(preset("bn(running=true)").bind(2, DIM), [1, 4]), (preset("softmax"), [0, 2, 3, 5])]
    ).double()
    given = tensors()
    groups.attend(*given)
    averages = groups.groups[0].transform.averages
    assert_close(averages.running_mean.double(), given[1][:, [1, 4]].mean((0, 2)), rtol=1e-5, atol=1e-6)
    evaluated = groups.eval().attend(*given)
    assert_close(evaluated, one_by_one(groups, *given, None, is_causal=False))


def test_dropout_reaches_every_group():
    groups, given = grouped(DIVISIONS[0]), tensors()
    torch.manual_seed(0)
    first, second = (groups.attend(*given, dropout_p=0.5) for _ in range(2))
    assert (first - second).abs().amax((0, 2, 3)).min() > 0.01


def test_copies_and_pickles():
    groups, given = grouped(DIVISIONS[1]), tensors()
    wanted = groups.attend(*given)
    for other in (copy.deepcopy(groups), pickle.loads(pickle.dumps(groups))):
        assert_close(other.attend(*given), wanted, rtol=0, atol=0)
    fresh = grouped([(spec, members) for spec, members in DIVISIONS[1]])
    nn.init.normal_(fresh.groups[1].transform.head_beta)
    assert not torch.equal(fresh.attend(*given), wanted)
    fresh.load_state_dict(groups.state_dict())
    assert_close(fresh.attend(*given), wanted, rtol=0, atol=0)


def test_words():
    groups = grouped([("bn", [4, 1]), ("softmax", [0, 2, 3, 5])])
    assert groups.spec() == "bn in heads [1, 4], softmax in heads [0, 2, 3, 5]"
    assert "heads=[[1, 4], [0, 2, 3, 5]]" in repr(groups)


@pytest.mark.parametrize("members", [[[0, 1], [1, 2]], [[0], [2]], [[0, 0], [1]], [[-1, 0]], [[], []], []])
def test_every_head_has_one_problem(members):
    with pytest.raises(ArgumentError, match="groups must name every head once; got"):
        HeadGroups((preset("bn"), heads) for heads in members)


def test_no_step_by_step_decoding():
    layer = MultiheadAttention(12, 4)
    layer.problem = HeadGroups([(preset("bn"), [0, 1]), (preset("softmax"), [2, 3])])
    with pytest.raises(
        UnsupportedError, match=r"one problem for all heads; got bn in heads \[0, 1\], softmax"
    ):
        layer.init_state(2)


def test_heads_are_kept_in_the_order_given():
    problem = HeadGroups([(preset("sh(2,3)"), [1, 3]), (preset("sh(4,5)"), [0, 2])])
    kept = problem.keep_heads([3, 0, 1], 4)
    assert [(part.subset.scales, members) for part, members in kept.problems(3)] == [
        ((3, 2), [0, 2]),
        ((4,), [1]),
    ]
    assert kept.keep_heads([2, 0], 3).subset.scales == (2, 3)


def test_one_problem_for_all_heads_stands_alone():
    problem = preset("bn")
    assert joined([(problem, [0, 1])]) is problem
    assert (
        joined([(problem, [0]), (preset("softmax"), [1])]).spec() == "bn in heads [0], softmax in heads [1]"
    )
