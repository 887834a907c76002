"""Attention between the projections of classes that are not known here."""

import copy
import pickle

import pytest
import torch
from torch import nn

import primaldual as pdl
from primaldual.errors import ArgumentError, ShapeError, UnsupportedError
from primaldual.integrations import adapt
from primaldual.primal.presets import preset


class FullAttention(nn.Module):
    """Softmax on (batch, length, heads, dim), as Time-Series-Library writes it."""

    def __init__(self, mask_flag):
        super().__init__()
        self.mask_flag = mask_flag

    def forward(self, queries, keys, values, attn_mask, tau=None, delta=None):
        scores = torch.einsum("blhe,bshe->bhls", queries, keys)
        if self.mask_flag:
            attn_mask = Blocked(len(scores), queries.shape[1]) if attn_mask is None else attn_mask
            scores.masked_fill_(attn_mask.mask, -torch.inf)
        weights = torch.softmax(scores * queries.shape[-1] ** -0.5, -1)
        return torch.einsum("bhls,bshd->blhd", weights, values).contiguous(), weights


class Blocked:
    """A causal mask that is an object, True = blocked."""

    def __init__(self, batch, length):
        self.mask = torch.ones(batch, 1, length, length).triu(1).bool()


class AttentionLayer(nn.Module):
    """Projections around any attention, as Time-Series-Library writes them."""

    def __init__(self, inner_attention, width=32, n_heads=4):
        super().__init__()
        self.inner_attention, self.n_heads = inner_attention, n_heads
        for name in ("query", "key", "value", "out"):
            setattr(self, f"{name}_projection", nn.Linear(width, width))

    def forward(self, queries, keys, values, attn_mask=None, tau=None, delta=None):
        parts = [
            project(inputs).unflatten(-1, (self.n_heads, -1))
            for project, inputs in (
                (self.query_projection, queries), (self.key_projection, keys), (self.value_projection, values)
            )
        ]  # fmt: skip
        out, weights = self.inner_attention(*parts, attn_mask, tau=tau, delta=delta)
        return self.out_projection(out.view(*out.shape[:2], -1)), weights


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return AttentionLayer(FullAttention(False)).eval()


@pytest.mark.parametrize("is_causal", [False, True])
def test_softmax_is_what_stood_there(layer, is_causal):
    inputs = torch.randn(2, 7, 32)
    layer.inner_attention.mask_flag = is_causal
    expected, _ = layer(inputs, inputs, inputs)
    layer.inner_attention = adapt("softmax", layer.n_heads, 8, is_causal=is_causal)
    torch.testing.assert_close(layer(inputs, inputs, inputs)[0], expected)
    if is_causal:
        layer.inner_attention.is_causal = False
        torch.testing.assert_close(layer(inputs, inputs, inputs, attn_mask=Blocked(2, 7))[0], expected)
        blocked = Blocked(2, 7).mask
        torch.testing.assert_close(layer(inputs, inputs, inputs, attn_mask=blocked)[0], expected)


def test_tools_know_what_was_adapted(layer):
    inputs = torch.randn(2, 7, 32)
    with pytest.raises(UnsupportedError, match=r"\(AttentionLayer\)\. .*integrations\.adapt\("):
        pdl.convert(nn.Sequential(layer), "bn", verbose=False)
    layer.inner_attention = adapt("bn(learnable=true)", 4, 8, dtype=torch.float64)
    assert {parameter.dtype for parameter in layer.inner_attention.parameters()} == {torch.float64}
    layer.inner_attention.float()
    before, _ = layer(inputs, inputs, inputs)
    with pdl.capture_attention(layer) as maps:
        layer(inputs, inputs, inputs)
    assert maps[0].name == "inner_attention"
    torch.testing.assert_close(maps[0].weights.sum(-1), torch.ones(2, 4, 7))
    assert (pdl.head_report(layer, (inputs, inputs, inputs)).layers[0].importance > 0).all()
    pdl.convert(layer, "bn+sh(1,1,2,4)", verbose=False)
    expected = copy.deepcopy(layer)
    expected.inner_attention = adapt("bn+sh(1,1,2,4)", 4, 8)
    found = pickle.loads(pickle.dumps(layer))
    torch.testing.assert_close(found(inputs, inputs, inputs), expected(inputs, inputs, inputs))
    with pytest.raises(UnsupportedError, match="projections around"):
        pdl.prune_heads(layer, {0: [1]})
    assert pdl.revert(layer) == ["inner_attention"]
    assert torch.equal(layer(inputs, inputs, inputs)[0], before)


def test_dropout_falls_in_training_only():
    inner = adapt("softmax", 4, 8, dropout=0.5)
    queries = torch.randn(2, 7, 4, 8)
    assert not torch.equal(*(inner(queries, queries, queries)[0] for _ in range(2)))
    heads = queries.transpose(1, 2)
    expected = preset("softmax").attend(heads, heads, heads).transpose(1, 2)
    torch.testing.assert_close(inner.eval()(queries, queries, queries)[0], expected)


def test_what_cannot_be_honoured_is_refused():
    inner, queries = adapt("bn", 4, 8), torch.randn(2, 7, 4, 8)
    for given in ({"tau": torch.ones(2, 1)}, {"delta": torch.ones(2, 7)}):
        with pytest.raises(UnsupportedError, match="tau and delta must be None"):
            inner(queries, queries, queries, **given)
    with pytest.raises(ArgumentError, match="attn_mask must be a tensor or hold one as mask; got str"):
        inner(queries, queries, queries, "causal")
    with pytest.raises(ShapeError, match="mask must broadcast"):
        inner(queries, queries, queries, torch.zeros(3, 3, dtype=torch.bool))
    with pytest.raises(UnsupportedError, match="7 queries of one sequence and 3 keys of another"):
        adapt("window(2)", 4, 8)(queries, queries[:, :3], queries[:, :3])
    with pytest.raises(ArgumentError, match="scales must be one integer, or one for each"):
        adapt("sh(1,2)", 4, 8)
    with pytest.raises(ArgumentError, match="dropout must be"):
        adapt("bn", 4, 8, dropout=1.0)
