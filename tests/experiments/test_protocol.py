from __future__ import annotations

import pytest

from primaldual.errors import ArgumentError
from primaldual.experiments.protocol import EvaluationProtocol


def test_only_the_paper_protocol_is_optimistic_and_says_so():
    honest, paper = EvaluationProtocol(), EvaluationProtocol("paper")
    assert (honest.optimistic, paper.optimistic) == (False, True)
    assert honest.described()["test part read"] == "once, after training"
    assert paper.described()["test part read"] == "after every epoch"


def test_the_budget_of_a_search_is_part_of_it():
    assert (
        EvaluationProtocol(trials=5, folds=3).described()["search"] == "5 settings, 3 folds of the train part"
    )


@pytest.mark.parametrize(
    ("given", "message"), [({"name": "papr"}, "did you mean paper"), ({"trials": 3}, "at least 2 folds")]
)
def test_bad_protocols_are_refused(given, message):
    with pytest.raises(ArgumentError, match=message):
        EvaluationProtocol(**given)
