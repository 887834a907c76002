"""Attentions by name, for set_attn_implementation and attn_implementation=."""

import copy
from collections.abc import Callable

import pytest
import torch
from tests.integrations.hf_models import bert, gpt2, left_padded, llama, logits, made, qwen3, tokens, vit
from tests.integrations.test_hf_models import _gemma2, _gpt_oss, _t5, images
from transformers import BertConfig, BertModel, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from primaldual.errors import PrimalDualError, ShapeError, SpecError, UnsupportedError
from primaldual.integrations import hf_register
from primaldual.integrations.conversion import convert
from primaldual.integrations.finding import find_sites
from primaldual.integrations.hf_attention import register


def test_names_are_registered_once_and_masks_with_them() -> None:
    names = register()
    assert names == [
        "primaldual_softmax",
        "primaldual_linear",
        "primaldual_bn",
        "primaldual_sh",
        "primaldual_bn+sh",
        "primaldual",
    ]
    functions = [ALL_ATTENTION_FUNCTIONS[name] for name in names]
    assert register() == names
    assert [ALL_ATTENTION_FUNCTIONS[name] for name in names] == functions
    assert all(name in ALL_MASK_ATTENTION_FUNCTIONS for name in names)


@pytest.mark.parametrize("build", [bert, gpt2, llama, qwen3])
@pytest.mark.parametrize("spec", ["softmax", "linear", "bn", "sh", "bn+sh"])
def test_a_name_is_the_same_as_a_conversion(build: Callable[..., PreTrainedModel], spec: str) -> None:
    register()
    model, converted = made(build), made(build)
    convert(converted, spec, verbose=False)
    ids, mask = tokens(2, 7), left_padded([7, 4])
    model.set_attn_implementation(f"primaldual_{spec}")
    assert torch.equal(logits(model, ids, mask), logits(converted, ids, mask))
    assert torch.equal(logits(model, ids), logits(converted, ids))


def test_names_know_how_patches_lie() -> None:
    register()
    model, converted = made(vit), made(vit)
    convert(converted, "bn+sh", verbose=False)
    model.set_attn_implementation("primaldual_bn+sh")
    with torch.no_grad():
        assert torch.equal(*(each(images()).last_hidden_state for each in (model, converted)))


@pytest.mark.parametrize("spec", ["sh(1,1,2,4)", "sh(1, 1, 2, 4)"])
def test_every_spec_is_a_name(spec: str) -> None:
    register()
    model, converted = made(llama), made(llama)
    model.set_attn_implementation(f"primaldual_{spec}")
    assert model.config._attn_implementation == "primaldual_sh(1,1,2,4)"
    convert(converted, spec, verbose=False)
    assert torch.equal(logits(model, tokens(1, 7)), logits(converted, tokens(1, 7)))
    config = BertConfig(hidden_size=32, num_attention_heads=4, num_hidden_layers=1)
    built = BertModel._from_config(config, attn_implementation="primaldual_bn(beta=0.25)")
    assert built.config._attn_implementation == "primaldual_bn(beta=0.25)"
    with pytest.raises(SpecError, match=r"bm.*softmax"):
        model.set_attn_implementation("primaldual_bm")
    with pytest.raises(UnsupportedError, match="parameters"):
        model.set_attn_implementation("primaldual_bn(learnable=true)")
    with pytest.raises(ValueError, match="not supported"):
        model.set_attn_implementation("primal")


def test_names_refuse_images_of_another_size() -> None:
    """5 x 5 patches and a class token are not 4 x 4 patches and 10 lone tokens."""
    register()
    model = made(vit)
    model.set_attn_implementation("primaldual_sh")
    with pytest.raises(ShapeError, match="grid 4x4 with prefix 1 needs 17 positions; got 26"):
        model(torch.randn(1, 3, 20, 20), interpolate_pos_encoding=True)
    model.set_attn_implementation("primaldual_bn")
    assert model(torch.randn(1, 3, 20, 20), interpolate_pos_encoding=True)[0].shape == (1, 26, 32)
    model.set_attn_implementation("primaldual_sh(1,1,2,4,grid=5x5,prefix=1)")
    assert model(torch.randn(1, 3, 20, 20), interpolate_pos_encoding=True)[0].shape == (1, 26, 32)


