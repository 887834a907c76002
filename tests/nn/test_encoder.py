import pytest
import torch
from torch import nn

from primaldual import Identity, PrimalProblem, TokenInput
from primaldual.errors import UnsupportedError
from primaldual.nn.encoder import Encoder, EncoderBlock
from primaldual.primal.presets import preset

SPECS = ["softmax", "bn", "sh(1,2)", "bn+sh(1,2)", "linear", "window(2)"]


def torch_block(block: EncoderBlock) -> nn.TransformerEncoderLayer:
    embed_dim = block.attention_norm.normalized_shape[0]
    layer = nn.TransformerEncoderLayer(embed_dim, 2, 16, dropout=0.0, activation="gelu", batch_first=True)
    attention = block.attention
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    layer.self_attn.in_proj_weight.data = torch.cat([one.weight.data for one in projections])
    layer.self_attn.in_proj_bias.data = torch.cat([one.bias.data for one in projections])
    layer.self_attn.out_proj.load_state_dict(attention.out_proj.state_dict())
    layer.linear1.load_state_dict(block.feedforward[0].state_dict())
    layer.linear2.load_state_dict(block.feedforward[3].state_dict())
    layer.norm1.load_state_dict(block.attention_norm.state_dict())
    layer.norm2.load_state_dict(block.feedforward_norm.state_dict())
    return layer


@pytest.mark.parametrize("padded", [False, True])
def test_softmax_block_is_the_transformer_encoder_layer_of_torch(padded):
    torch.manual_seed(0)
    block = EncoderBlock(8, 2, 16).train()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    inputs = torch.randn(3, 7, 8)
    mask = torch.arange(7) >= torch.tensor([[7], [4], [1]]) if padded else None
    ours = block(inputs, mask)
    theirs = torch_block(block).train()(inputs, src_key_padding_mask=mask)
    valid = torch.ones(3, 7, dtype=torch.bool) if mask is None else ~mask
    torch.testing.assert_close(ours[valid], theirs[valid], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", SPECS)
def test_padding_changes_nothing_and_training_equals_evaluation_without_dropout(spec):
    torch.manual_seed(0)
    encoder = Encoder(2, 8, 2, 16, attention=spec)
    inputs = torch.randn(2, 5, 8)
    padded = torch.cat([inputs, torch.randn(2, 3, 8)], 1)
    mask = (torch.arange(8) >= 5).expand(2, 8)
    alone = encoder.eval()(inputs)
    torch.testing.assert_close(encoder(padded, mask)[:, :5], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.train()(inputs), alone)


def test_dropout_acts_only_in_training():
    block = EncoderBlock(8, 2, 16, dropout=0.5)
    inputs = torch.randn(2, 5, 8)
    assert not torch.equal(block.train()(inputs), block(inputs))
    assert torch.equal(block.eval()(inputs), block(inputs))


def test_blocks_share_no_parameters_even_when_the_problem_has_some():
    encoder = Encoder(3, 8, 2, 16, attention=preset("bn(learnable=true)"))
    betas = [name for name, _ in encoder.named_parameters() if "beta" in name]
    assert len(betas) == 3
    copies = [layer.attention.problem for layer in encoder.layers]
    assert len({id(copy) for copy in copies}) == 3


@pytest.mark.parametrize("padded", [False, True])
def test_a_block_that_normalises_first_is_that_of_torch(padded):
    torch.manual_seed(0)
    block = EncoderBlock(8, 2, 16, norm_first=True).train()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    theirs = torch_block(block)
    theirs.norm_first = True
    inputs = torch.randn(3, 7, 8)
    mask = torch.arange(7) >= torch.tensor([[7], [4], [1]]) if padded else None
    valid = torch.ones(3, 7, dtype=torch.bool) if mask is None else ~mask
    expected = theirs.train()(inputs, src_key_padding_mask=mask)
    torch.testing.assert_close(block(inputs, mask)[valid], expected[valid], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm_first", [False, True])
def test_every_block_gets_the_values_of_the_block_before(norm_first):
    torch.manual_seed(0)
    encoder = Encoder(3, 8, 2, 16, attention="elliptical", norm_first=norm_first).double()
    inputs = torch.randn(2, 6, 8, dtype=torch.float64)
    mask = torch.arange(6) >= torch.tensor([[6], [4]])
    inputs[1, 4:] = torch.nan
    found = encoder(inputs, mask)
    hidden, previous = inputs, None
    for block in encoder.blocks():
        tokens = block.attention_norm(hidden) if norm_first else hidden
        values = block.attention.v_proj(tokens).unflatten(-1, (2, 4)).transpose(1, 2)
        given = {"previous_value": torch.full_like(values, torch.nan) if previous is None else previous}
        mixed, _ = block.attention(tokens, tokens, tokens, mask, need_weights=False, inputs=given)
        summed = hidden + mixed
        summed = summed if norm_first else block.attention_norm(summed)
        fed = summed + block.feedforward(block.feedforward_norm(summed) if norm_first else summed)
        hidden, previous = fed if norm_first else block.feedforward_norm(fed), values
    torch.testing.assert_close(found[~mask], hidden[~mask])
    plain = Encoder(3, 8, 2, 16, norm_first=norm_first).double()
    plain.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(
        plain.blocks()[0](inputs, mask)[~mask], encoder.blocks()[0](inputs, mask)[~mask]
    )
    assert not torch.allclose(plain(inputs, mask)[~mask], found[~mask])


def test_gradients_do_not_flow_through_the_values_of_the_block_before():
    encoder = Encoder(2, 8, 2, 16, attention="elliptical").double()
    inputs = torch.randn(1, 5, 8, dtype=torch.float64)
    encoder(inputs).sin().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


class Needy(Identity):
    """Needs numbers that no layer makes."""

    name = "needy"
    token_inputs = (TokenInput("age", "years of a token", learned=False),)


def test_an_attention_that_needs_more_than_tokens_is_refused():
    with pytest.raises(UnsupportedError, match="needy needs age of every token, which a block cannot"):
        EncoderBlock(8, 2, 16, attention=PrimalProblem(transform=Needy()))
