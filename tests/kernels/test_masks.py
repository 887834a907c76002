"""One convention, and every way into it."""

import pytest
import torch

from primaldual.errors import ArgumentError, ShapeError
from primaldual.kernels.masks import causal_mask, from_torch_mask, keep_attendable, read_mask


def test_causal_is_bottom_right_aligned():
    assert causal_mask(2, 4).tolist() == [[True, True, True, False], [True] * 4]
    assert causal_mask(3, 2).tolist() == [[False, False], [True, False], [True, True]]


@pytest.mark.parametrize("shape", [(5,), (1, 5), (2, 1, 1, 5), (1, 3, 1, 5), (1, 1)])
def test_key_masks_are_recognised(shape):
    read = read_mask(torch.ones(shape, dtype=torch.bool), False, 2, 3, 4, 5)
    assert read.keys is not None
    assert read.pairs is None
    assert read.keys.shape[-1] == 5


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (2, 1, 4, 5), (2, 3, 4, 1)])
def test_pair_masks_are_recognised(shape):
    read = read_mask(torch.ones(shape, dtype=torch.bool), True, 2, 3, 4, 5)
    assert read.pairs is not None
    assert read.matrix(4, 5, torch.device("cpu")).shape[-2:] == (4, 5)


def test_bad_masks_are_refused():
    with pytest.raises(ArgumentError, match=r"mask must be boolean .* got dtype torch.float32"):
        read_mask(torch.zeros(4, 5), False, 2, 3, 4, 5)
    with pytest.raises(
        ShapeError, match=r"must broadcast to \(batch, heads, Nq, Nk\) = \(2, 3, 4, 5\); got \(4, 6\)"
    ):
        read_mask(torch.ones(4, 6, dtype=torch.bool), False, 2, 3, 4, 5)


def test_torch_polarity():
    blocked = torch.tensor([False, True])
    assert from_torch_mask(blocked, "m").tolist() == [True, False]
    assert from_torch_mask(torch.tensor([0.0, -torch.inf]), "m").tolist() == [True, False]
    assert from_torch_mask(torch.tensor([0.0, torch.finfo(torch.float32).min]), "m").tolist() == [True, False]
    with pytest.raises(ArgumentError, match="attn_mask holds additive biases"):
        from_torch_mask(torch.tensor([0.0, -1.5]), "attn_mask")
    with pytest.raises(ArgumentError, match=r"dtype torch\.int64"):
        from_torch_mask(torch.tensor([0, 1]), "m")


def test_nan_under_the_mask_is_removed_with_its_gradient():
    tensor = torch.tensor([[1.0], [torch.nan]], requires_grad=True)
    kept = keep_attendable(tensor, torch.tensor([[True, False]]))
    assert kept.flatten().tolist() == [1.0, 0.0]
    kept.sum().backward()
    assert tensor.grad.flatten().tolist() == [1.0, 0.0]
