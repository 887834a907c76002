"""What the kernels of linear attention serve, readable without Triton."""

from functools import cache

import torch

from primaldual.kernels.modes import known_to_compilers

WIDEST = 128
"""Largest number of features, and largest Dv: the state of a head, F x Dv in float32, stands in registers."""

NARROW = 64
"""The same on GPUs whose multiprocessors have less than :data:`SHARED_MEMORY`."""

SHARED_MEMORY = 200 * 2**10
"""Bytes of shared memory that a program takes at most, rounded up."""

DTYPES = torch.bfloat16, torch.float16, torch.float32


@known_to_compilers
def widest(device: str) -> int:
    """The largest number of features, and the largest Dv, on a type of device.

    Example:
        >>> widest("cpu")
        128
    """
    return _widest() if device == "cuda" and torch.cuda.is_available() else WIDEST


@cache
def _widest() -> int:
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return WIDEST if properties.shared_memory_per_multiprocessor >= SHARED_MEMORY else NARROW
