from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import gelu, layer_norm
from torch.testing import assert_close

from primaldual import PooledHeads, PrimalProblem
from primaldual.errors import ArgumentError, ShapeError, UnsupportedError
from primaldual.models import Decoder


def decoder(**changes):
    torch.manual_seed(0)
    sizes = {"vocabulary": 11, "context": 12, "embed_dim": 8, "num_heads": 4, "num_layers": 2, **changes}
    return Decoder(**sizes).double().eval()


def norm(module, hidden):
    return layer_norm(hidden, hidden.shape[-1:], module.weight, module.bias)


def written_out(model, tokens, heads, kv_heads):
    """The formula of the class, with softmax attention query by query."""
    hidden = torch.stack([model.tokens.weight[token] for token in tokens]) + model.positions[: len(tokens)]
    for block in model.layers:
        layer, normed = block.attention, norm(block.attention_norm, hidden)
        query, key, value = (
            (normed @ part.weight.T + part.bias).unflatten(1, (count, -1))
            for part, count in ((layer.q_proj, heads), (layer.k_proj, kv_heads), (layer.v_proj, kv_heads))
        )
        rows = []
        for place in range(len(tokens)):
            mixed = []
            for head in range(heads):
                seen = key[: place + 1, head * kv_heads // heads]
                scores = seen @ query[place, head] / math.sqrt(query.shape[-1])
                mixed.append(scores.softmax(0) @ value[: place + 1, head * kv_heads // heads])
            rows.append(torch.cat(mixed))
        hidden = hidden + torch.stack(rows) @ layer.out_proj.weight.T + layer.out_proj.bias
        inner = gelu(norm(block.feedforward_norm, hidden) @ block.first.weight.T + block.first.bias)
        hidden = hidden + inner @ block.second.weight.T + block.second.bias
    return norm(model.norm, hidden) @ model.head.weight.T


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_outputs_and_gradients_are_those_of_the_formula(kv_heads):
    model, tokens = decoder(kv_heads=kv_heads), torch.tensor([3, 1, 4, 1, 5, 9, 2, 6])
    weights = list(model.parameters())
    direction = torch.randn(8, 11, dtype=torch.float64)
    found, expected = model(tokens[None])[0], written_out(model, tokens, 4, kv_heads)
    assert_close(found, expected)
    for mine, theirs in zip(
        torch.autograd.grad((found * direction).sum(), weights, allow_unused=True),
        torch.autograd.grad((expected * direction).sum(), weights, allow_unused=True),
        strict=True,
    ):
        assert_close(mine, theirs)


@pytest.mark.parametrize(
    "attention", ["softmax", "bn+sh(1,2,4,4)", ["window(3)", "linear"], "conv(3)", "forget"]
)
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_steps_give_what_the_whole_sequence_gives(attention, kv_heads):
    model, tokens = decoder(attention=attention, kv_heads=kv_heads), torch.randint(11, (2, 12))
    state = model.init_state(batch=2, capacity=4)
    found = [model.step(state, piece) for piece in tokens.split([5, 1, 1, 3, 2], 1)]
    assert_close(torch.cat(found, 1), model(tokens))
    assert state.length == 12


def test_no_token_sees_a_later_one():
    model, tokens = decoder(attention="bn+sh(1,1,2,4)"), torch.randint(11, (1, 12))
    other = tokens.clone()
    other[0, 7:] = 10 - other[0, 7:]
    assert_close(model(tokens)[:, :7], model(other)[:, :7], atol=0, rtol=0)


def test_smaller_caches_hold_fewer_bytes():
    held = []
    for change in ({}, {"kv_heads": 2}, {"attention": "sh(1,2,4,4)"}):
        model = decoder(context=16, **change)
        state = model.init_state(batch=1)
        model.step(state, torch.zeros(1, 16, dtype=torch.long))
        held.append(state.nbytes)
    whole, grouped, scaled = held
    assert whole == 2 * 2 * 16 * 8 * 8  # layers, keys and values, tokens, width, bytes of a number
    assert grouped == whole / 2
    assert 0.5 < scaled / whole < 0.6


def test_bad_sizes_and_attentions_are_refused():
    with pytest.raises(ArgumentError, match="num_layers must be an integer 1 or more; got 0"):
        decoder(num_layers=0)
    with pytest.raises(ArgumentError, match="one for each of the 2 blocks; got 3"):
        decoder(attention=["bn", "bn", "bn"])
    with pytest.raises(UnsupportedError, match="attention must decode step by step: "):
        decoder(attention=PrimalProblem(subset=PooledHeads(2, grid=(3, 4))))
    model = decoder()
    with pytest.raises(ShapeError, match="at most context = 12 in a sequence; got 13"):
        model(torch.zeros(1, 13, dtype=torch.long))
    with pytest.raises(ShapeError, match=r"tokens must be \(batch, length\); got shape \(3,\)"):
        model(torch.zeros(3, dtype=torch.long))
    state = model.init_state(batch=1)
    model.step(state, torch.zeros(1, 12, dtype=torch.long))
    with pytest.raises(ShapeError, match="got 13"):
        model.step(state, torch.zeros(1, 1, dtype=torch.long))


@pytest.mark.parametrize(
    "name", ["vocabulary", "context", "embed_dim", "num_heads", "num_layers", "feedforward_dim", "kv_heads"]
)
@pytest.mark.parametrize("size", [1.5, 0, "2", True])
def test_sizes_are_whole_numbers(name, size):
    with pytest.raises(ArgumentError, match=f"{name} must"):
        decoder(**{name: size})


@pytest.mark.parametrize("dropout", [1.5, -0.1, "0.1", math.nan])
def test_dropout_is_a_probability(dropout):
    with pytest.raises(ArgumentError, match="dropout must"):
        decoder(dropout=dropout)


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (torch.tensor([[1, 11]]), "tokens must be integers from 0 to 10; got 11"),
        (torch.tensor([[-1, 2]]), "tokens must be integers from 0 to 10; got -1"),
        (torch.tensor([[0.5]]), "tokens must be int32 or int64; got torch.float32"),
        (torch.tensor([[True]]), "tokens must be int32 or int64; got torch.bool"),
    ],
)
def test_tokens_without_an_embedding_are_refused(tokens, told):
    model = decoder()
    with pytest.raises(ArgumentError, match=told):
        model(tokens)
    state = model.init_state(1)
    with pytest.raises(ArgumentError, match=told):
        model.step(state, tokens)
    assert (state.length, model(torch.zeros(1, 0, dtype=torch.int32)).shape) == (0, (1, 0, 11))


@pytest.mark.parametrize("attention", ["elliptical", ("softmax", "elliptical", "bn", "elliptical")])
def test_blocks_hand_their_values_on_step_by_step_too(attention):
    model, tokens = decoder(attention=attention, num_layers=4, kv_heads=2), torch.randint(11, (2, 9))
    state = model.init_state(batch=2)
    steps = torch.cat([model.step(state, piece) for piece in tokens.split([4, 1, 1, 3], 1)], 1)
    assert_close(steps, model(tokens))
    given = []
    for block in model.blocks():
        block.attention.problem.register_forward_pre_hook(lambda _, arguments: given.append(arguments[-1]))
    model(tokens)
    previous = [None if one is None else one["previous_value"] for one in given]
    assert [one is None for one in previous] == [spec != "elliptical" for spec in _specs(attention)]
    assert all(one.shape == (2, 2, 9, 2) for one in previous if one is not None)
    if attention == "elliptical":
        assert previous[0].isnan().all()


def _specs(attention):
    return [attention] * 4 if isinstance(attention, str) else attention
