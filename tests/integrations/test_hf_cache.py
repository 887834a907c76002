import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

import primaldual as pdl
from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.integrations.hf_attention import make_cache, register

SPECS = ("softmax", "bn", "sh(1,2,2,4)", "bn+sh(1,2,2,4)", "window(5)", "linear", "bn(learnable=true)")
GREEDY = {"max_new_tokens": 9, "do_sample": False, "pad_token_id": 0}


def gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(
            n_embd=32, n_layer=2, n_head=4, vocab_size=61, n_positions=64, bos_token_id=0, eos_token_id=60
        )
    ).eval()


def llama():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 61}
    return LlamaForCausalLM(LlamaConfig(num_attention_heads=4, num_key_value_heads=2, **sizes)).eval()


def prompt(rows=2, length=11):
    return torch.randint(1, 61, (rows, length), generator=torch.Generator().manual_seed(1))


def logits(model, ids, cache, cuts, mask=None):
    """Of all tokens, given piece by piece."""
    parts, begin = [], 0
    with torch.no_grad():
        for end in cuts:
            given = None if mask is None else mask[:, :end]
            out = model(ids[:, begin:end], attention_mask=given, use_cache=True, **cache.argument)
            parts.append(out.logits)
            begin = end
    return torch.cat(parts, 1)


@pytest.mark.parametrize("make", [gpt2, llama])
@pytest.mark.parametrize("spec", SPECS)
def test_pieces_give_the_logits_of_the_whole(make, spec):
    model, ids = make().double(), prompt()
    pdl.convert(model, spec, verbose=False)
    with torch.no_grad():
        expected = model(ids, use_cache=False).logits
    for cuts in ([11], [4, 5, 6, 11], range(1, 12)):
        found = logits(model, ids, make_cache(model), cuts)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spec", ["bn", "sh(1,2,2,4)"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_is_skipped(spec, side):
    model, ids, mask = llama().double(), prompt(), torch.ones(2, 11, dtype=torch.long)
    own = slice(3, 11) if side == "left" else slice(0, 8)
    mask[1] = 0
    mask[1, own] = 1
    pdl.convert(model, spec, verbose=False)
    with torch.no_grad():
        expected = model(ids, attention_mask=mask, use_cache=False).logits
    for cuts in ([11], [9, 10, 11]):
        found = logits(model, ids, make_cache(model), cuts, mask)
        torch.testing.assert_close(found[0], expected[0], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found[1, own], expected[1, own], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}])
def test_generation_is_that_of_the_cache_of_transformers(options):
    model, mask = gpt2(), torch.ones(2, 11, dtype=torch.long)
    mask[0, :4] = 0
    pdl.convert(model, "bn+sh(1,2,2,4)", verbose=False)
    expected = model.generate(prompt(), attention_mask=mask, **GREEDY, **options)
    cache = make_cache(model)
    found = model.generate(prompt(), attention_mask=mask, **cache.argument, **GREEDY, **options)
    assert torch.equal(found, expected)
    assert cache.get_seq_length() == 19


def test_layers_that_were_not_converted_keep_their_own_cache():
    model = gpt2()
    pdl.convert(model, "sh(2,2,4,4)", layers=[1], verbose=False)
    cache = make_cache(model)
    found = model.generate(prompt(), **cache.argument, **GREEDY)
    assert torch.equal(found, model.generate(prompt(), **GREEDY))
    whole = 2 * 19 * 32 * 2 * 4  # rows, tokens, width, key and value, bytes
    assert cache.layers[0].keys.nbytes + cache.layers[0].values.nbytes == whole
    assert cache.layers[1].nbytes < 0.5 * whole
    assert cache.nbytes == whole + cache.layers[1].nbytes


def test_layers_converted_in_some_heads_keep_their_own_cache():
    model = gpt2()
    pdl.convert(model, "sh(4)", layers=[0], heads=[1], verbose=False)
    pdl.convert(model, "sh(2,2,4,4)", layers=[1], verbose=False)
    found = model.generate(prompt(), **make_cache(model).argument, **GREEDY)
    assert torch.equal(found, model.generate(prompt(), **GREEDY))


def test_models_that_attend_by_name_have_states_in_every_layer():
    model = llama()
    register("sh(2,2,4,4)")
    model.set_attn_implementation("primaldual_sh(2,2,4,4)")
    cache = make_cache(model)
    assert torch.equal(
        model.generate(prompt(), **cache.argument, **GREEDY), model.generate(prompt(), **GREEDY)
    )
    assert cache.nbytes < 0.5 * 2 * 2 * 19 * 16 * 2 * 4


