"""The table of forms: each form equals the definition wherever it does not refuse, and refuses in a sentence."""

import itertools
from functools import cache, partial

import pytest
import torch
from tests.contract_specs import SPECS
from torch.testing import assert_close

from primaldual import preset
from primaldual.primal.forms import choice
from primaldual.testing.inputs import prepared

LENGTH, HEADS, WIDTH = 70, 4, 6
ON_CPU = [form for form in choice.FORMS[:-1] if not form.name.endswith("by Triton")]
"""The others have tests of their own."""


@cache
def inputs(mask):
    tensors = torch.randn(3, 2, HEADS, LENGTH, WIDTH, generator=torch.Generator().manual_seed(0)).double()
    masks = {
        "none": None,
        "padding": torch.arange(LENGTH) >= torch.tensor([3, 20])[:, None, None, None],
        "pairs": torch.rand(1, 1, LENGTH, LENGTH, generator=torch.Generator().manual_seed(1)) > 0.3,
    }
    return [tensor.requires_grad_() for tensor in tensors.unbind(0)], masks[mask]


@cache
def bound(spec):
    return prepared(preset(spec), HEADS, WIDTH).double()


@cache
def usual_forms(spec, mask, is_causal):
    return bound(spec).explain((2, HEADS, LENGTH, WIDTH), None, inputs(mask)[1], is_causal).forms


def with_gradients(spec, mask, is_causal, form):
    """Outputs, and gradients of inputs and parameters."""
    tensors, allowed = inputs(mask)
    out = getattr(bound(spec), form)(*tensors, allowed, is_causal)
    seed = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).double()
    leaves = [*tensors, *bound(spec).parameters()]
    return out.detach(), *torch.autograd.grad(out, leaves, seed, allow_unused=True)


definition = cache(partial(with_gradients, form="dense"))


@pytest.mark.parametrize("mask", ["none", "padding", "pairs"])
@pytest.mark.parametrize("form", ON_CPU, ids=lambda form: form.name)
def test_a_form_equals_the_definition_where_it_does_not_refuse(form, mask, monkeypatch):
    """Forms that are chosen anyway are compared by the contract; here those that another one comes before."""
    served, last = 0, choice.FORMS[-1]
    for spec, is_causal in itertools.product(SPECS, (False, True)):
        usual = usual_forms(spec, mask, is_causal)
        with monkeypatch.context() as only:
            only.setattr(choice, "FORMS", (form, last))
            forms = bound(spec).explain((2, HEADS, LENGTH, WIDTH), None, inputs(mask)[1], is_causal).forms
            if form.name not in forms or bound(spec).transform.observes:
                continue
            served += 1
            if usual == forms and served > 3:
                continue
            found = with_gradients(spec, mask, is_causal, "attend")
        wanted = definition(spec, mask, is_causal)
        scene = f"{spec}, is_causal {is_causal}"
        assert_close(
            found[0], wanted[0], rtol=1e-8, atol=1e-9, msg=lambda text, scene=scene: f"{scene}: {text}"
        )
        for one, other in zip(found[1:], wanted[1:], strict=True):
            if one is not None or other is not None:
                assert_close(one, other, rtol=1e-6, atol=1e-7)
    assert bool(served) == (
        (form.name, mask)
        not in {
            (name, "pairs")
            for name in ("pieces", "band", "factored", "merged", "decayed", "factored ridge", "kernel ridge")
        }
    )


@pytest.mark.parametrize("spec", SPECS)
def test_every_refusal_is_a_sentence(spec):
    for is_causal in (False, True):
        explained = preset(spec).bind(4, 6).explain((2, 4, 64, 6), is_causal=is_causal)
        for part in explained.served:
            assert all(len(reason.split()) > 2 for reason in part.refusals.values())
            assert part.cost.operations > 0
            assert part.form not in part.refusals


def test_each_set_of_heads_has_a_form_of_its_own():
    mask = torch.ones(64, 64, dtype=torch.bool).tril(-1)
    explained = preset("sh(1,2,2,1)").explain((1, 4, 64, 6), mask=mask)
    assert [(part.heads, part.form) for part in explained.served] == [([0, 3], "softmax"), ([1, 2], "scores")]
    tensors, _ = inputs("none")
    tensors = [tensor[:, :, :64].detach() for tensor in tensors]
    problem = preset("sh(1,2,2,1)")
    assert_close(problem.attend(*tensors, mask), problem.dense(*tensors, mask))


def test_transforms_of_functions_and_empty_inputs_take_the_definition():
    problem = preset("bn+sh(1,2)")
    query = torch.randn(3, 1, 2, 9, 4)
    assert problem.explain((1, 2, 9, 4), (1, 2, 0, 4)).forms == ["dense"]
    found = torch.vmap(lambda each: problem.attend(each, each, each, is_causal=True))(query)
    assert_close(found, torch.stack([problem.dense(each, each, each, is_causal=True) for each in query]))
