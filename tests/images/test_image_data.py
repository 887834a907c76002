import random

import numpy as np
import pytest
import torch

from primaldual.errors import DataError
from primaldual.images import read_folder
from primaldual.images.image_data import ImageData
from primaldual.images.mixing import Mixing
from primaldual.images.recipes import DEIT
from primaldual.images.transforms import test_view as whole_view
from primaldual.images.transforms import training_view
from tests.images.helpers import pixel_set, write_images

BATCHES = [torch.tensor([4, 1, 7]), torch.tensor([0, 2])]


def augmented(workers=0, mixing=False, size=8):
    mixed = Mixing.of(DEIT, 2) if mixing else None
    return ImageData(pixel_set(), training_view(size, DEIT), drawn=True, mixing=mixed, workers=workers)


def loaded(data, batches=BATCHES, seed=0):
    return list(data.load(batches, seed))


def test_the_test_view_is_the_image_itself():
    [batch] = loaded(ImageData(pixel_set(), whole_view(8)), BATCHES[:1])
    expected = torch.from_numpy(pixel_set().pixels[[4, 1, 7]].astype(np.float32) / 255)[:, None]
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (expected - mean[:, None, None]) / deviation[:, None, None]
    torch.testing.assert_close(batch.images, expected)
    assert batch.targets.tolist() == [0, 1, 1]


@pytest.mark.parametrize("size", [8, 80])
def test_what_is_drawn_for_an_image_depends_on_seed_and_image_alone(size):
    data = augmented(size=size)
    first, second = loaded(data), loaded(data)
    other = loaded(data, seed=1)
    for one, again in zip(first, second, strict=True):
        assert torch.equal(one.images, again.images)
    assert not torch.equal(first[0].images, other[0].images)
    [alone] = loaded(data, [torch.tensor([7])])
    assert torch.equal(alone.images[0], first[0].images[2])


@pytest.mark.parametrize("mixing", [False, True])
def test_workers_load_the_same_and_draw_nothing_here(mixing):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    here, there = loaded(augmented(0, mixing)), loaded(augmented(2, mixing))
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets, other.targets)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()
    assert before[2] == random.getstate()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_cannot_be_read_is_named(tmp_path, workers):
    write_images(tmp_path)
    images = read_folder(tmp_path).training
    (tmp_path / images.files[1]).write_bytes(b"")
    data = ImageData(images, whole_view(8), workers=workers)
    with pytest.raises(DataError, match=rf"^file .*{images.files[1]} is not a readable image"):
        loaded(data)