def test_a_reset_cache_serves_again():
    model = gpt2()
    pdl.convert(model, "sh(1,2,2,4)", verbose=False)
    cache = make_cache(model)
    first = model.generate(prompt(), **cache.argument, **GREEDY)
    cache.reset()
    assert cache.nbytes == cache.get_seq_length() == 0
    assert torch.equal(model.generate(prompt(), **cache.argument, **GREEDY), first)


def converted():
    model = gpt2()
    pdl.convert(model, "sh(1,2,2,4)", verbose=False)
    return model


def test_tokens_that_an_earlier_call_had_must_stay():
    model, mask = converted(), torch.ones(2, 11, dtype=torch.long)
    cache = make_cache(model)
    logits(model, prompt(), cache, [8], mask)
    mask[1, :2] = 0
    with (
        torch.no_grad(),
        pytest.raises(
            ArgumentError, match=r"tokens of earlier calls where they were, \[8, 8\] .* got \[8, 6\]"
        ),
    ):
        model(prompt()[:, 8:], attention_mask=mask, **cache.argument)


def test_an_error_is_not_passed_over_by_the_next_call():
    model, mask = converted(), torch.ones(2, 12, dtype=torch.long)
    cache = make_cache(model)
    logits(model, prompt(), cache, [11])
    mask[:, :3] = 0
    with torch.no_grad():
        with pytest.raises(ArgumentError, match="tokens of earlier calls"):
            model(prompt()[:, :1], attention_mask=mask, **cache.argument)
        with pytest.raises(UnsupportedError, match="the call before failed"):
            model(prompt()[:, :1], **cache.argument)


def test_padding_stays_where_it_was():
    model, mask = converted(), torch.ones(2, 11, dtype=torch.long)
    mask[1, :4] = 0
    for later in (None, torch.ones(2, 12, dtype=torch.long), mask.roll(1, 1)[:, [*range(11), 10]]):
        cache = make_cache(model)
        logits(model, prompt(), cache, [11], mask)
        with torch.no_grad(), pytest.raises(ArgumentError, match=r"where they were, \[11, 7\] in each row"):
            model(prompt()[:, :1], attention_mask=later, **cache.argument)


def test_a_cache_with_tokens_is_refused_by_another_model_of_the_same_sizes():
    one, other = converted(), converted()
    cache, tokens = make_cache(one), prompt()
    logits(one, tokens, cache, [8])
    with torch.no_grad(), pytest.raises(ArgumentError, match="holds tokens of another model"):
        other(tokens[:, 8:], **cache.argument)
    cache.reset()
    expected = other.generate(tokens, **make_cache(other).argument, **GREEDY)
    assert torch.equal(other.generate(tokens, **cache.argument, **GREEDY), expected)


def test_layers_that_share_the_keys_of_another_are_noticed():
    layer = make_cache(converted()).layers[0]
    problem, owner, tensors = pdl.preset("bn"), nn.Identity(), torch.randn(3, 1, 4, 2, 8).unbind(0)
    layer.update(*tensors[1:])
    layer.attend(problem, owner, *tensors, None)
    with pytest.raises(UnsupportedError, match="several layers of this model attend the keys of one"):
        layer.attend(problem, nn.Identity(), *tensors, None)


def test_attention_in_both_directions_and_dropout_are_refused():
    model = converted()
    with torch.no_grad(), pytest.raises(UnsupportedError, match="is_causal must be True"):
        model(prompt(), is_causal=False, **make_cache(model).argument)
    with torch.no_grad(), pytest.raises(UnsupportedError, match=r"call model\.eval\(\)"):
        model.train()(prompt(), **make_cache(model).argument)
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 61}
    encoder = BertModel(BertConfig(num_hidden_layers=1, **sizes)).eval()
    pdl.convert(encoder, "bn", verbose=False)
    with torch.no_grad(), pytest.raises(UnsupportedError, match="is_causal must be True"):
        encoder(prompt(), **make_cache(encoder).argument)


