from dataclasses import replace

import pytest
import torch
from PIL import Image

from primaldual.images.recipes import RECIPES
from primaldual.images.transforms import pixels_of, training_view
from primaldual.images.transforms import test_view as whole_view


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("size", [8, 32, 96])
def test_views_have_the_size_whatever_the_image(recipe, size):
    image = Image.new("RGB", (50, 37), (255, 128, 0))
    for view in (training_view(size, recipe), whole_view(size)):
        assert view(image).shape == (3, size, size)


def test_pixels_are_found_again():
    seen = whole_view(8)(Image.new("RGB", (8, 8), (255, 51, 0)))
    expected = torch.tensor([1.0, 0.2, 0.0])[:, None, None].expand(3, 8, 8)
    torch.testing.assert_close(pixels_of(seen), expected, atol=1e-6, rtol=0)


def test_every_draw_of_rand_augment_gives_an_image():
    """Magnitudes beyond 10 made timm ask Pillow for images of 0 bits."""
    view = training_view(16, replace(RECIPES["deit"], rand_augment="rand-m10-mstd2-inc1"))
    for _ in range(60):
        assert view(Image.new("RGB", (16, 16), (255, 128, 0))).isfinite().all()
