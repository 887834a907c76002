"""Converted layers hand their values to the next layer of their stack, within one call of the model."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import primaldual as pdl
from primaldual.errors import UnsupportedError
from primaldual.integrations.previous_values import ATTRIBUTE
from primaldual.integrations.saving import load, save
from primaldual.nn.encoder import Encoder

HEADS, WIDTH = 4, 16


def shaken(model):
    """Weights so large that the metric matters."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.double().eval()


def elliptical(query, key, value, before, allowed=None):
    """Query by query, with the mean of the changes over the keys that it may attend."""
    batch, heads, length, width = query.shape
    out = torch.zeros_like(value)
    for row in range(batch):
        for head in range(heads):
            for place in range(length):
                seen = torch.ones(length, dtype=torch.bool) if allowed is None else allowed[row, place]
                metric = torch.ones(width, dtype=query.dtype)
                if before is not None:
                    metric = (value - before)[row, head, seen].abs().mean(0)
                    metric = metric / metric.max()
                scores = (query[row, head, place] * metric) @ key[row, head, seen].T / width**0.5
                out[row, head, place] = scores.softmax(-1) @ value[row, head, seen]
    return out.transpose(1, 2).flatten(2)


def split(tensor, heads=HEADS):
    return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)


def encoder(layers=3, **options):
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 32, batch_first=True, dropout=0.0, **options)
    return shaken(nn.TransformerEncoder(layer, layers, enable_nested_tensor=False))


def encoder_loop(model, hidden, padding=None):
    allowed = None if padding is None else (~padding)[:, None].expand(-1, hidden.shape[1], -1)
    before = None
    for layer in model.layers:
        attention = layer.self_attn
        projections = attention.q_proj, attention.k_proj, attention.v_proj
        query, key, value = (split(projection(hidden)) for projection in projections)
        mixed = attention.out_proj(elliptical(query, key, value, before, allowed))
        hidden, before = layer.norm1(hidden + mixed), value
        hidden = layer.norm2(hidden + layer.linear2(layer.activation(layer.linear1(hidden))))
    return hidden


def inputs(length=7, batch=2, seed=1):
    return torch.randn(
        batch, length, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


@pytest.fixture
def converted():
    model = encoder()
    pdl.convert(model, "elliptical", verbose=False)
    return model


def test_torch_is_the_loop_over_its_layers(converted):
    assert_close(converted(inputs()), encoder_loop(converted, inputs()))
    padding = torch.arange(7) >= torch.tensor([7, 4])[:, None]
    found = converted(inputs(), src_key_padding_mask=padding)
    assert_close(found[~padding], encoder_loop(converted, inputs(), padding)[~padding])
    plain = copy.deepcopy(converted)
    pdl.revert(plain)
    assert (plain(inputs()) - converted(inputs())).abs().max() > 1e-3


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_packed_sequences_are_the_same():
    model = shaken(nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, HEADS, 32, batch_first=True), 2))
    pdl.convert(model, "elliptical", verbose=False)
    padding = torch.arange(7) >= torch.tensor([7, 4])[:, None]
    with torch.no_grad():
        found = model.requires_grad_(False)(inputs(), src_key_padding_mask=padding)
    assert_close(found[~padding], encoder_loop(model, inputs(), padding)[~padding])


