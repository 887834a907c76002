"""Small tensors run faster, and the same everywhere, on one thread; CI draws the same examples every time."""

import os

import pytest
import torch
from hypothesis import settings

from primaldual.primal.words import PARTS

torch.set_num_threads(1)
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture
def words_as_before():
    """Forgets the words that a test registers."""
    before = dict(PARTS)
    yield
    PARTS.clear()
    PARTS.update(before)
