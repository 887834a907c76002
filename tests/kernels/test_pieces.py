"""How heads and sequences are cut into pieces, and attention over them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from primaldual.kernels import pieces
from primaldual.kernels.flash import FlashCall
from primaldual.kernels.pieces import PIECE_ELEMENTS, Span, attend_in_pieces, cut


@given(st.data())
def test_pieces_cover_every_head_of_every_sequence_once(data):
    kv_heads, groups, batch = (data.draw(st.integers(1, most)) for most in (4, 3, 5))
    heads = kv_heads * groups
    members = tuple(sorted(data.draw(st.sets(st.integers(0, heads - 1), min_size=1))))
    elements = data.draw(st.sampled_from([1, PIECE_ELEMENTS // 3, PIECE_ELEMENTS * 2]))
    seen = []
    for piece in cut(members, tuple(range(heads)), kv_heads, (Span(0, batch),), 1, elements):
        rows = range(piece.heads.start, piece.heads.stop)
        owners = {head // groups for head in rows}
        assert owners == set(range(piece.kv_heads.start, piece.kv_heads.stop))
        assert len(rows) % len(owners) == 0
        seen += [(sequence, head) for sequence in range(piece.batch.start, piece.batch.stop) for head in rows]
    assert sorted(seen) == [(sequence, head) for sequence in range(batch) for head in members]


def test_heads_held_elsewhere_are_found_by_place():
    first, second = cut((1, 4), (1, 4), 2, (Span(0, 1),), 4, 2, source=3)
    assert (first.kv_heads, second.kv_heads) == (slice(0, 1), slice(1, 2))
    assert first.source == second.source == 3


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("most", [1, 100, 10**9])
def test_equals_attention_at_once(monkeypatch, most, repeatable):
    monkeypatch.setattr(pieces, "PIECE_ELEMENTS", most)
    torch.manual_seed(0)
    query = torch.randn(3, 4, 7, 5, dtype=torch.float64, requires_grad=True)
    key, value = (torch.randn(3, 2, 7, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def prepare(piece, query, key, value):
        call = FlashCall(key.repeat_interleave(query.shape[1] // key.shape[1], 1),
                         value.repeat_interleave(query.shape[1] // key.shape[1], 1), 0.5)  # fmt: skip
        return query * weight, call

    found = cut.__wrapped__((0, 1, 2, 3), (0, 1, 2, 3), 2, (Span(0, 3),), 7, 5)
    out = attend_in_pieces(prepare, found, query, [(key, value)], [weight], repeatable)
    shared = key.repeat_interleave(2, 1), value.repeat_interleave(2, 1)
    wanted = torch.softmax(query * weight @ shared[0].transpose(-2, -1) * 0.5, -1) @ shared[1]
    assert_close(out, wanted)
    leaves, gradient = (query, key, value, weight), torch.randn_like(out)
    for _ in range(2):  # a second time through a kept graph
        grads = torch.autograd.grad(out, leaves, gradient, retain_graph=True)
        for got, expected in zip(
            grads, torch.autograd.grad(wanted, leaves, gradient, retain_graph=True), strict=True
        ):
            assert_close(got, expected)
