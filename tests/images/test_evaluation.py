import pytest
import torch
from torch import nn

from primaldual.images import evaluation
from primaldual.images.evaluation import evaluate
from primaldual.images.image_data import ImageData
from primaldual.images.transforms import test_view as whole_view
from tests.images.helpers import pixel_set


class Brightness(nn.Module):
    """Calls bright what is brighter than the average."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(3.0))

    def forward(self, images):
        shade = self.factor * (images.mean((1, 2, 3)) - 0.1)
        return torch.stack([-shade, shade], 1)


def test_scores_and_corruptions(monkeypatch):
    monkeypatch.setattr(evaluation, "CORRUPTED_AT_MOST", 6)
    told, data = [], ImageData(pixel_set(), whole_view(8))
    found = evaluate(Brightness().train(), data, 5, hear=told.append)
    assert (found.images, found.corrupted_images) == (12, 6)
    assert found.scores["top1"] == 1.0
    assert found.throughput > 0
    assert set(found.corrupted) == {"noise", "blur", "contrast", "jpeg"}
    assert found.corrupted["blur"] == pytest.approx({1: 1.0, 3: 1.0, 5: 1.0})
    assert told[0] == "testing under noise"


def test_corruptions_are_left_out_when_they_are_not_wanted():
    model = Brightness()
    found = evaluate(model, ImageData(pixel_set(), whole_view(8)), 5, corruptions=False)
    assert (found.corrupted, found.corrupted_images, model.training) == ({}, 0, True)
