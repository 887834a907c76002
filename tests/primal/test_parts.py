"""What a class of a part states and what it inherits."""

import pytest
import torch

from primaldual import FeatureMap, Identity, PrimalProblem, Transform
from primaldual.primal.normalizers import Normalizer
from primaldual.primal.orders import Order
from primaldual.primal.pair_weights import PairWeights

TENSORS = torch.randn(3, 1, 2, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Far(PairWeights):
    def log_weights(self, heads, count, queries, keys, inputs):
        return -(queries.unsqueeze(-1) - keys).abs().expand(1, len(heads.members), -1, -1).clone()


class Probe(Order):
    def dense_probe(self, fit, heads, inputs):
        return fit.query


class Doubled(Identity):
    def dense(self, query, keys, valid, heads):
        return 2 * query, 2 * keys


@pytest.mark.parametrize(
    "choices",
    [{"pair_weights": Far()}, {"order": Probe()}, {"transform": Doubled()}],
    ids=lambda found: next(iter(found)),
)
def test_a_subclass_of_a_default_acts_and_goes_by_its_own_name(choices):
    (part,) = choices.values()
    problem, softmax = PrimalProblem(**choices), PrimalProblem()
    assert problem.spec() == type(part).__name__
    outputs = problem.attend(*TENSORS)
    torch.testing.assert_close(outputs, problem.dense(*TENSORS))
    assert (outputs - softmax.attend(*TENSORS)).abs().max() > 0.01


def test_stated_weights_are_those_added_to_scores():
    query, key, value = TENSORS
    positions = torch.arange(6, dtype=torch.float64)
    scores = query @ key.mT / 2 - (positions[:, None] - positions).abs()
    torch.testing.assert_close(PrimalProblem(pair_weights=Far()).attend(*TENSORS), scores.softmax(-1) @ value)


@pytest.mark.parametrize(
    ("base", "choice", "needed"),
    [
        (FeatureMap, "feature_map", "kernel"),
        (Transform, "transform", "dense"),
        (Normalizer, "normalizer", "denominator"),
    ],
)
def test_a_class_without_its_definition_is_told_which_is_missing(base, choice, needed):
    unfinished = type("Unfinished", (base,), {})
    with pytest.raises(NotImplementedError, match=f"Unfinished must define {needed}"):
        PrimalProblem(**{choice: unfinished()}).attend(*TENSORS)
