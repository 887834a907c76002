"""Models of transformers converted in place: what changes, what does not, and what is refused."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.integrations.hf_models import (
    bart,
    bert,
    gpt2,
    left_padded,
    llama,
    logits,
    made,
    minilm,
    qwen3,
    right_padded,
    roberta,
    tokens,
    vit,
)  # fmt: skip
from torch import Tensor
from transformers import (
    AutoModel,
    AutoTokenizer,
    Gemma2Config,
    Gemma2Model,
    GptOssConfig,
    GptOssModel,
    OPTConfig,
    OPTModel,
    PreTrainedModel,
    T5Config,
    T5Model,
)

from primaldual.analysis import capture_attention
from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.integrations.attention_hooks import AttentionCall, attending, watching
from primaldual.integrations.conversion import convert, revert
from primaldual.integrations.finding import find_sites
from primaldual.integrations.hf_attention import register
from primaldual.primal.presets import preset

TEXT = pytest.mark.parametrize("build", [bert, roberta, gpt2, llama, qwen3])
SENTENCES = [
    "A support vector machine finds a hyperplane.",
    "Hi!",
    "Attention can be read as the support vector expansion of a regression, which is what is tested here.",
]


def images(batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_softmax_is_the_attention_of_a_real_bert() -> None:
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    model = AutoModel.from_pretrained(minilm()).eval()
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    valid = batch["attention_mask"].bool()
    with torch.no_grad():
        expected = model(**batch).last_hidden_state
        convert(model, "softmax", verbose=False)
        found = model(**batch).last_hidden_state
    torch.testing.assert_close(found[valid], expected[valid], atol=1e-5, rtol=0)
    model.double()
    convert(model, "bn+sh", verbose=False)
    for row, sentence in enumerate(SENTENCES):
        with torch.no_grad():
            alone = model(**tokenizer(sentence, return_tensors="pt")).last_hidden_state[0]
            together = model(**batch).last_hidden_state[row][valid[row]]
        torch.testing.assert_close(together, alone, atol=1e-9, rtol=0)


@TEXT
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("pad", [None, left_padded, right_padded])
def test_softmax_is_the_models_own(
    build: Callable[..., PreTrainedModel], implementation: str, pad: Callable[[list[int]], Tensor] | None
) -> None:
    model = made(build)
    model.set_attn_implementation(implementation)
    mask = None if pad is None else pad([7, 3])
    ids = tokens(2, 7)
    valid = torch.ones(2, 7, dtype=torch.bool) if mask is None else mask.bool()
    expected = logits(model, ids, mask)
    convert(model, "softmax", verbose=False)
    torch.testing.assert_close(logits(model, ids, mask)[valid], expected[valid], atol=1e-5, rtol=0)
    assert revert(model)
    assert model.config._attn_implementation == implementation
    assert torch.equal(logits(model, ids, mask), expected)
    assert not hasattr(model.config, "primaldual")


def test_softmax_is_the_vision_models_own() -> None:
    model = made(vit)
    with torch.no_grad():
        expected = model(images()).last_hidden_state
        convert(model, "softmax", verbose=False)
        found = model(images()).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_vision_models_say_how_patches_lie() -> None:
    model = made(vit)
    convert(model, "sh(1,2,2,4)", verbose=False)
    site = find_sites(model)[0]
    assert site.problem is not None
    assert (site.problem.subset.layout.grid, site.problem.subset.layout.prefix) == ((4, 4), 1)
    assert site.problem.spec() == "sh(1,2,2,4,grid=4x4,prefix=1)"
    with torch.no_grad():
        assert model(images()).last_hidden_state.isfinite().all()


@TEXT
@pytest.mark.parametrize("spec", ["bn", "bn+sh(1,1,2,3)", "linear+bn", "window(2)", "conv(3)+bn"])
def test_heads_give_what_the_definition_says(build: Callable[..., PreTrainedModel], spec: str) -> None:
    model = made(build).double()
    convert(model, spec, verbose=False)
    seen: list[tuple[Tensor, ...]] = []

    def look(one: AttentionCall) -> None:
        matrix = one.attendable.matrix(one.query.shape[2], one.source.length, one.query.device)
        seen.append((one.query, *one.source.tensors, matrix, one.outputs))

    with attending(model) as sites, watching(sites, look):
        logits(model, tokens(2, 7), right_padded([7, 4]))
    assert len(seen) == 2
    for query, key, value, matrix, outputs in seen:
        problem = preset(spec).bind(4, query.shape[-1]).double()
        with torch.no_grad():
            expected = problem.dense(query, key, value, matrix)
        torch.testing.assert_close(outputs, expected, atol=1e-9, rtol=0)


def test_encoders_and_decoders_with_cross_attention() -> None:
    model = made(bart)
    ids, mask = tokens(2, 6), left_padded([6, 4])
    given = {"input_ids": ids * mask, "attention_mask": mask, "decoder_input_ids": tokens(2, 5, seed=1)}
    with torch.no_grad():
        expected = model(**given).logits
        convert(model, "softmax", verbose=False)
        torch.testing.assert_close(model(**given).logits, expected, atol=1e-5, rtol=0)
        assert len(find_sites(model)) == 6
        convert(model, "bn+sh", verbose=False)
        both = model(**given).logits
        alone = model(input_ids=ids[1:, 2:], decoder_input_ids=given["decoder_input_ids"][1:]).logits
        settings = {"do_sample": False, "max_new_tokens": 6, "num_beams": 1}
        cached = model.generate(ids * mask, attention_mask=mask, **settings)
        whole = model.generate(ids * mask, attention_mask=mask, use_cache=False, **settings)
    del both, alone
    assert torch.equal(cached, whole)
    for spec in ("window(2)", "conv(3,queries=true)"):
        with pytest.raises(UnsupportedError, match="another sequence"):
            convert(model, spec, verbose=False)
        assert {site.problem.spec() for site in find_sites(model) if site.problem} == {"bn+sh"}
    convert(model, "window(2)", layers="*self_attn", verbose=False)
    cached = model.generate(ids * mask, attention_mask=mask, **settings)
    assert torch.equal(cached, model.generate(ids * mask, attention_mask=mask, use_cache=False, **settings))


def _t5() -> PreTrainedModel:
    return T5Model(T5Config(vocab_size=50, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4))


def _gemma2() -> PreTrainedModel:
    return Gemma2Model(
        Gemma2Config(
            vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8,
        )
    )  # fmt: skip


def _gpt_oss() -> PreTrainedModel:
    return GptOssModel(
        GptOssConfig(
            vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, num_local_experts=2, num_experts_per_tok=1,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "feature"),
    [(_t5, "position bias"), (_gemma2, "soft-capped scores"), (_gpt_oss, "attention sinks")],
)
def test_what_has_no_meaning_is_refused_before_anything_changes(
    build: Callable[[], PreTrainedModel], feature: str
) -> None:
    model = build()
    before = model.config._attn_implementation, set(model.state_dict())
    with pytest.raises(UnsupportedError, match=feature):
        convert(model, "bn", verbose=False)
    assert (model.config._attn_implementation, set(model.state_dict())) == before
    assert not hasattr(model.config, "primaldual")


def test_other_scales_of_scores_are_kept_or_refused() -> None:
    model = made(gpt2, scale_attn_by_inverse_layer_idx=True)
    expected = logits(model, tokens(1, 5))
    convert(model, "softmax", verbose=False)
    torch.testing.assert_close(logits(model, tokens(1, 5)), expected, atol=1e-5, rtol=0)
    convert(model, "bn", verbose=False)
    assert logits(model, tokens(1, 5)).isfinite().all()
    with pytest.raises(UnsupportedError, match="scale"):
        convert(model, "linear", verbose=False)


def test_queries_that_a_layer_scales_itself_keep_their_units() -> None:
    config = OPTConfig(
        vocab_size=50, hidden_size=32, word_embed_proj_dim=32, num_hidden_layers=2, num_attention_heads=4,
        ffn_dim=48, max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    model = made(lambda: OPTModel(config))
    with torch.no_grad():
        expected = model(tokens(1, 5))[0]
        convert(model, "softmax", verbose=False)
        torch.testing.assert_close(model(tokens(1, 5))[0], expected, atol=1e-5, rtol=0)
    convert(model, "linear+bn", verbose=False)
    layer, seen = find_sites(model)[0], []
    with watching([layer], lambda one: seen.append(one.query)), torch.no_grad():
        states = []
        handle = layer.module.q_proj.register_forward_hook(lambda *arguments: states.append(arguments[2]))
        model(tokens(1, 5))
        handle.remove()
    torch.testing.assert_close(seen[0].transpose(1, 2).flatten(2), states[0], atol=1e-6, rtol=0)


def test_float_masks_are_read_and_biases_refused() -> None:
    model = made(bert)
    convert(model, "bn", verbose=False)
    ids, mask = tokens(2, 6), right_padded([6, 3])
    pairs = mask[:, None, None, :].bool().expand(2, 1, 6, 6)
    expected = logits(model, ids, mask)
    additive = torch.zeros(pairs.shape).masked_fill(~pairs, torch.finfo(torch.float32).min)
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=additive)[0]
        torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], atol=1e-6, rtol=0)
        with pytest.raises(ArgumentError, match="biases"):
            model(input_ids=ids, attention_mask=additive + 0.5)


@pytest.mark.parametrize("build", [bert, gpt2, llama, bart])
def test_attention_maps_are_returned_where_they_are_asked_for(build: Callable[..., PreTrainedModel]) -> None:
    model = made(build)
    ids, mask = tokens(2, 6), left_padded([6, 4])
    model.set_attn_implementation("eager")
    call: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "output_attentions": True}
    names = ["attentions"]
    if build is bart:
        call["decoder_input_ids"] = ids
        names = ["encoder_attentions", "decoder_attentions", "cross_attentions"]
    with torch.no_grad():
        expected = model(**call)
        convert(model, "softmax", verbose=False)
        found = model(**call)
        for name in names:
            assert len(found[name]) == 2
            for own, ours in zip(expected[name], found[name], strict=True):
                rows = mask.bool()[:, None, :, None] if own.shape[2] == 6 else torch.ones_like(own).bool()
                torch.testing.assert_close(
                    torch.where(rows, ours, 0), torch.where(rows, own, 0), atol=1e-5, rtol=0
                )
        convert(model, "bn+sh", verbose=False)
        for name in names:
            for weights in model(**call)[name]:
                assert weights.shape == (2, 4, 6, 6)
                if name != "decoder_attentions":
                    assert not weights[1, ..., :2].any()
                torch.testing.assert_close(weights[1, :, 2:].sum(-1), torch.ones(4, 4), atol=1e-5, rtol=0)
    plain = {key: value for key, value in call.items() if key != "output_attentions"}
    with torch.no_grad():
        assert all(model(**plain).get(name) is None for name in names)


def test_what_is_learned_lies_in_the_state_dict_and_moves_along() -> None:
    model = made(bert)
    report = convert(model, "bn(learnable=true)", layers=0, verbose=False)
    convert(model, "conv(3)", layers=1, verbose=False)
    assert report.layers[0].added == 4
    added = {name for name in model.state_dict() if ".problem." in name}
    assert added == {
        "encoder.layer.0.attention.self.problem.transform.head_beta",
        "encoder.layer.1.attention.self.problem.transform.weight",
    }
    model.double()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    model(tokens(1, 4))[0].sum().backward()
    assert all(model.get_parameter(name).grad is not None for name in added)
    assert logits(model, tokens(1, 4)).dtype == torch.float64


@pytest.mark.parametrize("build", [bert, llama])
def test_copies_and_pickles_are_converted_too(build: Callable[..., PreTrainedModel]) -> None:
    model = made(build)
    convert(model, "bn(learnable=true)+sh", verbose=False)
    expected = logits(model, tokens(2, 5))
    copied = copy.deepcopy(model)
    revert(model)
    assert not torch.equal(logits(model, tokens(2, 5)), expected)
    for other in (copied, pickle.loads(pickle.dumps(copied))):
        assert torch.equal(logits(other, tokens(2, 5)), expected)
        assert len(revert(other)) == 2


@pytest.mark.long
def test_a_pickle_works_in_a_process_that_never_converted(tmp_path: Any) -> None:
    model = made(bert)
    convert(model, "bn", verbose=False)
    with open(tmp_path / "model.pickle", "wb") as file:
        pickle.dump((model, tokens(1, 4), logits(model, tokens(1, 4))), file)
    program = (
        "import pickle, sys, torch\n"
        "torch.set_num_threads(1)\n"
        "model, ids, expected = pickle.load(open(sys.argv[1], 'rb'))\n"
        "with torch.no_grad(): found = model(input_ids=ids)[0]\n"
        "assert torch.equal(found, expected)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "model.pickle")], check=True)


@pytest.mark.parametrize("build", [bert, llama])
@pytest.mark.parametrize("spec", ["bn(learnable=true)", "conv(3)+sh"])
def test_checkpointed_layers_have_the_same_gradients(
    build: Callable[..., PreTrainedModel], spec: str
) -> None:
    model = made(build).train()
    convert(model, spec, verbose=False)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    ids, mask = tokens(2, 6), right_padded([6, 4])

    def gradients() -> dict[str, Tensor]:
        model.zero_grad()
        model(input_ids=ids, attention_mask=mask, use_cache=False)[0][mask.bool()].square().sum().backward()
        named = model.named_parameters()
        return {name: parameter.grad.clone() for name, parameter in named if parameter.grad is not None}

    expected = gradients()
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable()
    found = gradients()
    assert any("problem" in name for name in found)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("build", "padded"), [(bert, False), pytest.param(llama, True, marks=pytest.mark.long)]
)
def test_compiled_models_give_the_same(build: Callable[..., PreTrainedModel], padded: bool) -> None:
    model = made(build)
    convert(model, "bn+sh", verbose=False)
    ids, mask = tokens(2, 6), left_padded([6, 4])
    given = {"input_ids": ids, "use_cache": False} | ({"attention_mask": mask} if padded else {})
    valid = mask.bool() if padded else torch.ones(2, 6, dtype=torch.bool)
    with torch.no_grad():
        expected = model(**given)[0]
        torch.compiler.reset()
        found = torch.compile(model, backend="eager", fullgraph=True)(**given)[0]
    torch.testing.assert_close(found[valid], expected[valid], atol=1e-5, rtol=0)


@pytest.mark.long
@pytest.mark.parametrize(("build", "spec"), [(llama, "bn")])
def test_exported_models_take_other_lengths(build: Callable[..., PreTrainedModel], spec: str) -> None:
    model = made(build).double()
    convert(model, spec, verbose=False)
    batch, length = torch.export.Dim("batch", min=2, max=8), torch.export.Dim("length", min=5, max=32)
    sizes = {0: batch, 1: length}
    fixed = {} if build is bert else {"use_cache": False}
    given = {"input_ids": tokens(2, 7), "attention_mask": left_padded([7, 4]), **fixed}
    dynamic = {"input_ids": sizes, "attention_mask": sizes, **dict.fromkeys(fixed)}
    with torch.no_grad():
        program = torch.export.export(model, (), given, dynamic_shapes=dynamic).module()
        mask = left_padded([9, 5, 2])
        other = {"input_ids": tokens(3, 9), "attention_mask": mask, **fixed}
        expected, found = model(**other)[0], program(**other)[0]
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], atol=1e-9, rtol=0)


@pytest.mark.parametrize("build", [bert, gpt2, llama, qwen3])
@pytest.mark.parametrize("spec", ["softmax", "bn", "bn+sh", "linear"])
def test_half_precision_is_finite_and_close(build: Callable[..., PreTrainedModel], spec: str) -> None:
    torch.manual_seed(0)
    model = build().eval()
    convert(model, spec, verbose=False)
    ids, mask = tokens(2, 24), left_padded([24, 17])
    expected = logits(model, ids, mask)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = logits(model, ids, mask)
    half = logits(model.to(torch.bfloat16), ids, mask)
    for found in (mixed, half):
        assert found[mask.bool()].isfinite().all()
        # Of one or two keys a variance is as small as the rounding, and the first tokens differ by it.
        assert (found.float() - expected)[:, -4:].norm() < 0.1 * expected[:, -4:].norm()


def test_some_layers_and_some_heads() -> None:
    model = made(bert)
    ids = tokens(2, 6)
    before = logits(model, ids)
    convert(model, "bn", layers=1, verbose=False)
    sites = find_sites(model)
    assert [site.problem and site.problem.spec() for site in sites] == [None, "bn"]
    changed = logits(model, ids)
    assert (changed - before).abs().max() > 1e-3
    convert(model, "bn", layers=1, heads=[0, 1, 2, 3], verbose=False)
    assert torch.equal(logits(model, ids), changed)
    revert(model)
    convert(model, "bn", layers=1, heads=[2], verbose=False)
    assert not torch.equal(logits(model, ids), changed)
    with torch.no_grad():
        maps = model(ids, output_attentions=True).attentions
    assert len(maps) == 1 or maps[0].shape == maps[1].shape
    revert(model)
    assert torch.equal(logits(model, ids), before)


def test_an_error_midway_leaves_the_model_as_it_was() -> None:
    model = made(gpt2)
    before = logits(model, tokens(1, 5))
    with pytest.raises(ArgumentError):
        convert(model, "sh(1,2,3)", verbose=False)
    assert not hasattr(model.config, "primaldual")
    assert torch.equal(logits(model, tokens(1, 5)), before)


def test_dropout_is_the_layers_own() -> None:
    model = made(bert, attention_probs_dropout_prob=0.5, hidden_dropout_prob=0.0).train()
    convert(model, "bn+sh", verbose=False)
    first, second = logits(model, tokens(1, 5)), logits(model, tokens(1, 5))
    assert not torch.equal(first, second)
    model.eval()
    assert torch.equal(logits(model, tokens(1, 5)), logits(model, tokens(1, 5)))


@pytest.mark.parametrize("name", ["sdpa", "eager", "primaldual_bn"])
def test_an_implementation_set_after_conversion_is_refused(name: str) -> None:
    register()
    model = made(bert)
    convert(model, "bn", verbose=False)
    expected = logits(model, tokens(2, 5))
    model.set_attn_implementation(name)
    with pytest.raises(UnsupportedError, match="BertSelfAttention that was converted to 'bn' is passed by"):
        logits(model, tokens(2, 5))
    with pytest.raises(UnsupportedError, match="set later"):
        convert(model, "sh", layers=0, verbose=False)
    with pytest.raises(UnsupportedError, match="set later"), capture_attention(model):
        pass
    model.set_attn_implementation("primaldual")
    assert torch.equal(logits(model, tokens(2, 5)), expected)
    model.set_attn_implementation(name)
    revert(model)
    assert model.config._attn_implementation == name
    assert not any(module._forward_pre_hooks for module in model.modules())
    plain = made(bert)
    plain.set_attn_implementation(name)
    assert torch.equal(logits(model, tokens(2, 5)), logits(plain, tokens(2, 5)))


def test_copies_and_pickles_keep_the_check() -> None:
    model = made(bert)
    convert(model, "bn", verbose=False)
    convert(model, "bn+sh", verbose=False)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(logits(copied, tokens(2, 5)), logits(model, tokens(2, 5)))
        assert [len(site.module._forward_pre_hooks) for site in find_sites(copied)] == [1, 1]
        copied.set_attn_implementation("sdpa")
        with pytest.raises(UnsupportedError, match="passed by"):
            logits(copied, tokens(2, 5))
