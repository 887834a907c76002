"""The table of forms: each form equals the definition wherever it does not refuse, and refuses in a sentence."""

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


def inputs(mask):
    tensors = torch.randn(3, 2, HEADS, LENGTH, WIDTH, generator=torch.Generator().manual_seed(0)).double()
    masks = {
        "none": None,
        "padding": torch.arange(LENGTH) >= torch.tensor([3, 20])[:, None, None, None],
        "pairs": torch.rand(1, 1, LENGTH, LENGTH, generator=torch.Generator().manual_seed(1)) > 0.3,
    }
    return [tensor.requires_grad_() for tensor in tensors.unbind(0)], masks[mask]


@pytest.mark.parametrize("mask", ["none", "padding", "pairs"])
@pytest.mark.parametrize("form", ON_CPU, ids=lambda form: form.name)
def test_a_form_equals_the_definition_where_it_does_not_refuse(form, mask, monkeypatch):
    """Forms that are chosen anyway are compared by the contract; here those that another one comes before."""
    everyone, served = choice.FORMS, 0
    for spec in SPECS:
        problem = prepared(preset(spec), HEADS, WIDTH).double()
        for is_causal in (False, True):
            tensors, allowed = inputs(mask)
            monkeypatch.setattr(choice, "FORMS", everyone)
            usual = problem.explain((2, HEADS, LENGTH, WIDTH), None, allowed, is_causal)
            monkeypatch.setattr(choice, "FORMS", (form, everyone[-1]))
            explained = problem.explain((2, HEADS, LENGTH, WIDTH), None, allowed, is_causal)
            if form.name not in explained.forms or problem.transform.observes:
                continue
            served += 1
            if usual.forms == explained.forms and served > 3:
                continue
            out = problem.attend(*tensors, allowed, is_causal)
            wanted = problem.dense(*tensors, allowed, is_causal)
            assert_close(out, wanted, rtol=1e-8, atol=1e-9, msg=lambda text, spec=spec: f"{spec}: {text}")
            seed = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).double()
            leaves = [*tensors, *problem.parameters()]
            grads = (torch.autograd.grad(result, leaves, seed, allow_unused=True) for result in (out, wanted))
            for found, expected in zip(*grads, strict=True):
                if found is not None or expected is not None:
                    assert_close(found, expected, rtol=1e-6, atol=1e-7)
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