def test_bert_is_the_loop_over_its_layers():
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": 32, "vocab_size": 50}
    model = shaken(transformers.BertModel(transformers.BertConfig(num_hidden_layers=3, **sizes)))
    pdl.convert(model, "elliptical", verbose=False)
    tokens = torch.randint(1, 50, (2, 8), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(8) < torch.tensor([8, 5])[:, None]
    found = model(tokens, attention_mask=mask.long())[0]
    hidden, before = model.embeddings(tokens), None
    for layer in model.encoder.layer:
        own = layer.attention.self
        query, key, value = (split(each(hidden)) for each in (own.query, own.key, own.value))
        mixed = elliptical(query, key, value, before, mask[:, None].expand(-1, 8, -1))
        attended, before = layer.attention.output(mixed, hidden), value
        hidden = layer.output(layer.intermediate(attended), attended)
    assert_close(found[mask], hidden[mask])


def gpt(layers=3, **options):
    transformers = pytest.importorskip("transformers")
    words = {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 49}
    config = transformers.GPT2Config(n_embd=WIDTH, n_layer=layers, n_head=HEADS, **words, **options)
    return shaken(transformers.GPT2LMHeadModel(config))


def gpt_loop(model, tokens):
    length = tokens.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril().expand(len(tokens), -1, -1)
    body, before = model.transformer, None
    hidden = body.wte(tokens) + body.wpe(torch.arange(length))
    for block in body.h:
        query, key, value = (split(part) for part in block.attn.c_attn(block.ln_1(hidden)).chunk(3, -1))
        mixed = elliptical(query, key, value, before, causal)
        hidden, before = hidden + block.attn.c_proj(mixed), value
        hidden = hidden + block.mlp(block.ln_2(hidden))
    return model.lm_head(body.ln_f(hidden))


TOKENS = torch.randint(2, 49, (2, 8), generator=torch.Generator().manual_seed(2))


def test_gpt2_is_the_loop_over_its_layers():
    model = gpt()
    pdl.convert(model, "elliptical", verbose=False)
    wanted = gpt_loop(model, TOKENS)
    assert_close(model(TOKENS).logits, wanted)
    assert_close(model.transformer(TOKENS)[0], model(TOKENS, output_hidden_states=True).hidden_states[-1])


def test_caches_keep_what_generation_needs():
    transformers = pytest.importorskip("transformers")
    make_cache, DynamicCache = pdl.integrations.hf_attention.make_cache, transformers.DynamicCache

    model = gpt()
    pdl.convert(model, "elliptical", verbose=False)
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    wanted = model.generate(TOKENS, use_cache=False, **options)
    assert torch.equal(model.generate(TOKENS, **options), wanted)
    assert torch.equal(model.generate(TOKENS, **make_cache(model).argument, **options), wanted)
    model.requires_grad_(False)
    [(name, own)] = make_cache(model).argument.items()
    for cache in (DynamicCache(config=model.config), own):
        model(TOKENS[:, :5], **{name: cache})
        rest = model(TOKENS[:, 5:], **{name: cache}).logits
        assert_close(rest, gpt_loop(model, TOKENS)[:, 5:])


def test_padding_on_the_left_is_skipped_by_windows_too():
    model = gpt()
    pdl.convert(model, "elliptical+window(2)", verbose=False)
    mask = torch.ones(2, 8, dtype=torch.long)
    mask[0, :3] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    found = model(TOKENS, attention_mask=mask, position_ids=positions).logits
    assert_close(found[0, 3:], model(TOKENS[:1, 3:]).logits[0])
    assert_close(found[1], model(TOKENS[1:]).logits[0])


def test_grouped_heads_and_maps():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=50,
    )  # fmt: skip
    model = shaken(transformers.LlamaForCausalLM(config))
    plain = model(TOKENS).logits
    pdl.convert(model, "elliptical", verbose=False)
    assert (model(TOKENS).logits - plain).abs().max() > 1e-2
    seen = []
    for site in pdl.integrations.conversion.find_sites(model):
        site.problem.register_forward_hook(
            lambda _, given, out: seen.append((given[0], *given[1].tensors, given[4], out))
        )
    maps = model(TOKENS, output_attentions=True).attentions
    causal = torch.ones(8, 8, dtype=torch.bool).tril().expand(2, -1, -1)
    before = None
    for (query, key, value, given, out), weights in zip(seen, maps, strict=True):
        own = value.repeat_interleave(2, 1)
        wanted = split(elliptical(query, key.repeat_interleave(2, 1), own, before, causal))
        assert_close(out, wanted)
        assert_close(weights @ own, wanted)
        assert given["previous_value"].shape == value.shape
        before = own


def test_timm_is_the_loop_over_its_layers():
    timm = pytest.importorskip("timm")
    small = {"img_size": 16, "patch_size": 8, "depth": 3, "embed_dim": 24, "num_heads": 3, "num_classes": 5}
    model = shaken(timm.create_model("vit_tiny_patch16_224", **small))
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    pdl.convert(model, "elliptical", verbose=False)
    hidden, before = model._pos_embed(model.patch_embed(images)), None
    for block in model.blocks:
        packed = block.attn.qkv(block.norm1(hidden)).unflatten(-1, (3, 3, -1))
        query, key, value = packed.permute(2, 0, 3, 1, 4)
        mixed = block.attn.proj(elliptical(query, key, value, before))
        hidden, before = hidden + mixed, value
        hidden = hidden + block.mlp(block.norm2(hidden))
    wanted = model.forward_head(model.norm(hidden))
    assert_close(model(images), wanted)
    assert_close(model.forward_head(model.forward_features(images)), wanted)
    model.set_grad_checkpointing()
    with pytest.raises(
        UnsupportedError, match=r"blocks\.\*\.attn takes the values of the layer before.*checkpointing"
    ):
        model.train()(images).sum().backward()


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpoints_of_blocks_are_refused_and_those_of_models_served(converted, use_reentrant):
    hidden = inputs().requires_grad_()
    wanted = torch.autograd.grad(converted(hidden).sin().sum(), hidden)
    whole = checkpoint(converted, hidden, use_reentrant=use_reentrant)
    whole.sin().sum().backward()
    assert_close(hidden.grad, wanted[0])

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = converted.layers

        def forward(self, hidden):
            for layer in self.layers:
                hidden = checkpoint(layer, hidden, use_reentrant=use_reentrant)
            return hidden

    model = Checkpointed()
    pdl.convert(model, "elliptical", verbose=False)
    out = model(hidden)
    assert_close(out, encoder_loop(converted, inputs()))
    with pytest.raises(UnsupportedError, match=r"layers\.\*\.self_attn .*gradient checkpointing"):
        out.sum().backward()


