"""Blocks chosen by their mean scores, against a loop over queries."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from primaldual import TopBlocks, preset
from primaldual.errors import ArgumentError
from primaldual.kernels import top_blocks

HEADS, LENGTH, WIDTH = 4, 14, 3


def tensors(query_length=LENGTH, kv_heads=HEADS):
    generator = torch.Generator().manual_seed(0)
    shapes = [(HEADS, query_length), (kv_heads, LENGTH), (kv_heads, LENGTH)]
    return [torch.randn(2, *shape, WIDTH, generator=generator, dtype=torch.float64) for shape in shapes]


def one_query(query, key, value, seen, count, size, last):
    """The attention of one query on the keys of its blocks, by numpy."""
    means = {}
    for block in range(0, len(key), size):
        members = [j for j in range(block, min(block + size, len(key))) if seen[j]]
        if members:
            means[block] = query @ key[members].mean(0)
    if not means:
        return np.zeros(value.shape[-1])
    ranked = sorted(means, key=lambda block: -(np.inf if last and block == max(means) else means[block]))
    used = [j for j in range(len(key)) if seen[j] and j // size * size in ranked[:count]]
    scores = key[used] @ query / np.sqrt(len(query))
    weights = np.exp(scores - scores.max())
    return weights @ value[used] / weights.sum()


@pytest.mark.parametrize("mask", ["none", "padding", "heads", "pairs"])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("query_length", "kv_heads"), [(LENGTH, HEADS), (LENGTH + 3, 2), (4, 2)])
@pytest.mark.parametrize("last", [False, True])
def test_a_query_attends_the_blocks_of_the_largest_scores(
    query_length, kv_heads, is_causal, mask, last, monkeypatch
):
    monkeypatch.setattr(top_blocks, "BLOCK_NUMBERS", 5 * 2 * HEADS * LENGTH)  # five queries at a time
    query, key, value = tensors(query_length, kv_heads)
    drawn = torch.rand(2, HEADS, query_length, LENGTH, generator=torch.Generator().manual_seed(1)) > 0.3
    masks = {
        "none": torch.ones(1, 1, 1, LENGTH, dtype=torch.bool),
        "padding": (torch.arange(LENGTH) >= torch.tensor([4, 0])[:, None])[:, None, None],
        "heads": drawn[:, :, :1],
        "pairs": drawn,
    }
    causal = torch.arange(LENGTH) <= torch.arange(query_length)[:, None] + LENGTH - query_length
    allowed = (masks[mask] & causal if is_causal else masks[mask]).expand(2, HEADS, query_length, LENGTH)
    wanted = torch.empty_like(query)
    for b, h, i in np.ndindex(*query.shape[:3]):
        pair = b, h * kv_heads // HEADS
        rows = query[b, h, i], key[pair], value[pair], allowed[b, h, i]
        wanted[b, h, i] = torch.from_numpy(one_query(*(part.numpy() for part in rows), 2, 3, last))
    problem, given = (
        preset(f"top(2,3{',last=true' if last else ''})"),
        None if mask == "none" else masks[mask],
    )
    for compute in (problem.attend, problem.dense):
        assert_close(compute(query, key, value, given, is_causal), wanted, rtol=1e-9, atol=1e-9)


def test_all_blocks_give_softmax():
    inputs = tensors(kv_heads=2)
    assert_close(preset("top(5,3)").attend(*inputs), preset("softmax").attend(*inputs))
    assert_close(preset("top(14,1)").attend(*inputs), preset("softmax").attend(*inputs))


def test_beside_a_window_each_position_may_count_once():
    inputs = tensors()
    once = preset("window(2)|top(5,3)|disjoint=true").attend(*inputs, is_causal=True)
    assert_close(once, preset("softmax").attend(*inputs, is_causal=True))


def test_of_equal_blocks_the_first_is_taken():
    key = torch.ones(1, 1, 9, 1) / 3
    weights = preset("top(1,3)").weights(torch.ones(1, 1, 1, 1), key)
    assert_close(weights.flatten(), torch.tensor([1, 1, 1, 0, 0, 0, 0, 0, 0]) / 3)


def test_a_pattern_of_each_head_meets_statistics_of_shared_keys():
    inputs = tensors(kv_heads=2)
    for spec in ("bn+top(2,3)", "bn+window(2)|top(1,4)"):
        problem = preset(spec)
        assert_close(problem.attend(*inputs, is_causal=True), problem.dense(*inputs, is_causal=True))


@pytest.mark.parametrize(
    ("arguments", "match"), [((0, 3), "count.*0"), ((2, 0), "size.*0"), ((1.5, 2), "count")]
)
def test_counts_are_whole_and_positive(arguments, match):
    with pytest.raises(ArgumentError, match=match):
        TopBlocks(*arguments)
