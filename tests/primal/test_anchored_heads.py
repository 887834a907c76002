"""Sequences of fewer keys than ``min_length`` get plain softmax."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

from primaldual import preset
from primaldual.testing import check_attention

SPEC = "anchored(1,2,3,4,kept=0.5,min_length=6)"


@pytest.fixture
def problem():
    torch.manual_seed(0)
    made = preset(SPEC).bind(4, 6).double()
    torch.nn.init.normal_(made.subset.anchor)
    return made


def tensors(length, batch=1):
    return torch.randn(3, batch, 4, length, 6, dtype=torch.float64).unbind(0)


@pytest.mark.parametrize("is_causal", [False, True])
def test_short_sequences_get_softmax_and_long_ones_pairs(problem, is_causal):
    longer = preset("anchored(1,2,3,4,kept=0.5)").bind(4, 6).double()
    longer.load_state_dict(problem.state_dict())
    short, long = tensors(5), tensors(6)
    assert_close(
        problem.attend(*short, is_causal=is_causal), scaled_dot_product_attention(*short, is_causal=is_causal)
    )
    assert_close(problem.attend(*long)[:, :, -1], longer.attend(*long)[:, :, -1])


def test_each_sequence_of_a_padded_batch_is_judged_by_its_own_keys(problem):
    query, key, value = tensors(9, batch=3)
    mask = torch.ones(3, 1, 1, 9, dtype=torch.bool)
    mask[0, ..., 4:] = False
    mask[1, ..., :2] = False
    found = problem.attend(query, key, value, mask)
    for row in range(3):
        alone = [tensor[row : row + 1, :, mask[row, 0, 0]] for tensor in (key, value)]
        assert_close(found[row : row + 1], problem.attend(query[row : row + 1], *alone))


@pytest.mark.parametrize("length", [1, 5, 6, 7, 20])
@pytest.mark.parametrize("is_causal", [False, True])
def test_fast_forms_equal_the_definition_in_outputs_and_gradients(problem, length, is_causal):
    inputs = [tensor.requires_grad_() for tensor in tensors(length, batch=2)]
    mask = torch.ones(2, 1, 1, length, dtype=torch.bool)
    mask[1, ..., length // 3 :] = False
    found = [form(*inputs, mask, is_causal) for form in (problem.attend, problem.dense)]
    weights = torch.randn_like(found[0])
    gradients = [torch.autograd.grad((out * weights).sum(), inputs) for out in found]
    assert_close(*found)
    assert_close(*gradients)


def test_the_contract():
    check_attention(SPEC, heads=4, level="quick")


def test_short_calls_take_one_kernel_for_all_heads(problem):
    assert [part.heads for part in problem.explain((1, 4, 5, 6)).served] == [[0, 1, 2, 3]]
    assert len(problem.explain((1, 4, 6, 6)).served) == 4


def test_min_length_is_honoured_or_refused():
    assert preset(SPEC).spec() == SPEC
    assert "fewer than 6" in preset(SPEC).equation()
    for bad in ("min_length=4", "kept=0.5,min_length=-1", "kept=0.5,min_length=2.5"):
        with pytest.raises(ValueError, match="min_length"):
            preset(f"anchored(1,2,{bad})")


@pytest.mark.parametrize("spec", ["anchored(2)", "anchored(2,kept=0.5)"])
def test_keys_far_apart_keep_their_gradients_under_masks_by_query(spec):
    generator = torch.Generator().manual_seed(0)
    problem = preset(spec).bind(1, 3).double()
    torch.nn.init.normal_(problem.subset.anchor, generator=generator)
    query, key, value = torch.randn(3, 1, 1, 8, 3, generator=generator).double().unbind(0)
    key = key * torch.tensor([1, 1, 1, 500, 1, 2000, 1, 1]).unsqueeze(-1)
    mask = (torch.rand(8, 8, generator=generator) > 0.2) | torch.eye(8, dtype=torch.bool)
    leaves = [*(each.requires_grad_() for each in (query, key, value)), *problem.parameters()]
    found, wanted = (
        torch.autograd.grad(form(*leaves[:3], mask).sin().sum(), leaves)
        for form in (problem.attend, problem.dense)
    )
    for one, other in zip(found, wanted, strict=True):
        assert_close(one, other)
