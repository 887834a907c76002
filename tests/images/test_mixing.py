from dataclasses import replace

import numpy as np
import pytest
import torch

from primaldual.images.mixing import Mixing
from primaldual.images.recipes import DEIT


@pytest.mark.parametrize("count", [1, 2, 5, 6])
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_images_and_targets_are_mixed_in_the_same_proportions(count, kind):
    np.random.seed(0)
    recipe = replace(DEIT, **{"mixup": 0.0, "cutmix": 0.0, kind: 1.0})
    images = torch.arange(float(count)).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
    mixed, targets = Mixing.of(recipe, count)(images, torch.arange(count))
    assert mixed.shape == images.shape
    torch.testing.assert_close(targets.sum(1), torch.ones(count))
    expected = targets @ torch.arange(float(count))
    torch.testing.assert_close(mixed.mean((1, 2, 3)), expected)


def test_a_recipe_without_mixing_has_none():
    assert Mixing.of(replace(DEIT, mixup=0.0, cutmix=0.0), 3) is None
