import pytest
import torch
from torch.testing import assert_close

from primaldual.errors import ArgumentError
from primaldual.language import converted
from tests.language.helpers import model

TOKENS = torch.arange(8)[None]


def test_what_changes_nothing_changes_nothing():
    base = model()
    for same in (converted(base), converted(base, "sh(1)"), converted(base, kv_heads=4)):
        assert_close(same.decoder(TOKENS), base.decoder(TOKENS))
        assert same.decoder is not base.decoder


def test_a_group_gets_the_mean_of_its_heads():
    base = model()
    grouped = converted(base, kv_heads=2)
    for name in ("k_proj", "v_proj"):
        whole = getattr(base.decoder.layers[1].attention, name).weight
        found = getattr(grouped.decoder.layers[1].attention, name).weight
        for group in range(2):
            for row in range(2):
                expected = (whole[4 * group + row] + whole[4 * group + 2 + row]) / 2
                assert_close(found[2 * group + row], expected)
    assert grouped.config["kv_heads"] == 2
    assert base.config.get("kv_heads") is None


def test_heads_that_are_alike_already_lose_nothing():
    base = model()
    with torch.no_grad():
        for layer in base.decoder.layers:
            for part in (layer.attention.k_proj, layer.attention.v_proj):
                for tensor in (part.weight, part.bias):
                    tensor.copy_(
                        tensor.unflatten(0, (2, 2, 2))[:, :1].expand(2, 2, 2, *tensor.shape[1:]).flatten(0, 2)
                    )
    assert_close(converted(base, kv_heads=2).decoder(TOKENS), base.decoder(TOKENS))
    assert_close(converted(converted(base, kv_heads=2), kv_heads=1).cache_bytes(), base.cache_bytes() // 4)


def test_parameters_of_an_attention_stay_where_it_stays():
    base = model(attention="bn(learnable=true)")
    with torch.no_grad():
        for layer in base.decoder.layers:
            for weight in layer.attention.problem.parameters():
                weight.fill_(0.25)
    same, other = converted(base, kv_heads=2), converted(base, "bn(learnable=true)+sh(2)")
    assert all(
        float(one.detach().flatten()[0]) == 0.25
        for one in same.decoder.layers[0].attention.problem.parameters()
    )
    assert all(
        float(one.detach().flatten()[0]) == 1.0
        for one in other.decoder.layers[0].attention.problem.parameters()
    )
    assert_close(other.decoder.tokens.weight, base.decoder.tokens.weight)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ArgumentError, match="kv_heads must divide the 4 of the model; got 3"):
        converted(model(), kv_heads=3)
