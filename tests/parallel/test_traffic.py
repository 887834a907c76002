import pytest
import torch

from primaldual.errors import ArgumentError
from primaldual.parallel import traffic


def test_scaled_heads_move_their_share():
    moved = traffic("sh(1,2,4,8)", [256] * 4, heads=4, head_dim=16)
    assert moved.total / moved.gathered_total == (1 + 1 / 2 + 1 / 4 + 1 / 8) / 4
    assert moved.gathered == 768 * 4 * 32 * 4
    assert moved.ring_total == 2 * moved.gathered + 1024 * 4 * 32 * 4


def test_shards_that_cut_windows_send_one_pair_more_at_each_cut():
    aligned, cut = (traffic("sh(4)", lengths, 1, 8) for lengths in ([8, 8], [6, 10]))
    pair = 2 * 8 * 4
    assert aligned.forward == 2 * pair
    assert [group.received for group in cut.groups] == [3 * pair]
    assert cut.padding == 0


def test_sums_do_not_grow_with_the_length():
    short, long = (traffic("linear+bn", [length] * 2, 2, 8) for length in (64, 4096))
    assert short.forward == long.forward < long.gathered / 50
    assert traffic("linear+bn", [64] * 2, 2, 8, is_causal=True).forward == short.gathered


def test_half_precision_and_shared_keys_move_less():
    moved = traffic("softmax", [8, 8], 4, 8, kv_heads=2, batch=3, dtype=torch.bfloat16)
    assert moved.forward == moved.gathered == 3 * 2 * 8 * 16 * 2


@pytest.mark.parametrize("wrong", [{"rank": 2}, {"kv_heads": 3}])
def test_sizes_that_do_not_fit_are_named(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        traffic("softmax", [8, 8], 4, 8, **wrong)
