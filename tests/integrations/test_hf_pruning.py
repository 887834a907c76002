"""Heads cut out of transformers' layers."""

from collections.abc import Callable

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
    qwen3,
    roberta,
    tokens,
    vit,
)
from tests.integrations.test_hf_models import images
from torch import Tensor
from transformers import PreTrainedModel

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.integrations.attention_hooks import AttentionCall, attending, watching
from primaldual.integrations.conversion import convert, revert
from primaldual.integrations.finding import find_sites

KEPT = {bert: [0, 3], roberta: [2], gpt2: [1, 2, 3], llama: [2, 3], qwen3: [0, 1]}


def without(model: PreTrainedModel, keep: list[int], call: Callable[[], Tensor]) -> Tensor:
    """What a model gives when the other heads of its first layer give 0."""

    def look(seen: AttentionCall) -> Tensor:
        mask = torch.zeros(seen.outputs.shape[1]).index_fill(0, torch.tensor(keep), 1.0)
        return seen.outputs * mask[:, None, None].to(seen.outputs)

    with attending(model, 0) as sites, watching(sites, look):
        return call()


@pytest.mark.parametrize("build", list(KEPT))
@pytest.mark.parametrize("spec", [None, "softmax", "bn(learnable=true)+sh(1,2,2,4)", "conv(3)"])
def test_heads_that_are_cut_out_give_nothing(build: Callable[..., PreTrainedModel], spec: str | None) -> None:
    model, keep = made(build).double(), KEPT[build]
    if spec is not None:
        convert(model, spec, verbose=False)
    ids, mask = tokens(2, 6), left_padded([6, 4])
    expected = without(model, keep, lambda: logits(model, ids, mask))
    before = sum(parameter.numel() for parameter in model.parameters())
    site = find_sites(model)[0]
    site.prune(keep)
    assert (site.heads, site.problem is None) == (len(keep), spec is None)
    assert sum(parameter.numel() for parameter in model.parameters()) < before
    torch.testing.assert_close(
        logits(model, ids, mask)[mask.bool()], expected[mask.bool()], atol=1e-9, rtol=0
    )
    model.train()(input_ids=ids)[0].sum().backward()
    revert(model)
    assert logits(model, ids, mask)[mask.bool()].isfinite().all()


def test_heads_of_vision_models() -> None:
    model = made(vit)
    convert(model, "bn+sh", verbose=False)

    def call() -> Tensor:
        with torch.no_grad():
            return model(images()).last_hidden_state

    expected = without(model, [1, 3], call)
    find_sites(model)[0].prune([1, 3])
    torch.testing.assert_close(call(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("place", range(6))
def test_heads_of_encoders_and_decoders(place: int) -> None:
    model = made(bart)
    convert(model, "bn", verbose=False)
    find_sites(model)[place].prune([0, 2])
    with torch.no_grad():
        assert model(input_ids=tokens(2, 6), decoder_input_ids=tokens(2, 5)).logits.isfinite().all()


def test_generation_with_fewer_heads() -> None:
    model = made(llama)
    convert(model, "bn+sh", verbose=False)
    find_sites(model)[0].prune([0, 1])
    settings = {"do_sample": False, "max_new_tokens": 5}
    expected = model.generate(tokens(2, 4), use_cache=False, **settings)
    assert torch.equal(model.generate(tokens(2, 4), **settings), expected)
    static = model.generate(tokens(2, 4), cache_implementation="static", **settings)
    assert torch.equal(static, expected)


@pytest.mark.parametrize("build", [llama, qwen3])
def test_heads_that_share_keys_go_together(build: Callable[..., PreTrainedModel]) -> None:
    model = made(build)
    names = set(model.state_dict())
    with pytest.raises(UnsupportedError, match="share a key head"):
        find_sites(model)[0].prune([0, 2])
    assert find_sites(model)[0].heads == 4
    assert set(model.state_dict()) == names
    assert not hasattr(model.config, "primaldual")


@pytest.mark.parametrize("keep", [[], [4], [-1]])
def test_heads_that_are_not_there(keep: list[int]) -> None:
    with pytest.raises(ArgumentError, match="among 0 to 3"):
        find_sites(made(bert))[0].prune(keep)
