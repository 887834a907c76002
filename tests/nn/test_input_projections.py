"""A layer projects what its attention needs of every token."""

import torch
from torch.testing import assert_close

from primaldual import MultiheadAttention
from primaldual.nn.encoder import Encoder


def layer_of(spec, **options):
    torch.manual_seed(0)
    return MultiheadAttention(16, 4, attention=spec, batch_first=True, **options)


def learned(**options):
    layer = layer_of("forget", **options)
    with torch.no_grad():
        layer.input_proj.log_gate.weight.normal_()
        layer.input_proj.log_gate.bias.fill_(-0.3)
    return layer


def tokens():
    return torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(1))


def test_at_first_it_changes_nothing_and_learns():
    inputs, layer = tokens(), layer_of("forget", kv_heads=2)
    out, _ = layer(inputs, inputs, inputs, is_causal=True)
    plain, _ = layer_of("softmax", kv_heads=2)(inputs, inputs, inputs, is_causal=True)
    assert_close(out, plain, rtol=0, atol=0)
    out.square().sum().backward()
    gates = layer.input_proj.log_gate
    assert (gates.weight.grad.abs().sum(-1) > 0).all()
    assert (gates.bias.grad != 0).all()


def test_the_gates_are_those_of_the_tokens():
    inputs, layer = tokens(), learned()
    heads = [
        part(inputs).unflatten(-1, (4, 4)).transpose(1, 2)
        for part in (layer.q_proj, layer.k_proj, layer.v_proj)
    ]
    gates = layer.input_proj.log_gate(inputs).clamp(max=0.0).transpose(1, 2)
    mixed = layer.problem.dense(*heads, is_causal=True, inputs={"log_gate": gates})
    wanted = layer.out_proj(mixed.transpose(1, 2).flatten(2))
    assert_close(layer(inputs, inputs, inputs, is_causal=True)[0], wanted)


def test_padding_with_nan_changes_nothing():
    inputs, layer = tokens(), learned()
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[1, 5:] = True
    spoiled = torch.where(padding[..., None], torch.nan, inputs)
    for is_causal in (False, True):
        out, weights = layer(spoiled, spoiled, spoiled, key_padding_mask=padding, is_causal=is_causal)
        alone, _ = layer(inputs[1:, :5], inputs[1:, :5], inputs[1:, :5], is_causal=is_causal)
        assert_close(out[1:, :5], alone)
        assert_close(weights[1, :5].sum(-1), torch.ones(5))
    out[1, :5].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_steps_give_the_rows_of_the_whole():
    inputs, layer = tokens(), learned(kv_heads=2)
    state = layer.init_state(batch=2)
    outputs = torch.cat([layer.step(state, piece) for piece in inputs.split([3, 1, 1, 2], 1)], 1)
    assert_close(outputs, layer(inputs, inputs, inputs, is_causal=True)[0])


def test_the_keys_of_another_sequence_have_the_gates():
    layer = learned(kdim=10, vdim=12)
    out, _ = layer(tokens(), torch.randn(2, 5, 10), torch.randn(2, 5, 12))
    assert out.shape == (2, 7, 16)
    assert layer.input_proj.log_gate.in_features == 10


def test_an_encoder_learns_them_and_loads_them():
    torch.manual_seed(0)
    encoder, other = (Encoder(1, 16, 4, 8, attention="forget+bn") for _ in range(2))
    encoder(tokens()).square().sum().backward()
    name = "layers.0.attention.input_proj.log_gate.weight"
    assert dict(encoder.named_parameters())[name].grad is not None
    other.load_state_dict(encoder.state_dict())
    assert_close(other(tokens()), encoder(tokens()))
    assert not any("input_proj" in name for name in Encoder(1, 16, 4, 8).state_dict())
