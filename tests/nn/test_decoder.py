import pytest
import torch
from torch import nn
from torch.testing import assert_close

from primaldual import Identity, PrimalProblem, TokenInput
from primaldual.errors import UnsupportedError
from primaldual.nn.decoder import DecoderBlock


def torch_layer(block):
    layer = nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    attention = block.attention
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    layer.self_attn.in_proj_weight.data = torch.cat([one.weight.data for one in projections])
    layer.self_attn.in_proj_bias.data = torch.cat([one.bias.data for one in projections])
    for theirs, mine in (
        (layer.self_attn.out_proj, attention.out_proj),
        (layer.linear1, block.first),
        (layer.linear2, block.second),
        (layer.norm1, block.attention_norm),
        (layer.norm2, block.feedforward_norm),
    ):
        theirs.load_state_dict(mine.state_dict())
    return layer


def test_a_softmax_block_is_the_causal_pre_norm_layer_of_torch():
    torch.manual_seed(0)
    block = DecoderBlock(8, 2, 16).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    layer, mask = torch_layer(block), nn.Transformer.generate_square_subsequent_mask(7, dtype=torch.float64)
    mine, theirs = (torch.randn(2, 7, 8, dtype=torch.float64).requires_grad_() for _ in range(2))
    theirs.data.copy_(mine.data)
    found, expected = block(mine), layer(theirs, src_mask=mask)
    assert_close(found, expected)
    direction = torch.randn_like(found)
    (found * direction).sum().backward()
    (expected * direction).sum().backward()
    assert_close(mine.grad, theirs.grad)
    assert_close(block.second.weight.grad, layer.linear2.weight.grad)
    assert_close(block.attention.q_proj.weight.grad, layer.self_attn.in_proj_weight.grad[:8])


@pytest.mark.parametrize("attention", ["softmax", "bn+sh(1,2)"])
def test_steps_give_what_the_whole_sequence_gives(attention):
    block = DecoderBlock(8, 2, 16, dropout=0.5, attention=attention, kv_heads=1).double().eval()
    inputs, state = torch.randn(2, 7, 8, dtype=torch.float64), block.attention.init_state(2)
    found = [block.step(state, piece) for piece in inputs.split([4, 1, 2], 1)]
    assert_close(torch.cat(found, 1), block(inputs).detach())


def test_dropout_acts_in_training_alone():
    block, inputs = DecoderBlock(8, 2, 16, dropout=0.9), torch.randn(1, 5, 8)
    assert not torch.equal(block(inputs), block(inputs))
    block.eval()
    assert torch.equal(block(inputs), block(inputs))


class Needy(Identity):
    """Needs numbers that no layer makes."""

    name = "needy"
    token_inputs = (TokenInput("age", "years of a token", learned=False),)


def test_an_attention_that_needs_more_than_tokens_is_refused():
    with pytest.raises(UnsupportedError, match="needy needs age of every token, which a block cannot"):
        DecoderBlock(8, 2, 16, attention=PrimalProblem(transform=Needy()))
