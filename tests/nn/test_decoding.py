"""A layer decodes what its causal forward gives."""

import itertools

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from primaldual import MultiheadAttention
from primaldual.errors import ShapeError, UnsupportedError
from tests.quick import one_in

SPECS = [
    "softmax",
    "bn",
    "bn+sh(1,1,2,4)",
    "linear",
    "window(3)",
    "conv(3,causal=true)+bn",
    "conv(3,queries=true)",
]


@pytest.mark.parametrize(
    ("spec", "batch_first", "kv_heads"), one_in(3, itertools.product(SPECS, (True, False), (4, 2)))
)
def test_steps_equal_the_causal_forward(spec, batch_first, kv_heads):
    torch.manual_seed(0)
    layer = MultiheadAttention(
        24, 4, dropout=0.5, batch_first=batch_first, attention=spec, kv_heads=kv_heads, dtype=torch.float64
    ).eval()
    inputs = torch.randn((2, 11, 24) if batch_first else (11, 2, 24), dtype=torch.float64)
    whole, _ = layer(inputs, inputs, inputs, is_causal=True, need_weights=False)
    for mode in (True, False):  # training mode drops nothing either
        state = layer.train(mode).init_state(2)
        tokens = inputs.split([4, 1, 1, 3, 1, 1], 1 if batch_first else 0)
        out = torch.cat([layer.step(state, token) for token in tokens], 1 if batch_first else 0)
        assert_close(out, whole.detach(), rtol=1e-9, atol=1e-9)
        assert not out.requires_grad


def test_padding_takes_no_place():
    layer = MultiheadAttention(24, 4, batch_first=True, attention="bn+sh(1,1,2,4)", dtype=torch.float64)
    nn.init.normal_(layer.out_proj.bias)
    inputs = torch.randn(2, 8, 24, dtype=torch.float64)
    valid = torch.ones(2, 8, dtype=torch.bool)
    valid[1, :3] = False
    poisoned = torch.where(valid.unsqueeze(-1), inputs, torch.nan)
    state = layer.init_state(2)
    out = torch.cat(
        [layer.step(state, poisoned[:, :5], valid[:, :5]), layer.step(state, poisoned[:, 5:], valid[:, 5:])],
        1,
    )
    alone = inputs[1:, 3:]
    exact, _ = layer(alone, alone, alone, is_causal=True, need_weights=False)
    assert_close(out[1:, 3:], exact.detach(), rtol=1e-9, atol=1e-9)
    assert_close(out[1, :3], layer.out_proj.bias.detach().expand(3, -1), rtol=0, atol=0)


def test_state_in_half_precision():
    layer = MultiheadAttention(24, 4, batch_first=True, attention="bn")
    inputs = torch.randn(1, 30, 24)
    state = layer.init_state(1, dtype=torch.bfloat16)
    out = torch.cat([layer.step(state, token) for token in inputs.split(1, 1)], 1)
    whole, _ = layer(inputs, inputs, inputs, is_causal=True, need_weights=False)
    assert out.dtype == torch.float32
    assert_close(out[:, 10:], whole.detach()[:, 10:], rtol=0.1, atol=0.1)


def test_what_does_not_fit():
    with pytest.raises(UnsupportedError, match="its own inputs, of width 8; got kdim 6 and vdim 8"):
        MultiheadAttention(8, 2, kdim=6).init_state(1)
    layer = MultiheadAttention(8, 2, batch_first=True)
    state = layer.init_state(2)
    with pytest.raises(ShapeError, match=r"inputs must be \(batch, n, 8\); got shape \(2, 1, 6\)"):
        layer.step(state, torch.randn(2, 1, 6))
    with pytest.raises(ShapeError, match="as the state"):
        layer.step(state, torch.randn(3, 1, 8))
    assert state.lengths == [0, 0]
