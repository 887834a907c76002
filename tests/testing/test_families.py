"""Families of inputs are what their names say, at every length."""

import pytest
import torch

from primaldual.testing.families import FAMILIES, draw, representable

SHAPE = (2, 3, 90, 4)


@pytest.mark.parametrize("length", [1, 2, 13, 90])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_length_is_drawn_alike_each_time(name, length):
    drawn, again = (draw(name, (2, 3, length, 4)) for _ in range(2))
    for tensor, same in zip(drawn[:3], again[:3], strict=True):
        assert tensor.shape == (2, 3, length, 4)
        assert tensor.isfinite().all()
        assert torch.equal(tensor, same)
    if drawn.mask is not None:
        assert drawn.mask.shape == (2, 1, 1, length)
        assert drawn.mask.any(-1).all()


def test_constant_start():
    key = draw("constant, then N(5, 1)", SHAPE).key
    assert (key[:, :, :60] == key[:, :, :1]).all()
    assert abs(key[:, :, 60:].mean() - 5) < 0.2
    assert abs(key[:, :, 60:].std() - 1) < 0.1


def test_steps():
    key, noisy = (draw(name, SHAPE).key for name in ("step", "noisy step"))
    assert (key[:, :, :45] == 0).all()
    assert (key[:, :, 45:] == 1).all()
    assert 5e-4 < (noisy - key).std() < 2e-3


def test_repetitions():
    turns, start = (draw(name, SHAPE) for name in ("three tokens repeated", "one token fifty times"))
    for tensor in turns[1:3]:
        assert torch.equal(tensor[:, :, 3:], tensor[:, :, :-3])
        assert not torch.equal(tensor[:, :, 1], tensor[:, :, 0])
    for tensor in start[1:3]:
        assert (tensor[:, :, :45] == tensor[:, :, :1]).all()
        assert not torch.equal(tensor[:, :, 45], tensor[:, :, 0])


def test_scales():
    flat = draw("nearly constant dimensions", SHAPE).key.std(2)
    assert (flat[..., ::2] < 2e-4).all()
    assert (flat[..., 1::2] > 0.5).all()
    large = draw("mean 300", SHAPE)
    assert all(abs(tensor.mean() - 300) < 0.1 and tensor.std() < 0.2 for tensor in large[:2])
    assert (draw("huge last key", SHAPE).key[:, :, -1] == 1e4).all()
    assert representable("huge last key", torch.bfloat16)
    assert not representable("huge last key", torch.float16)


def test_padding_stands_on_its_side_in_different_lengths():
    left, right = (draw(f"random, padded {side}", SHAPE).mask[:, 0, 0] for side in ("left", "right"))
    assert torch.equal(left, right.flip(-1))
    assert left[:, -1].all()
    assert not left[:, 0].any()
    assert left.sum(-1).unique().numel() == 2


def test_rounded_inputs_are_leaves():
    rounded = draw("random, padded left", SHAPE).rounded(torch.float16)
    assert all(
        tensor.dtype == torch.float16 and tensor.is_leaf and tensor.requires_grad for tensor in rounded[:3]
    )
    assert rounded.mask is not None
