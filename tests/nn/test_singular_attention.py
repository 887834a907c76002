import pytest
import torch
from torch import nn
from torch.testing import assert_close

import primaldual as pdl
from primaldual.errors import ArgumentError, ShapeError, UnsupportedError
from primaldual.nn.encoder import Encoder
from primaldual.nn.singular_attention import SingularLoss, collect_losses

LAYERS = (pdl.PrimalAttention, pdl.KernelEigenPairAttention)


def outputs_of(layer, *args, **kwargs):
    torch.manual_seed(3)
    return layer(*args, **kwargs)[0]


@pytest.mark.parametrize("kind", LAYERS)
def test_padding_holds_anything(kind):
    layer = kind(8, 2, rank=2)
    tokens = torch.randn(3, 6, 8)
    padding = torch.zeros(3, 6, dtype=torch.bool)
    padding[:, 4:] = True
    padding[2] = True
    wanted = outputs_of(layer, tokens.masked_fill(padding.unsqueeze(-1), 0.0), key_padding_mask=padding)
    tokens = tokens.masked_fill(padding.unsqueeze(-1), torch.nan).requires_grad_()
    found = outputs_of(layer, tokens, key_padding_mask=padding)
    assert torch.equal(found, wanted)
    assert_close(found[2], layer.out_proj.bias.expand(6, -1))
    assert_close(outputs_of(layer, tokens[:2, :4].detach())[:2], found[:2, :4], rtol=1e-5, atol=1e-6)
    found.sum().backward()
    assert all(
        bool(tensor.grad.isfinite().all())
        for tensor in (tokens, *layer.parameters())
        if tensor.grad is not None
    )


@pytest.mark.parametrize("kind", LAYERS)
def test_every_parameter_learns(kind):
    layer = kind(8, 2, rank=2)
    outputs, loss = layer(torch.randn(2, 6, 8))
    (outputs.square().mean() + loss.penalty(0.1, cases=10)).backward()
    assert all(bool((parameter.grad != 0).any()) for parameter in layer.parameters())


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_in_the_encoder_layer_of_torch(kind, is_causal):
    """In evaluation too, where torch takes a path of its own for its own attention."""
    block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    block.self_attn = kind(8, 2, rank=2)
    encoder = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
    tokens, mask = torch.randn(2, 6, 8), None
    if is_causal:
        mask = nn.Transformer.generate_square_subsequent_mask(6)
    found = []
    for training in (True, False):
        torch.manual_seed(3)
        with torch.no_grad(), collect_losses(encoder) as losses:
            found.append(encoder.train(training)(tokens, mask, is_causal=is_causal))
        assert len(losses) == 2
    assert_close(*found)
    if is_causal:
        changed = torch.cat([tokens[:, :4], torch.randn(2, 2, 8)], 1)
        torch.manual_seed(3)
        assert_close(encoder(changed, mask, is_causal=True)[:, :4], found[0][:, :4])


@pytest.mark.parametrize("kind", LAYERS)
def test_last_layer_of_a_series_model(kind):
    """The paper's Primal + Trans."""
    model = pdl.TimeSeriesTransformer(channels=2, length=9, outputs=3, embed_dim=8, num_heads=2)
    model.encoder.layers[-1].attention = kind(8, 2, rank=2)
    padding = torch.arange(9) >= torch.tensor([[9], [6]])
    with collect_losses(model) as losses:
        logits = model(torch.randn(2, 9, 2), padding)
    assert logits.shape == (2, 3)
    assert [loss.objective.shape for loss in losses] == [(2, 2)]
    model(torch.randn(2, 9, 2), padding)
    assert len(losses) == 1


def test_losses_are_collected_until_an_error():
    encoder = Encoder(1, 8, 2, 16)
    encoder.layers[0].attention = layer = pdl.PrimalAttention(8, 2, rank=2)
    with pytest.raises(RuntimeError), collect_losses(encoder):
        raise RuntimeError
    assert not layer._forward_hooks


def test_penalty():
    loss = SingularLoss(torch.tensor([[1.0, -3.0]]), torch.tensor(8.0))
    assert loss.penalty(0.2) == 9.0
    assert loss.penalty(0.2, cases=4) == 3.0
    with pytest.raises(ArgumentError, match="eta must be 0 or more; got -1"):
        loss.penalty(-1)
    with pytest.raises(ArgumentError, match="cases must be 1 or more; got 0"):
        loss.penalty(1, cases=0)


@pytest.mark.parametrize("kind", LAYERS)
def test_what_does_not_fit(kind):
    layer, tokens = kind(8, 2, rank=2), torch.randn(2, 6, 8)
    with pytest.raises(ShapeError, match=r"query must be \(batch, N, 8\); got shape \(6, 8\)"):
        layer(tokens[0])
    with pytest.raises(UnsupportedError, match="key must be the query"):
        layer(tokens, tokens.clone())
    with pytest.raises(UnsupportedError, match="need_weights must be False"):
        layer(tokens, need_weights=True)
    with pytest.raises(UnsupportedError, match="attn_mask must be None"):
        layer(tokens, attn_mask=torch.eye(6, dtype=torch.bool))
    with pytest.raises(ShapeError, match="key_padding_mask must be"):
        layer(tokens, key_padding_mask=torch.zeros(2, 5, dtype=torch.bool))


def test_compiles_into_one_graph():
    layer, tokens = pdl.KernelEigenPairAttention(8, 2, rank=2), torch.randn(2, 12, 8)
    padding = torch.arange(12) >= torch.tensor([[12], [9]])
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    options = {"key_padding_mask": padding, "is_causal": True}
    assert_close(outputs_of(compiled, tokens, **options), outputs_of(layer, tokens, **options))
