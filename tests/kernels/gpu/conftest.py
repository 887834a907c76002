"""Kernels run on the GPU where there is one, else in Triton's interpreter."""

import pytest
import torch

pytest.importorskip("triton")


@pytest.fixture
def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
