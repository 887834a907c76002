import pytest
import torch

import primaldual as pdl
from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.parallel import attend, sharded
from primaldual.parallel.refusals import refusal

REFUSED = [
    ("conv(3,queries=true)", False, "mixes each query"),
    ("boost(2)", True, "residuals at all queries"),
    ("window(3)", False, "counts positions"),
    ("alibi", False, "counts positions"),
    ("sh(2,grid=3x4)", True, "prefixes of a grid"),
    ("bn(running=true)", True, "running statistics"),
]


@pytest.mark.parametrize(("spec", "is_causal", "reason"), REFUSED)
def test_what_cannot_be_split_is_refused_with_its_reason(spec, is_causal, reason):
    assert reason in refusal(pdl.preset(spec).parts(), is_causal)


@pytest.mark.parametrize(
    "spec", ["softmax", "bn+sh", "linear", "lla", "conv(3)", "whiten", "boost(2,residual=keys)"]
)
@pytest.mark.parametrize("is_causal", [False, True])
def test_what_can_be_split_is_not(spec, is_causal):
    assert refusal(pdl.preset(spec).parts(), is_causal) is None


def test_a_mask_of_one_length_is_refused():
    subset = pdl.MaskedKeys(torch.ones(4, 4, dtype=torch.bool))
    assert "of one length" in refusal(pdl.PrimalProblem(subset=subset).parts(), is_causal=True)


def test_decoding_is_refused_inside_the_context():
    layer = pdl.MultiheadAttention(8, 2, batch_first=True)
    state = layer.init_state(1)
    with sharded(layer):
        for call in (lambda: layer.init_state(1), lambda: layer.step(state, torch.zeros(1, 1, 8))):
            with pytest.raises(UnsupportedError, match="does not decode"):
                call()
    assert layer.step(state, torch.zeros(1, 1, 8)).shape == (1, 1, 8)


def test_a_model_without_attention_is_refused():
    with pytest.raises(ArgumentError, match="layers of this library"), sharded(torch.nn.Linear(2, 2)):
        pass


def test_a_process_without_a_group_is_told_so():
    with pytest.raises(UnsupportedError, match="init_process_group"):
        attend("softmax", *torch.randn(3, 1, 1, 4, 8))
