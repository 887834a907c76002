"""Decoders: nothing of the future is seen, padding takes no place, and caches change nothing."""

import inspect
from collections.abc import Callable

import pytest
import torch
from tests.contract_specs import EVERY_WORD, SPECS
from tests.integrations.hf_models import gpt2, left_padded, llama, logits, made, places, right_padded, tokens
from tests.quick import one_in
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, StaticCache

from primaldual import preset
from primaldual.errors import UnsupportedError
from primaldual.integrations.conversion import convert

GENERATED = (
    "softmax",
    "bn",
    "sh",
    "bn+sh",
    "linear",
    "window(3)",
    "conv(3,causal=true)",
    "sh(1,2,2,3,prefix=2)",
    "sh(1,2,3,4,suffix=2,weighted=true)",
    "anchored(1,2,3,4,kept=0.5)",
)
ACCEPTED = [spec for spec in SPECS if not preset(spec).token_inputs]
"""Attentions that need nothing of a token beside what layers of transformers pass on."""

DECODERS = pytest.mark.parametrize("build", [gpt2, llama])
ALTERNATING = [(spec, (gpt2, llama)[place % 2]) for place, spec in enumerate(ACCEPTED)]
OFTEN = [case for case in ALTERNATING if case[0] in EVERY_WORD]


def converted(build: Callable[..., PreTrainedModel], spec: str) -> PreTrainedModel:
    """A model in double precision, where rounding does not hide a leak, with what is learned off its start."""
    model = made(build).double()
    convert(model, spec, verbose=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "problem" in name:
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
                parameter.add_(noise, alpha=0.3)
    if "running" in spec:
        model.train()
        logits(model, tokens(2, 9))
        model.eval()
    return model


@pytest.mark.parametrize(("spec", "build"), one_in(3, ALTERNATING, OFTEN))
def test_a_token_sees_no_later_one(build: Callable[..., PreTrainedModel], spec: str) -> None:
    model = converted(build, spec)
    ids = tokens(2, 9)
    changed = ids.clone()
    changed[:, 5:] = tokens(2, 4, seed=1)
    assert not torch.equal(ids, changed)
    first, second = logits(model, ids), logits(model, changed)
    torch.testing.assert_close(first[:, :5], second[:, :5], atol=1e-9, rtol=0)
    assert (first[:, 5:] - second[:, 5:]).abs().amax((0, 2)).min() > 1e-3


@pytest.mark.parametrize(("spec", "build"), one_in(3, ALTERNATING, OFTEN))
def test_padding_on_any_side_takes_no_place(build: Callable[..., PreTrainedModel], spec: str) -> None:
    model = converted(build, spec)
    lengths, ids = [7, 4, 1], tokens(3, 7)
    alone = [logits(model, ids[row : row + 1, :length])[0] for row, length in enumerate(lengths)]
    for pad in (left_padded, right_padded):
        mask = pad(lengths)
        padded = torch.zeros_like(ids)
        padded[mask.bool()] = torch.cat([ids[row, :length] for row, length in enumerate(lengths)])
        found = logits(model, padded, mask)
        for row, expected in enumerate(alone):
            torch.testing.assert_close(found[row][mask[row].bool()], expected, atol=1e-9, rtol=0)


@DECODERS
@pytest.mark.parametrize("spec", one_in(3, GENERATED))
def test_generation_is_the_same_with_any_cache(build: Callable[..., PreTrainedModel], spec: str) -> None:
    model = converted(build, spec)
    lengths = [6, 3]
    mask = left_padded(lengths)
    prompt = tokens(2, 6) * mask
    settings = {"attention_mask": mask, "do_sample": False, "max_new_tokens": 7}
    expected = _greedy(model, prompt, mask, 7)
    assert torch.equal(model.generate(prompt, use_cache=False, **settings), expected)
    assert torch.equal(model.generate(prompt, **settings), expected)
    assert torch.equal(model.generate(prompt, cache_implementation="static", **settings), expected)
    beams = {**settings, "num_beams": 2}
    assert torch.equal(model.generate(prompt, **beams), model.generate(prompt, use_cache=False, **beams))
    alone = model.generate(prompt[1:, 3:], do_sample=False, max_new_tokens=7)
    assert torch.equal(alone[:, 3:], expected[1:, 6:])


@DECODERS
@pytest.mark.parametrize("spec", one_in(2, GENERATED))
@pytest.mark.parametrize("static", [False, True])
def test_pieces_of_a_prompt_give_what_all_of_it_gives(
    build: Callable[..., PreTrainedModel], spec: str, static: bool
) -> None:
    model = converted(build, spec)
    mask = left_padded([9, 4])
    ids = tokens(2, 9) * mask
    whole = logits(model, ids, mask)
    config = model.config
    cache = StaticCache(config, max_cache_len=16) if static else DynamicCache(config=config)
    found = []
    with torch.no_grad():
        for first, last in ((0, 3), (3, 7), (7, 8), (8, 9)):
            out = model(
                input_ids=ids[:, first:last],
                attention_mask=mask[:, :last],
                position_ids=places(mask)[:, first:last],
                **{_cache_argument(model): cache},
            )
            found.append(out.logits)
    valid = mask.bool()
    torch.testing.assert_close(torch.cat(found, 1)[valid], whole[valid], atol=1e-9, rtol=0)


def test_mixed_queries_need_the_whole_sequence() -> None:
    model = converted(llama, "conv(3,queries=true)")
    with pytest.raises(UnsupportedError, match="use_cache=False"):
        model.generate(tokens(1, 4), max_new_tokens=3, do_sample=False)
    assert model.generate(tokens(1, 4), max_new_tokens=3, do_sample=False, use_cache=False).shape == (1, 7)


def test_pools_and_a_sliding_window_part_before_the_cache_forgets() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, sliding_window=6, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    model = made(lambda: MistralForCausalLM(config))
    convert(model, "sh", verbose=False)
    assert model.generate(tokens(1, 3), max_new_tokens=2, do_sample=False).shape == (1, 5)
    with pytest.raises(UnsupportedError, match="sliding window of 6"):
        model.generate(tokens(1, 3), max_new_tokens=6, do_sample=False)
    for spec in ("bn", "softmax", "linear", "conv(3,causal=true)"):
        convert(model, spec, verbose=False)
        expected = _greedy(model, tokens(1, 3), torch.ones(1, 3, dtype=torch.long), 9)
        assert torch.equal(model.generate(tokens(1, 3), max_new_tokens=9, do_sample=False), expected)


def _cache_argument(model: PreTrainedModel) -> str:
    return (
        "cache"
        if "cache" in inspect.signature(inspect.unwrap(type(model).forward)).parameters
        else "past_key_values"
    )


def _greedy(model: PreTrainedModel, ids: Tensor, mask: Tensor, count: int) -> Tensor:
    """Greedy generation that computes every prefix anew."""
    for _ in range(count):
        best = logits(model, ids, mask)[:, -1].argmax(-1, keepdim=True)
        ids, mask = torch.cat([ids, best], 1), torch.cat([mask, torch.ones_like(best)], 1)
    return ids


@pytest.mark.long
def test_a_window_refuses_a_compiled_prompt_in_a_cache_of_fixed_size():
    model = converted(llama, "window(2)").eval()
    prompt = tokens(1, 7)
    mask = torch.ones_like(prompt)
    cache = StaticCache(config=model.config, max_cache_len=16)
    torch.compiler.reset()
    with torch.no_grad(), pytest.raises(UnsupportedError, match="process the prompt without compilation"):
        torch.compile(model, backend="aot_eager")(prompt, attention_mask=mask, cache=cache)
