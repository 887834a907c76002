"""Where kernels in Triton run."""

from functools import cache
from importlib.util import find_spec

import torch

from primaldual.kernels.modes import known_to_compilers


@known_to_compilers
def available(device: str) -> bool:
    """Whether Triton compiles for devices of a type here: NVIDIA GPUs from compute capability 8.0 on.

    Example:
        >>> available("mps")
        False
    """
    return device == "cuda" and _compiles()


@cache
def _compiles() -> bool:
    if torch.version.hip or find_spec("triton") is None:
        return False
    # Without a GPU only explain asks, for one that Triton serves.
    return not torch.cuda.is_available() or torch.cuda.get_device_capability() >= (8, 0)
