"""Small tensors run faster, and the same everywhere, on one thread; CI draws the same examples every time."""

import os

os.environ["OMP_NUM_THREADS"] = (
    "1"  # also of processes that tests start, and of what a test sets back to its default
)

import pytest
import torch
from hypothesis import settings

from primaldual.primal.words import PARTS

torch.set_num_threads(1)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
settings.register_profile("here", deadline=None)  # a busy machine fails no test
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(autouse=True)
def one_thread():
    """Whatever a test before has changed: on a busy machine a second thread makes small operations 20 times as slow."""
    torch.set_num_threads(1)


@pytest.fixture
def words_as_before():
    """Forgets the words that a test registers."""
    before = dict(PARTS)
    yield
    PARTS.clear()
    PARTS.update(before)
