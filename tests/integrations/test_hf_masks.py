"""Masks of transformers, sorted."""

import pytest
import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.integrations.hf_masks import SortedMask, sort_mask
from primaldual.kernels.masks import Attendable, causal_mask


def meaning(found: SortedMask, queries: int, keys: int) -> Tensor:
    """The matrix that a sorted mask stands for."""
    conditions = Attendable(
        found.keys, None if found.pairs is None else found.pairs[..., : found.length], found.is_causal
    )
    matrix = conditions.matrix(queries, found.length, torch.device("cpu"))
    return torch.nn.functional.pad(matrix, (0, keys - found.length)).expand(-1, -1, queries, -1)


@pytest.mark.parametrize("queries", [1, 3, 6])
@pytest.mark.parametrize("kind", ["keys", "causal", "static", "window", "random"])
@pytest.mark.parametrize("additive", [False, True])
def test_sorting_keeps_what_a_mask_says(queries: int, kind: str, additive: bool) -> None:
    valid = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]).bool()[:, None, None]
    length = 6 + 4 * (kind == "static")
    causal = torch.nn.functional.pad(causal_mask(queries, 6), (0, length - 6))
    mask = {
        "keys": valid.expand(-1, -1, queries, -1),
        "causal": valid & causal_mask(queries, 6),
        "static": torch.nn.functional.pad(valid, (0, length - 6)) & causal,
        "window": valid & causal_mask(queries, 6) & causal_mask(queries, 6).triu(2),
        "random": torch.rand(3, 1, queries, 6, generator=torch.Generator().manual_seed(0)) < 0.5,
    }[kind]
    given = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min) if additive else mask
    found = sort_mask(given, True, queries, length)
    assert torch.equal(meaning(found, queries, length), mask)
    if kind in ("keys", "causal", "static"):
        assert found.pairs is None
    if kind in ("causal", "static") and queries > 1:
        assert found.is_causal
    assert found.length == (6 if length > 6 or queries == 6 else found.length)
    again = sort_mask(given, True, queries, length)
    assert torch.equal(meaning(again, queries, length), mask)


def test_what_was_sorted_is_remembered_until_the_mask_changes() -> None:
    mask = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    first = sort_mask(mask, True, 4, 4)
    assert sort_mask(mask, True, 4, 4) is first
    assert first.keys is None
    mask[0, ..., 3] = False
    found = sort_mask(mask, True, 4, 4)
    assert found is not first
    assert found.keys is not None
    with torch.inference_mode():
        other = mask & mask
        assert sort_mask(other, True, 4, 4).keys is not None
        other[0, ..., 3] = True
        assert sort_mask(other, True, 4, 4).keys is None


def test_changes_that_a_tensor_does_not_count_are_seen() -> None:
    mask = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    assert sort_mask(mask, True, 4, 4).keys is None
    mask.data[0, ..., 3] = False
    assert sort_mask(mask, True, 4, 4).keys is not None
    mask.numpy()[0, ..., 3] = True
    assert sort_mask(mask, True, 4, 4).keys is None


def test_without_a_mask_the_layer_says_it() -> None:
    assert not sort_mask(None, True, 1, 9).is_causal
    assert not sort_mask(None, False, 5, 9).is_causal
    assert sort_mask(None, True, 9, 9).is_causal
    prefill = sort_mask(None, True, 5, 9)
    assert (prefill.is_causal, prefill.length) == (True, 5)
    corner = sort_mask(None, True, 3, 2)
    assert torch.equal(meaning(corner, 3, 2)[0, 0], torch.ones(3, 2).tril().bool())


def test_a_bias_is_no_mask() -> None:
    with pytest.raises(ArgumentError, match="attention_mask holds additive biases"):
        sort_mask(torch.full((1, 1, 2, 2), -0.5), False, 2, 2)


def test_an_order_brings_keys_together() -> None:
    mask = torch.tensor([[0, 1, 1, 0, 1], [1, 1, 0, 0, 0]]).bool()[:, None, None].expand(-1, -1, 5, -1)
    found = sort_mask(mask, False, 5, 5)
    assert found.order().tolist() == [[1, 2, 4, 0, 3], [0, 1, 2, 3, 4]]
    assert found.order(last=True).tolist() == [[0, 3, 1, 2, 4], [2, 3, 4, 0, 1]]
    right = sort_mask(mask[1:], False, 5, 5)
    assert right.order() is None
    assert right.order(last=True) is not None


def test_nothing_is_kept_of_masks_that_are_gone() -> None:
    import weakref

    masks = [torch.rand(2, 1, 4, 4) < 0.5, torch.ones(2, 1, 4, 4).tril().bool(), torch.zeros(2, 1, 4, 4)]
    gone = [weakref.ref(mask) for mask in masks]
    for mask in masks:
        found = sort_mask(mask, True, 4, 4)
    del mask, found
    masks.clear()
    assert [reference() for reference in gone] == [None] * 3
