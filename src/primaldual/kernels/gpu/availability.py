"""Where kernels in Triton run."""

from functools import cache
from importlib.util import find_spec

import torch


@cache
def available(device: str) -> bool:
    """Whether Triton compiles for devices of a type here: NVIDIA GPUs from compute capability 8.0 on.

    Example:
        >>> available("mps")
        False
    """
    if device != "cuda" or torch.version.hip or find_spec("triton") is None:
        return False
    return torch.cuda.get_device_capability() >= (8, 0)