def test_calls_do_not_see_one_another(converted):
    """Threads at once, other sizes, several calls before one backward, and a call that failed."""
    samples = [inputs(length, batch, length) for length, batch in ((5, 1), (7, 2), (9, 3), (7, 3))]
    wanted = [encoder_loop(converted, sample) for sample in samples]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for found, right in zip(pool.map(converted, samples), wanted, strict=True):
                assert_close(found, right)
    outs = [converted(sample) for sample in samples]
    parameters = list(converted.parameters())
    found = torch.autograd.grad(sum(out.sin().sum() for out in outs), parameters)
    apart = [torch.autograd.grad(out.sin().sum(), parameters) for out in map(converted, samples)]
    for one, *parts in zip(found, *apart, strict=True):
        assert_close(one, sum(parts))
    handle = converted.layers[2].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        converted(samples[1])
    handle.remove()
    assert_close(converted(samples[1]), wanted[1])
    with pytest.raises(UnsupportedError, match="called by itself"):
        converted.layers[1](samples[1])


class Interrupted(BaseException):
    pass


def test_an_interrupted_call_leaves_nothing(converted):
    def interrupt(*_):
        raise Interrupted

    handle = converted.layers[2].register_forward_pre_hook(interrupt)
    with pytest.raises(Interrupted):
        converted(inputs())
    handle.remove()
    assert_close(converted(inputs()), encoder_loop(converted, inputs()))
    with pytest.raises(UnsupportedError, match="called by itself"):
        converted.layers[1](inputs())


