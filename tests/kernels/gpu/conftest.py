"""Kernels run on the GPU where there is one, else in Triton's interpreter, which then checks their addresses."""

import pytest
import torch

pytest.importorskip("triton")


@pytest.fixture
def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def within_bounds(request):
    """Fails where a kernel reads or writes outside of its tensors, but for those that find addresses in a table."""
    if torch.cuda.is_available() or request.module.__name__.endswith("test_decode_step"):
        yield
        return
    from tests.kernels.gpu.bounds import kept_within_bounds

    with kept_within_bounds():
        yield