def test_a_gradient_of_values_alone_is_not_lost():
    model = converted().requires_grad_(False)
    model.transformer.h[0].attn.c_attn.weight.requires_grad_()
    with pytest.raises(UnsupportedError, match="has no gradients"):
        model(prompt(), **make_cache(model).argument)
    layer, tensors = make_cache(model).layers[0], torch.randn(3, 1, 4, 2, 8).unbind(0)
    layer.update(*tensors[1:])
    with pytest.raises(UnsupportedError, match="has no gradients"):
        layer.attend(pdl.preset("bn"), nn.Identity(), *tensors[:2], tensors[2].clone().requires_grad_(), None)


def test_layers_with_a_convolution_keep_their_own_cache():
    config = Lfm2Config(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=61, layer_types=["conv", "full_attention"],
    )  # fmt: skip
    torch.manual_seed(0)
    model = Lfm2ForCausalLM(config).eval()
    register("bn")
    model.set_attn_implementation("primaldual_bn")
    found = logits(model, prompt(), make_cache(model), [5, 6, 11])
    torch.testing.assert_close(found, logits(model, prompt(), make_cache(model), [11]), rtol=1e-4, atol=1e-4)


def test_states_are_not_offloaded():
    with pytest.raises(UnsupportedError, match="cannot be offloaded"):
        make_cache(converted()).offload(0)


def test_gradients_maps_and_forgetting_are_refused():
    model = converted()
    with pytest.raises(UnsupportedError, match="has no gradients"):
        model(prompt(), **make_cache(model).argument)
    with torch.no_grad(), pytest.raises(UnsupportedError, match="output_attentions must be False"):
        model(prompt(), output_attentions=True, **make_cache(model).argument)
    with pytest.raises(UnsupportedError, match="cannot forget tokens"):
        make_cache(model).crop(1)


def test_keys_that_never_reach_the_attention_are_noticed():
    layer = make_cache(converted()).layers[0]
    layer.update(torch.zeros(1, 4, 2, 8), torch.zeros(1, 4, 2, 8))
    with pytest.raises(UnsupportedError, match="did not reach this library's attention"):
        layer.update(torch.zeros(1, 4, 1, 8), torch.zeros(1, 4, 1, 8))


def test_a_model_that_was_reverted_does_not_attend_the_new_tokens_alone():
    model = converted()
    cache, tokens = make_cache(model), prompt()
    with torch.no_grad():
        model(tokens[:, :-1], **cache.argument)
        pdl.revert(model)
        with pytest.raises(UnsupportedError, match=r"the model .* was reverted"):
            model(tokens[:, -1:], **cache.argument)


def test_keys_of_a_cache_tell_their_shape_and_nothing_else():
    key, _ = make_cache(converted()).layers[0].update(torch.zeros(1, 4, 2, 8), torch.zeros(1, 4, 2, 8))
    assert (key.shape, key.dtype, key.device.type) == ((1, 4, 2, 8), torch.float32, "cpu")
    for use in (lambda: key.transpose(2, 3), lambda: key.mT, lambda: torch.zeros(1, 4, 2, 8) + key):
        with pytest.raises(UnsupportedError, match="did not reach this library's attention"):
            use()


def test_masks_of_another_kind_are_refused():
    holes = torch.ones(1, 1, 11, 11, dtype=torch.bool).tril()
    holes[..., 9, 3] = False
    model = converted()
    with torch.no_grad(), pytest.raises(UnsupportedError, match="takes a causal mask and padding"):
        model(prompt(1), attention_mask=holes, **make_cache(model).argument)


def test_pools_beyond_a_sliding_window_are_refused():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 61}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 8}
    model = MistralForCausalLM(MistralConfig(**sizes, **heads)).eval()
    pdl.convert(model, "sh(2,2,4,4)", verbose=False)
    with torch.no_grad(), pytest.raises(UnsupportedError, match="sliding window of 8"):
        model(prompt(), **make_cache(model).argument)


def test_models_without_a_layer_of_ours_are_refused():
    with pytest.raises(UnsupportedError, match=r"primaldual.convert has converted; GPT2LMHeadModel has none"):
        make_cache(gpt2())
    small = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 9}
    for model in (nn.Linear(2, 2), T5ForConditionalGeneration(T5Config(**small))):
        with pytest.raises(ArgumentError, match="a decoder of transformers without an encoder; got"):
            make_cache(model)
    with pytest.raises(
        ArgumentError, match=r"OptimizedModule, which torch\.compile has made: give the model"
    ):
        make_cache(torch.compile(converted()))
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 9}
    with pytest.raises(UnsupportedError, match="BertModel has none"):
        make_cache(BertModel(BertConfig(num_hidden_layers=1, **sizes)))
