from dataclasses import replace

import pytest
import torch

from primaldual.training import Classification
from primaldual.training.accelerators import run_accelerator
from primaldual.training.validation import mean_loss_and_score
from tests.training.helpers import toy_examples, toy_model


def test_losses_are_weighted_and_scores_are_not():
    model, objective = toy_model().eval(), Classification()
    data = replace(toy_examples(10), weights=torch.arange(10.0))
    with torch.no_grad():
        outputs = model(data.values, data.padding)
    losses = objective.loss(outputs, data.targets) * data.weights
    expected = losses.sum() / 45, objective.score(outputs, data.targets).mean()
    with run_accelerator("cpu") as accelerator:
        found = mean_loss_and_score(lambda batch: model(*batch.inputs), objective, data, 4, accelerator)
    assert found == pytest.approx([one.item() for one in expected], rel=1e-5)
