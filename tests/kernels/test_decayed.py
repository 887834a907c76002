"""Decayed attention in blocks against softmax with the matrix of differences, and the keys that it leaves out."""

import pytest
import torch
from torch.testing import assert_close

from primaldual.kernels import decayed
from primaldual.kernels.decayed import DecayedCall
from primaldual.kernels.merged import attention_of

BATCH, HEADS, LENGTH, WIDTH = 2, 6, 40, 6
RATES = torch.tensor([0.0, 0.01, 0.3, 0.3, 6.0, 60.0]).double()
"""From heads that are one block to heads that see little beyond the query itself."""


def tensors(query_length=LENGTH, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(BATCH, HEADS, query_length, WIDTH, generator=generator)
    key, value = torch.randn(2, BATCH, HEADS, LENGTH, WIDTH, generator=generator)
    sums = -(RATES[:, None] * torch.rand(BATCH, HEADS, LENGTH, generator=generator)).cumsum(-1)
    return [tensor.to(dtype).requires_grad_() for tensor in (query, key, value)] + [sums.requires_grad_()]


def plain(query, key, value, sums, mask):
    first = LENGTH - query.shape[2]
    allowed = torch.ones(query.shape[2], LENGTH, dtype=torch.bool).tril(first) & mask
    scores = 0.4 * query @ key.mT + sums[..., first:, None] - sums[..., None, :]
    weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    return weights.nan_to_num(0.0) @ value


MASKS = {
    "none": torch.ones(1, 1, 1, LENGTH, dtype=torch.bool),
    "padding": (torch.arange(LENGTH) >= torch.tensor([7, 0])[:, None])[:, None, None],
    "holes by head": torch.rand(1, HEADS, 1, LENGTH, generator=torch.Generator().manual_seed(3)) > 0.4,
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("query_length", [LENGTH, 17])
def test_it_equals_softmax(mask, query_length, monkeypatch):
    monkeypatch.setattr(decayed, "BLOCK_ROWS", 8)
    leaves = query, key, value, sums = tensors(query_length)
    call = DecayedCall(key, value, sums, 0.4, None if mask == "none" else MASKS[mask], learned=True)
    # What the mask hides has no decay of its own, as in the forms that call this.
    found, wanted = attention_of(call, query), plain(*leaves, MASKS[mask])
    assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    seed = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).double()
    for one, other in zip(*(torch.autograd.grad(out, leaves, seed) for out in (found, wanted)), strict=True):
        assert_close(one, other, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 3e-6), (torch.bfloat16, 2e-2)])
def test_low_precision(dtype, share, monkeypatch):
    monkeypatch.setattr(decayed, "BLOCK_ROWS", 8)
    query, key, value, sums = tensors(dtype=dtype)
    out = attention_of(DecayedCall(key, value, sums, 0.4), query)
    wanted = plain(query.double(), key.double(), value.double(), sums, MASKS["none"])
    assert out.dtype == dtype
    assert (out.double() - wanted).norm() < share * wanted.norm()


def test_keys_without_a_weight_are_left_out(monkeypatch):
    monkeypatch.setattr(decayed, "BLOCK_ROWS", 8)
    query, key, value, sums = (tensor.detach() for tensor in tensors(dtype=torch.float32))
    found = {head: [] for head in range(HEADS)}
    for block in DecayedCall(key, value, sums, 0.4)._blocks(query):
        for head in range(block.heads.start, block.heads.stop):
            found[head].append((block.rows.start, min(part.keys.start for part in block.parts)))
    assert found[0] == [(0, 0)], "nothing decays: one block"
    assert found[1] == [(0, 0)]
    assert all(row - begin <= 24 for row, begin in found[4])
    assert found[5][0] == (0, 0)
    assert all(row - begin <= 8 for row, begin in found[5])
    huge = query.clone()
    huge[:, :, -1] *= 1e4  # scores may then outweigh every decay
    last = [block for block in DecayedCall(key, value, sums, 0.4)._blocks(huge) if block.rows.stop == LENGTH]
    assert all(min(part.keys.start for part in block.parts) == 0 for block in last)