def test_layers_that_are_skipped_or_in_another_order(converted):
    class Reordered(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = converted.layers
            self.order = (2, 0)

        def forward(self, hidden):
            for place in self.order:
                hidden = self.layers[place](hidden)
            return hidden

    model = Reordered()
    pdl.convert(model, "elliptical", verbose=False)
    converted.layers, converted.norm = nn.ModuleList([model.layers[2], model.layers[0]]), None
    assert_close(model(inputs()), encoder_loop(converted, inputs()))


def test_an_encoder_does_not_feed_its_decoder():
    model = shaken(nn.Transformer(WIDTH, HEADS, 2, 2, 32, dropout=0.0, batch_first=True))
    plain = copy.deepcopy(model)
    source, target = inputs(), inputs(seed=2)
    pdl.convert(model, "elliptical", verbose=False)
    kinds = {
        vars(module)[ATTRIBUTE].name: name
        for name, module in model.named_modules()
        if ATTRIBUTE in vars(module)
    }
    assert set(kinds) == {
        "encoder.layers.*.self_attn", "decoder.layers.*.self_attn", "decoder.layers.*.multihead_attn",
    }  # fmt: skip
    memory = model.encoder(source)
    assert_close(model(source, target), model.decoder(target, memory))
    first = plain.decoder.layers[0](target, memory)
    calls = []
    model.decoder.layers[0].register_forward_hook(lambda *given: calls.append(given[2]))
    model(source, target)
    assert_close(calls[0], first)


def test_the_same_encoder_twice_in_one_call():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = encoder()

        def forward(self, one, other):
            return self.encoder(one), self.encoder(other)

    model = Pair()
    pdl.convert(model, "elliptical", verbose=False)
    for found, given in zip(model(inputs(), inputs(seed=2)), (inputs(), inputs(seed=2)), strict=True):
        assert_close(found, encoder_loop(model.encoder, given))


def test_a_shared_layer_is_refused():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = encoder().layers[0]

        def forward(self, hidden):
            return self.layer(self.layer(hidden))

    model = Shared()
    pdl.convert(model, "elliptical", verbose=False)
    with pytest.raises(UnsupportedError, match=r"layer\.self_attn: a layer runs twice"):
        model(inputs())


def test_layers_that_run_twice_in_one_loop_are_refused():
    """Nothing tells the layers of a second sample from those that follow the last one."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = encoder().layers

        def forward(self, samples):
            return [self.layers[1](self.layers[0](sample)) for sample in samples]

    model = Both()
    pdl.convert(model, "elliptical", verbose=False)
    assert model([inputs()])[0].isfinite().all()
    with pytest.raises(UnsupportedError, match=r"layers\.\*\.self_attn: a layer runs twice"):
        model([inputs(), inputs(seed=2)])


def test_our_own_encoder_hands_on_by_itself():
    for spec in ("elliptical", "softmax"):
        torch.manual_seed(0)
        model = Encoder(3, WIDTH, HEADS, 32, attention=spec).double().eval()
        nn.init.normal_(model.layers[1].attention.v_proj.weight)
        if spec == "elliptical":
            wanted = model(inputs())
        else:
            assert (model(inputs()) - wanted).abs().max() > 1e-6
            pdl.convert(model, "elliptical", verbose=False)
    assert_close(model(inputs()), wanted)


@pytest.mark.long
def test_compiled_models_and_blocks():
    converted = encoder(2)
    pdl.convert(converted, "elliptical", verbose=False)
    wanted = [encoder_loop(converted, inputs(seed=seed)) for seed in range(2)]
    whole, blocks = copy.deepcopy(converted), copy.deepcopy(converted)
    whole.compile(backend="eager", fullgraph=True)
    for block in blocks.layers:
        block.compile(backend="eager")
    for model in (whole, blocks):
        for seed, right in enumerate(wanted):
            with torch.no_grad():
                assert_close(model(inputs(seed=seed)), right)


@dataclass
class Watch:
    """Has no hash, as lists and other owners of hooks have none."""

    calls: int = 0

    def see(self, *_):
        self.calls += 1


def test_copies_files_and_what_is_left_behind(converted, tmp_path):
    wanted = converted(inputs())
    for copied in (copy.deepcopy(converted), pickle.loads(pickle.dumps(converted))):
        assert_close(copied(inputs()), wanted)
        assert_close(converted(inputs()), wanted)
    save(converted, tmp_path / "model.pt")
    assert_close(load(encoder(), tmp_path / "model.pt")(inputs()), wanted)
    pdl.convert(
        converted.layers[0], "softmax", verbose=False
    )  # the same for a first layer, which stays in its stack
    assert_close(converted(inputs()), wanted)
    with pdl.capture_attention(converted) as maps:
        converted(inputs())
    assert len(maps) == 3
    assert_close(converted(inputs()), wanted)
    watch = Watch()
    handle = converted.layers[0].register_forward_hook(watch.see)
    pdl.revert(converted)
    converted(inputs())
    assert watch.calls == 1
    handle.remove()
    hooks = [module for module in converted.modules() if module._forward_pre_hooks or module._forward_hooks]
    assert not hooks
    assert not any(ATTRIBUTE in vars(module) for module in converted.modules())


def test_a_report_measures_with_the_values_and_leaves_the_model_alone():
    model = encoder()
    before = model(inputs())
    report = pdl.convert(model, "elliptical", sample=inputs(), dry_run=True, verbose=False)
    assert report.change > 1e-3
    assert [layer.change > 1e-6 for layer in report.layers] == [False, True, True]
    assert torch.equal(model(inputs()), before)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_layers_of_other_shapes_begin_anew():
    class Narrowing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = encoder().layers

        def forward(self, hidden):
            hidden = self.layers[0](hidden)
            return self.layers[2](self.layers[1](hidden[:, ::2]))

    model = Narrowing()
    pdl.convert(model, "elliptical", verbose=False)
    seen = []
    model.layers[0].register_forward_hook(lambda *given: seen.append(given[2]))
    found = model(inputs())
    tail = encoder(2)
    tail.layers = model.layers[1:]
    assert_close(found, encoder_loop(tail, seen[0][:, ::2]))


def test_what_knows_no_layer_before_is_refused_by_name():
    with pytest.raises(
        UnsupportedError, match="elliptical needs previous_value, the values of the layer before"
    ):
        pdl.integrations.adapt("elliptical", 4, 4)
    timm = pytest.importorskip("timm")
    attention = pdl.integrations.timm_layers.attention_class("elliptical")
    with pytest.raises(
        UnsupportedError, match="previous_value of every token, which a layer that does not see its model"
    ):
        timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1, attn_layer=attention)


def test_maps_that_a_layer_is_asked_for(converted):
    class Mapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(layer.self_attn for layer in converted.layers)

        def forward(self, hidden):
            maps = []
            for layer in self.layers:
                hidden, weights = layer(hidden, hidden, hidden, average_attn_weights=False)
                maps.append(weights)
            return hidden, maps

    model = Mapped()
    pdl.convert(model, "elliptical", verbose=False)
    out, maps = model(inputs())
    hidden = inputs()
    for layer, weights in zip(model.layers, maps, strict=True):
        hidden = layer.out_proj((weights @ split(layer.v_proj(hidden))).transpose(1, 2).flatten(2))
    assert_close(out, hidden)
    assert (maps[1] - maps[0]).abs().max() > 1e-3


def test_heads_that_were_cut_out_and_groups_of_heads(converted):
    pdl.prune_heads(converted, {0: [0, 1], 1: [0, 1], 2: [2, 3]})
    found = converted(inputs())
    assert found.isfinite().all()
    pdl.convert(converted, "softmax", heads=[0], layers=[1], verbose=False)
    again = copy.deepcopy(converted)
    pdl.convert(again, "elliptical", verbose=False)
    assert_close(again(inputs()), found)
    assert converted(inputs()).shape == found.shape


def test_an_attention_chosen_by_name_hands_on_too():
    transformers = pytest.importorskip("transformers")
    pdl.integrations.hf_attention.register("elliptical")
    model = gpt()
    plain, wanted = model(TOKENS).logits, gpt_loop(model, TOKENS)
    model.set_attn_implementation("primaldual_elliptical")
    assert_close(model(TOKENS).logits, wanted)
    model.set_attn_implementation("sdpa")
    assert_close(model(TOKENS).logits, plain)
    pdl.convert(model, "elliptical", verbose=False)
    assert_close(model(TOKENS).logits, wanted)
    built = transformers.GPT2LMHeadModel._from_config(
        model.config.__class__(n_embd=WIDTH, n_layer=2, n_head=HEADS, vocab_size=50),
        attn_implementation="primaldual_elliptical",
    )
    with pytest.raises(
        UnsupportedError, match=r"primaldual_elliptical takes the values of the layer before, .* build it"
    ):
        built(TOKENS)
    built.set_attn_implementation("sdpa")
    built.set_attn_implementation("primaldual_elliptical")
    assert built(TOKENS).logits.isfinite().all()


@pytest.mark.parametrize("kinds", [("full", "sliding"), ("sliding", "full"), ("sliding", "sliding")])
def test_caches_of_unequal_lengths_are_refused(kinds):
    transformers = pytest.importorskip("transformers")
    config = transformers.Qwen3Config(
        hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=4, vocab_size=50, sliding_window=4, use_sliding_window=True,
        layer_types=[f"{kind}_attention" for kind in kinds],
    )  # fmt: skip
    model = shaken(transformers.Qwen3ForCausalLM(config))
    pdl.convert(model, "elliptical", verbose=False)
    options = {"max_new_tokens": 3, "do_sample": False, "pad_token_id": 0}
    wanted = model.generate(TOKENS, use_cache=False, **options)
    if len(set(kinds)) == 1:
        assert torch.equal(model.generate(TOKENS, **options), wanted)
    else:
        with pytest.raises(
            UnsupportedError, match=r"values of the layer before, whose cache holds \d+: .*use_cache"
        ):
            model.generate(TOKENS, **options)


def test_layers_that_albert_shares_are_refused():
    transformers = pytest.importorskip("transformers")
    config = transformers.AlbertConfig(
        hidden_size=WIDTH, embedding_size=8, num_hidden_layers=2, num_attention_heads=HEADS, vocab_size=50
    )
    model = shaken(transformers.AlbertModel(config))
    pdl.convert(model, "elliptical", verbose=False)
    with pytest.raises(UnsupportedError, match="a layer runs twice in one call"):
        model(TOKENS)


@pytest.mark.long
def test_exported_models():
    model = encoder(2)
    pdl.convert(model, "elliptical", verbose=False)
    with torch.no_grad():
        exported = torch.export.export(model, (inputs(),), strict=False).module()
        assert_close(exported(inputs(seed=2)), model(inputs(seed=2)))
