"""Composed solvers of a user, and what they may not return."""

import pytest
import torch
from torch.testing import assert_close

from primaldual import PrimalProblem
from primaldual.errors import ShapeError
from primaldual.primal.composed_solvers import ComposedSolver


class Residual(ComposedSolver):
    """A(q, k) (v - A(k, k) v)."""

    name = "residual"

    def outputs(self, query, key, value, attentions):
        return attentions.at_queries(query, key, value - attentions.at_keys(key, key, value))

    def attention_map(self, query, key, maps):
        eye = torch.eye(key.shape[2], dtype=key.dtype)
        return maps.at_queries(query, key) @ (eye - maps.at_keys(key, key))


def tensors():
    return torch.randn(3, 2, 2, 5, 4, generator=torch.Generator().manual_seed(0)).double().unbind(0)


@pytest.mark.parametrize("is_causal", [False, True])
def test_sums_and_matrices_agree(is_causal):
    problem = PrimalProblem(solver=Residual())
    found, wanted = (call(*tensors(), None, is_causal) for call in (problem.attend, problem.dense))
    assert_close(found, wanted)


@pytest.mark.parametrize(
    ("method", "call", "given", "message"),
    [
        (
            "outputs",
            "attend",
            None,
            r"outputs of residual must return a tensor of shape \(2, 2, 5, 4\); got NoneType",
        ),
        (
            "outputs",
            "attend",
            torch.zeros(2, 2, 1, 4),
            r"must be of shape \(2, 2, 5, 4\); got \(2, 2, 1, 4\)",
        ),
        (
            "attention_map",
            "dense",
            torch.zeros(2, 2, 5, 1),
            r"attention_map of residual must be .*; got \(2, 2, 5, 1\)",
        ),
    ],
)
def test_what_broadcasts_or_is_nothing_is_refused(method, call, given, message):
    solver = type("Wrong", (Residual,), {method: lambda self, *arguments: given})()
    with pytest.raises(ShapeError, match=message):
        getattr(PrimalProblem(solver=solver), call)(*tensors())


def test_outputs_have_the_type_of_the_values():
    solver = type("Wide", (Residual,), {"outputs": lambda self, q, k, v, a: a.at_queries(q, k, v).double()})()
    halves = [tensor.bfloat16() for tensor in tensors()]
    assert PrimalProblem(solver=solver).attend(*halves).dtype == torch.bfloat16
