from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from primaldual.sequences.evaluation import evaluate
from primaldual.sequences.token_data import TokenData
from primaldual.sequences.token_sets import TokenSet, bounds_of


class FirstToken(nn.Module):
    """Is sure of the class that the first token names."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(9.0))

    def forward(self, tokens, padding):
        return self.scale * nn.functional.one_hot(tokens[:, 0], 3).float()


def test_labels_stay_with_their_cases_when_they_are_sorted_by_length():
    lengths = np.array([5, 1, 3, 2])
    tokens = np.zeros(lengths.sum(), dtype=np.uint8)
    bounds = bounds_of(lengths)
    tokens[bounds[:, 0, 0]] = [0, 1, 2, 1]
    cases = TokenSet("few", ("a", "b", "c"), 3, tokens, bounds, np.array([0, 1, 2, 0]), "")
    model = FirstToken().train()
    found = evaluate(model, TokenData(cases), batch_size=2)
    assert (found.cases, found.accuracy) == (4, 0.75)
    sure = torch.tensor([9.0, 0.0, 0.0]).log_softmax(0)
    assert found.log_loss == pytest.approx(-float(3 * sure[0] + sure[1]) / 4, rel=1e-5)
    assert model.training