def test_names_need_the_model_to_know_how_patches_lie() -> None:
    register()
    model = made(vit)
    model.set_attn_implementation("primaldual_sh")
    copied = copy.deepcopy(model)
    with pytest.raises(UnsupportedError, match="set_attn_implementation again, convert it, or state it"):
        copied(images())
    with torch.no_grad():
        expected = model(images())[0]
        copied.set_attn_implementation("sdpa")
        copied.set_attn_implementation("primaldual_sh")
        assert torch.equal(copied(images())[0], expected)


def test_names_keep_the_scale_of_scores() -> None:
    register()
    model = made(gpt2, scale_attn_by_inverse_layer_idx=True)
    expected = logits(model, tokens(1, 5))
    model.set_attn_implementation("primaldual_softmax")
    torch.testing.assert_close(logits(model, tokens(1, 5)), expected, atol=1e-5, rtol=0)
    model.set_attn_implementation("primaldual_linear")
    with pytest.raises(UnsupportedError, match="scale"):
        logits(model, tokens(1, 5))


@pytest.mark.parametrize(
    "spec",
    ["bn(beta=0.5)", "window(3)", "sh(1,2,2,3,prefix=1)", "taylor(4)", "random(8)+bn", "sh(1,2,grid=3x3)"],
)
def test_other_specs_have_names_too(spec: str) -> None:
    assert register(spec) == [f"primaldual_{spec}"]
    assert register(spec) == [f"primaldual_{spec}"]


@pytest.mark.parametrize("spec", ["bn(learnable=true)", "conv(3)", "bn(running=true)", "conv2d(3)+bn"])
def test_what_can_learn_is_refused(spec: str) -> None:
    with pytest.raises(UnsupportedError, match="use primaldual"):
        register(spec)
    assert f"primaldual_{spec}" not in ALL_ATTENTION_FUNCTIONS


def test_a_spec_that_is_none() -> None:
    with pytest.raises(SpecError):
        register("nonsense")


def test_what_leaks_is_not_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(*args: object, **kwargs: object) -> None:
        return None

    monkeypatch.setattr(hf_register, "sdpa_mask", blind)
    with pytest.raises(PrimalDualError, match="see a padded one"):
        register("bn(beta=0.123)")
    assert "primaldual_bn(beta=0.123)" not in ALL_ATTENTION_FUNCTIONS
    assert "primaldual_bn(beta=0.123)" not in ALL_MASK_ATTENTION_FUNCTIONS


@pytest.mark.parametrize(
    ("build", "name"), [(_t5, "position_bias"), (_gemma2, "softcap"), (_gpt_oss, "s_aux")]
)
def test_features_without_meaning_are_refused_by_name(
    build: Callable[[], PreTrainedModel], name: str
) -> None:
    register()
    model = build().eval()
    model.set_attn_implementation("primaldual_bn")
    given = {"input_ids": tokens(1, 4)} | ({"decoder_input_ids": tokens(1, 4)} if build is _t5 else {})
    with torch.no_grad(), pytest.raises(UnsupportedError, match=name):
        model(**given)


def test_a_model_with_a_name_is_not_converted_over_it() -> None:
    register()
    model = made(bert)
    model.set_attn_implementation("primaldual_bn")
    assert all(site.refusal and "primaldual_bn" in site.refusal for site in find_sites(model))
    with pytest.raises(UnsupportedError, match="set_attn_implementation"):
        convert(model, "sh", verbose=False)
    model.set_attn_implementation("sdpa")
    convert(model, "sh", verbose=False)


def test_generation_by_name() -> None:
    register()
    model, converted = made(llama), made(llama)
    convert(converted, "bn+sh", verbose=False)
    model.set_attn_implementation("primaldual_bn+sh")
    settings = {"do_sample": False, "max_new_tokens": 6, "attention_mask": left_padded([5, 3])}
    ids = tokens(2, 5) * settings["attention_mask"]
    assert torch.equal(model.generate(ids, **settings), converted.generate(ids, **settings))
