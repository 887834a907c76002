import pytest
import torch
from torch.testing import assert_close

from primaldual.errors import ArgumentError
from primaldual.language import LanguageModel, with_cache_share
from tests.language.helpers import model

TOKENS = torch.randint(256, (60,), generator=torch.Generator().manual_seed(0))


def large():
    return model(context=32)


def test_the_cache_takes_at_most_the_share_and_the_model_is_saved_with_its_scales(tmp_path):
    base = large()
    half = with_cache_share(base, TOKENS, 0.5)
    assert 0.35 * base.cache_bytes() < half.cache_bytes() <= 0.5 * base.cache_bytes()
    assert base.attention == "softmax"
    assert_close(half.decoder.tokens.weight, base.decoder.tokens.weight)
    half.save(tmp_path)
    again = LanguageModel.load(tmp_path)
    assert again.attention == half.attention
    assert torch.equal(again.decoder(TOKENS[None, :32]), half.decoder(TOKENS[None, :32]))


def test_a_head_that_nothing_listens_to_is_pooled_most():
    base = large()
    with torch.no_grad():
        for block in base.decoder.blocks():
            block.attention.out_proj.weight[:, 2:].zero_()
    for block in with_cache_share(base, TOKENS, 0.5).decoder.blocks():
        first, *others = block.attention.problem.subset.head_scales(4)
        assert first == 1 < min(others)


def test_what_cannot_be_chosen_is_refused():
    with pytest.raises(
        ArgumentError, match="cache must be left out where the attention is not softmax; got bn"
    ):
        with_cache_share(model(attention="bn"), TOKENS, 0.5)
    with pytest.raises(ArgumentError, match=r"cache must lie in \(0, 1\]; got 0"):
        with_cache_share(large(), TOKENS, 0)
    with pytest.raises(ArgumentError, match="budget must"):
        with_cache_share(large(), TOKENS, 0.05)


def test_the_last_window_of_a_long_text_ends_with_it():
    """Single-precision numbers would round its place up, behind the text."""
    made = model(num_layers=1)
    tokens = torch.zeros(2**24 + 3 + made.decoder.context, dtype=torch.uint8)
    assert with_cache_share(made, tokens, 1.0).attention == "sh(1,1,1,1)"
