"""Calls like earlier ones: what was found out is used again, and only as long as it holds."""

import gc
import weakref

import pytest
import torch

from primaldual import preset
from primaldual.primal import remembered
from primaldual.primal.forms import choice
from primaldual.primal.parts import Part
from primaldual.primal.patterns import Window


@pytest.fixture
def choices(monkeypatch):
    """Counts how often forms are asked."""
    asked = []

    def counted(*arguments):
        asked.append(arguments)
        return choice.choose(*arguments)

    monkeypatch.setattr(remembered, "choose", counted)
    return asked


def test_the_form_is_chosen_once_for_calls_alike(choices):
    problem, tensors = preset("softmax"), torch.randn(3, 1, 2, 6, 4).unbind(0)
    first = problem.attend(*tensors)
    assert torch.equal(problem.attend(*tensors), first)
    assert len(choices) == 1
    problem.attend(*tensors, is_causal=True)
    problem.attend(*(tensor.double() for tensor in tensors))
    problem.attend(*(tensor[:, :, :5] for tensor in tensors))
    assert len(choices) == 4


def test_another_part_or_a_changed_one_is_asked_again(choices):
    problem, tensors = preset("softmax"), torch.randn(3, 1, 2, 6, 4).unbind(0)
    problem.attend(*tensors)
    problem.subset = Window(1)
    torch.testing.assert_close(problem.attend(*tensors), problem.dense(*tensors))
    problem.eval()
    problem.attend(*tensors)
    assert len(choices) == 3


def test_a_part_of_a_part_that_changes_is_asked_again():
    problem, tensors = preset("window(1)|sh(1,2)"), torch.randn(3, 1, 2, 6, 4).unbind(0)
    problem.attend(*tensors)
    pooled = next(part for part in problem.subset.modules() if getattr(part, "scales", None) == (1, 2))
    pooled.scales = (2, 1)
    torch.testing.assert_close(problem.attend(*tensors), problem.dense(*tensors))


def test_hooks_still_see_every_call():
    problem, tensors, seen = preset("softmax"), torch.randn(3, 1, 2, 6, 4).unbind(0), []
    problem.register_forward_hook(lambda *arguments: seen.append(1))
    for _ in range(2):
        problem.attend(*tensors)
    assert len(seen) == 2


def test_transforms_of_functions_take_the_definition_after_an_eager_call():
    problem, tensors = preset("softmax"), torch.randn(3, 1, 2, 6, 4).unbind(0)
    problem.attend(*tensors)
    batched = torch.func.vmap(lambda query: problem.attend(query, *tensors[1:]))(tensors[0][None])
    torch.testing.assert_close(batched[0], problem.attend(*tensors))


def test_a_problem_that_is_gone_is_forgotten():
    problem = preset("softmax")
    problem.attend(*torch.randn(3, 1, 2, 6, 4).unbind(0))
    held = weakref.ref(problem)
    assert problem in remembered._known
    del problem
    gc.collect()
    assert held() is None


def test_few_sizes_are_remembered(monkeypatch):
    monkeypatch.setattr(remembered, "MOST", 3)
    problem = preset("softmax")
    for length in range(2, 9):
        problem.attend(*torch.randn(3, 1, 2, length, 4).unbind(0))
    assert len(remembered._known[problem].calls) <= 3


@pytest.mark.parametrize(
    "spec",
    ["bn", "top(1,2)", "window(1)|top(1,2)", "elliptical", "elliptical+conv(3)", "hca(2,3)", "conv2d(3)"],
)
def test_a_call_forgets_nothing_about_parts(spec):
    problem = preset(spec).bind(2, 4)
    tensors = torch.randn(3, 1, 2, 9, 4).unbind(0)
    inputs = {need.name: torch.zeros(1, 2, 9, 4) for need in problem.token_inputs if need.name != "value"}
    problem.attend(*tensors, inputs=inputs or None)
    before = Part.changes
    problem.attend(*tensors, inputs=inputs or None)
    assert Part.changes == before
