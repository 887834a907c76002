"""Launches of kernels whose arguments have been seen before, without Triton's inspection of every argument."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

MOST = 4096
"""So many kinds of launches are remembered."""

_ready: dict[Any, Callable[..., None]] = {}


def blocks(length: int, size: int) -> int:
    """How many blocks of a size cover a length.

    Example:
        >>> blocks(130, 64)
        3
    """
    return -(-length // size)


def launch(
    kernel: Any,
    grid: tuple[int, int],
    tensors: tuple[Tensor, ...],
    numbers: tuple[float, ...],
    constants: tuple[Any, ...],
    warps: int,
    stages: int,
) -> None:
    """Run a kernel on the device of its tensors.

    Args:
        kernel: what ``triton.jit`` made; its parameters are the tensors, the numbers and the constants, in this order.
        grid: numbers of programs.
        tensors: at least one.
        numbers: sizes, strides and factors.
        constants: what it is compiled for.
        warps: of a program.
        stages: of its loops over memory.
    """
    device = tensors[0].get_device()
    if device >= 0 and device != torch.cuda.current_device():
        with torch.cuda.device(device):
            return launch(kernel, grid, tensors, numbers, constants, warps, stages)
    places = [tensor.data_ptr() for tensor in tensors]
    key = (
        id(kernel), grid, numbers, constants, warps, stages, device,
        tuple([tensor.dtype for tensor in tensors]), tuple([place % 16 for place in places]),
    )  # fmt: skip
    run = _ready.get(key)
    if run is not None:
        return run(*places, *numbers, *constants)
    compiled = kernel[grid](*tensors, *numbers, *constants, num_warps=warps, num_stages=stages)
    if compiled is not None:  # None in Triton's interpreter
        if len(_ready) >= MOST:
            _ready.clear()
        _ready[key] = compiled[(*grid, 1)]
    return None
