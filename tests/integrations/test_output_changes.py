"""By how much another attention changes a model."""

import torch
from tests.integrations import torch_models as models
from torch import nn

from primaldual import preset
from primaldual.integrations.finding import find_sites
from primaldual.integrations.output_changes import output_changes, relative_change


def test_a_layer_that_is_not_used_does_not_change():
    class Partly(nn.ModuleDict):
        def forward(self, inputs):
            return self["used"](inputs)

    model = Partly({"used": models.encoder_layer(), "not": models.attention()})
    problems = [preset("bn").bind(4, 4) for _ in range(2)]
    changes, total = output_changes(model, find_sites(model), problems, models.sequences())
    assert changes[0] > 0.01
    assert changes[1] == 0
    assert total > 0.01
    assert all(problem.training for problem in problems)
    assert relative_change(torch.zeros(2), torch.zeros(2)) == 0
