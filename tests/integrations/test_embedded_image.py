"""The grids of images in several threads, and those of tokens that were seen before."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from primaldual.errors import ShapeError
from primaldual.integrations.embedded_image import EmbeddedImage, SeenGrids
from primaldual.kernels.layout import Layout


class Patches(nn.Module):
    """Patches of 1 pixel."""

    grid_size = 2, 2

    def forward(self, image):
        return image.movedim(1, -1)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches, self.block = Patches(), nn.Identity()

    def forward(self, rows, columns):
        tokens = self.patches(torch.zeros(1, 3, rows, columns)).flatten(1, 2) + 1
        return self.block(tokens)


@pytest.fixture
def model():
    return Model()


def test_the_layout_is_that_of_the_last_image_of_the_thread(model):
    image = EmbeddedImage(model.patches, (1, 2), 0, [model.block])
    assert image.layout(4) == Layout((2, 2), 0)
    model(1, 4)
    assert image.layout(4) == Layout((1, 4), 0)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(model, 4, 1).result()
        assert pool.submit(image.layout, 4).result() == Layout((4, 1), 0)
    assert image.layout(4) == Layout((1, 4), 0)
    with pytest.raises(ShapeError, match="needs 4 positions; got 5"):
        image.layout(5)
    image.forget()
    assert not model.patches._forward_hooks
    assert not model.block._forward_pre_hooks


def test_tokens_that_come_again_bring_their_grid(model):
    image = EmbeddedImage(model.patches, (1, 2), 0, [model.block])
    kept = model(1, 4)
    model(4, 1)
    model.block(kept.detach())
    assert image.layout(4) == Layout((1, 4), 0)
    for _ in range(300):
        model(2, 2)
    assert len(image.seen.tokens) <= 65
    model.block(kept)
    assert image.layout(4) == Layout((1, 4), 0)


def test_layers_share_what_was_seen_and_copies_do_not(model):
    images = [EmbeddedImage(model.patches, (1, 2), 0, [model.block]) for _ in range(2)]
    assert images[0].seen is images[1].seen
    model.images = images
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        copied(1, 4)
        assert [image.layout(4) for image in copied.images] == [Layout((1, 4), 0)] * 2
        assert isinstance(copied.images[0].seen, SeenGrids)
        assert copied.images[0].seen is copied.images[1].seen
    assert images[0].layout(4) == Layout((2, 2), 0)
