"""Pooled pairs that stand for their members: by hand, and to first order."""

import math

import pytest
import torch
from torch.testing import assert_close

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.kernels.pooling import pool
from primaldual.kernels.salient_pooling import salient_pool
from primaldual.kernels.weighted_pooling import anchored_pool, log_counts
from primaldual.primal.presets import preset


def test_last_attendable_tokens_stay_by_themselves():
    values = torch.tensor([1.0, 2.0, 4.0, 6.0, 8.0, 16.0]).unsqueeze(-1)
    pooled, mask = pool(values, 2, None, Layout(prefix=1, suffix=1))
    assert pooled.squeeze(-1).tolist() == [1.0, 3.0, 7.0, 16.0]
    assert mask is None


def test_padding_moves_the_end_and_changes_no_pair():
    values = torch.tensor([1.0, 2.0, 4.0, 6.0, 8.0, 16.0, -1.0, -1.0]).unsqueeze(-1)
    valid = torch.tensor([[True] * 6 + [False] * 2])
    pooled, mask = pool(values, 2, valid, Layout(prefix=1, suffix=1))
    assert pooled[mask.squeeze(0)].squeeze(-1).tolist() == [1.0, 3.0, 7.0, 16.0]


def test_holes_are_left_out_of_pairs_and_of_the_end():
    values = torch.arange(1.0, 7.0).unsqueeze(-1)
    valid = torch.tensor([[True, False, True, True, True, False]])
    pooled, mask = pool(values, 2, valid, Layout(suffix=2))
    assert pooled[mask.squeeze(0)].squeeze(-1).tolist() == [1.0, 3.0, 4.0, 5.0]
    counts = log_counts(6, 2, valid, Layout(suffix=2), values)
    assert counts[0][mask[0]].exp().tolist() == [1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_fewer_tokens_than_lone_ones(length):
    values = torch.arange(1.0, length + 1).unsqueeze(-1)
    layout = Layout(prefix=1, suffix=3)
    pooled, _ = pool(values, 2, None, layout)
    assert pooled.squeeze(-1).tolist() == values.squeeze(-1).tolist()
    assert layout.windows(length, 2) == length
    masked, mask = pool(values, 2, torch.ones(1, length, dtype=torch.bool), layout)
    assert masked[mask.squeeze(0)].squeeze(-1).tolist() == values.squeeze(-1).tolist()


def test_counts_are_those_of_the_members():
    layout = Layout(grid=(2, 3), prefix=1)
    valid = torch.tensor([[True, True, True, False, True, True, False]])
    like = torch.zeros(())
    assert log_counts(7, 2, None, layout, like)[0].exp().round().tolist() == [1.0, 4.0, 2.0]
    assert log_counts(7, 2, valid, layout, like)[0].exp().round().tolist() == [1.0, 4.0, 1.0]


def test_repeated_keys_weighted_give_the_attention_unpooled():
    key, value, query = (torch.randn(1, 2, 3, 4, dtype=torch.double) for _ in range(3))
    twice = [tensor.repeat_interleave(2, 2)[:, :, :5] for tensor in (key, value)]
    whole = preset("softmax").attend(query, *twice)
    assert_close(preset("sh(2,2,weighted=true)").attend(query, *twice), whole)
    assert (preset("sh(2,2)").attend(query, *twice) - whole).abs().max() > 1e-3


@pytest.mark.parametrize("layout", [SEQUENCE, Layout(prefix=1, suffix=1), Layout((2, 4), 1)])
def test_anchored_pairs_give_value_and_slope_of_the_softmax_at_the_anchor(layout):
    length = 9
    key, value = torch.randn(2, 1, 1, length, 3, dtype=torch.double).unbind(0)
    anchor = torch.randn(3, dtype=torch.double, requires_grad=True)
    pools, values, bias, _ = anchored_pool(key, value, key @ anchor.detach().unsqueeze(-1), 2, None, layout)
    assert pools.shape[2] == layout.windows(length, 2)
    whole = (key @ anchor).softmax(-1).unsqueeze(-2) @ value
    pooled = (pools @ anchor + bias.squeeze(-2)).softmax(-1).unsqueeze(-2) @ values
    assert_close(pooled, whole)
    log_whole = (key @ anchor).logsumexp(-1).sum()
    log_pooled = (pools @ anchor + bias.squeeze(-2)).logsumexp(-1).sum()
    assert_close(log_pooled, log_whole)
    slopes = [torch.autograd.grad(total, anchor)[0] for total in (log_whole, log_pooled)]
    assert_close(slopes[1], slopes[0])


def test_an_anchor_of_zero_is_the_count():
    query, key, value = torch.randn(3, 2, 2, 7, 4).unbind(0)
    anchored = preset("anchored(2,3,suffix=1)").bind(2, 4)
    counted = preset("sh(2,3,weighted=true,suffix=1)")
    assert_close(anchored.attend(query, key, value), counted.attend(query, key, value))
    with torch.no_grad():
        anchored.subset.anchor.fill_(0.5)
    assert (anchored.attend(query, key, value) - counted.attend(query, key, value)).abs().max() > 1e-3


def test_huge_scores_at_the_anchor_stay_finite():
    key = torch.tensor([3000.0, -3000.0, 1.0]).view(1, 1, 3, 1)
    mask = torch.tensor([[[[True, True, False]]]])
    pools, _, bias, kept = anchored_pool(key, key, key, 2, mask, SEQUENCE)
    assert pools.flatten().tolist() == [3000.0, 0.0]
    assert bias.flatten().tolist() == [0.0, 0.0]
    assert kept.flatten().tolist() == [True, False]


def test_grouped_queries_have_anchors_of_their_own():
    problem = preset("anchored(2,2,2,2)").bind(4, 3)
    torch.nn.init.normal_(problem.subset.anchor)
    query, pair = torch.randn(1, 4, 5, 3), torch.randn(2, 1, 2, 5, 3)
    repeated = pair.repeat_interleave(2, 2)
    assert_close(problem.attend(query, *pair), problem.attend(query, *repeated))


def test_weights_stay_with_their_heads_when_heads_go():
    problem = preset("anchored(1,2,4)").bind(3, 2)
    torch.nn.init.normal_(problem.subset.anchor)
    query, key, value = torch.randn(3, 1, 3, 6, 2).unbind(0)
    whole = problem.attend(query, key, value)
    anchor = problem.subset.anchor.detach().clone()
    problem.subset.keep_heads([0, 2], 3)
    assert problem.spec() == "anchored(1,4)"
    assert_close(problem.subset.anchor.detach(), anchor[[0, 2]])
    assert_close(problem.attend(*(tensor[:, [0, 2]] for tensor in (query, key, value))), whole[:, [0, 2]])


def test_what_has_no_meaning_is_refused():
    with pytest.raises(ArgumentError, match="suffix must be 0 behind a grid"):
        Layout(grid=(2, 2), suffix=1)
    with pytest.raises(ArgumentError, match="suffix must be an integer"):
        Layout(suffix=-1)
    with pytest.raises(ValueError, match="weighted must be True or False"):
        preset("sh(1,2,weighted=3)")
    with pytest.raises(UnsupportedError, match="suffix"):
        preset("conv(3)+sh(2,2,suffix=1)").bind(2, 2).attend(*torch.randn(3, 1, 2, 6, 2).unbind(0))


def test_spec_says_it_all():
    spec = "sh(1,2,prefix=1,suffix=1,weighted=true)"
    assert preset(spec).spec() == spec
    assert math.isclose(
        float(log_counts(3, 2, None, SEQUENCE, torch.zeros(())).max()), math.log(2), rel_tol=1e-6
    )


def test_the_most_important_keys_are_pairs_by_themselves_and_the_rest_fills_the_gaps():
    scores = torch.tensor([0.0, 5.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0])
    value = torch.arange(8.0).view(1, 1, 8, 1)
    _, values, bias, present = salient_pool(value, value, scores.view(1, 1, 8, 1), 2, 0.5, None)
    assert values.flatten().tolist() == pytest.approx([1.0, 5.0, 5 / 3, 17 / 3])
    assert present.all()
    assert bias.flatten().tolist() == pytest.approx([0.0, 0.0, math.log(3), math.log(3)])


@pytest.mark.parametrize("kept", [0.25, 0.5, 0.9])
def test_padding_and_its_place_change_no_salient_pair(kept):
    problem = preset(f"anchored(2,3,kept={kept})").bind(2, 4).double()
    torch.nn.init.normal_(problem.subset.anchor)
    query, key, value = torch.randn(3, 1, 2, 9, 4, dtype=torch.double).unbind(0)
    alone = problem.attend(query, key, value)
    mask = torch.tensor([False, True, True, True, False, True, True, True, True, True, True, False])
    padded = [torch.full((1, 2, 12, 4), torch.nan, dtype=torch.double) for _ in range(2)]
    for tensor, source in zip(padded, (key, value), strict=True):
        tensor[:, :, mask] = source
    assert_close(problem.attend(query, *padded, mask), alone)


def test_of_equal_scores_the_earlier_key_is_alone():
    value = torch.arange(6.0).view(1, 1, 6, 1)
    found = salient_pool(value, value, torch.zeros(1, 1, 6, 1), 2, 0.4, None)
    assert found[1].flatten().tolist() == [0.0, 2.0, 4.5]


def test_kept_is_honoured_or_refused():
    assert preset("anchored(1,2,kept=0.5)").spec() == "anchored(1,2,kept=0.5)"
    for bad in ("kept=1.0", "kept=-0.1", "kept=true", "kept=0.5,prefix=1", "kept=0.5,grid=2x2"):
        with pytest.raises(ValueError, match="kept"):
            preset(f"anchored(1,2,{bad})")
