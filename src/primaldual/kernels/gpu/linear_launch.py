"""How kernels of linear attention are launched: chunks, blocks, and what is compiled into them."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
import triton
from torch import Tensor


class Launch(NamedTuple):
    """How a kernel is launched.

    Attributes:
        block: rows that a program takes at a time.
        warps: of a program.
        stages: blocks in flight between memory and products.
    """

    block: int
    warps: int
    stages: int


class Launches(NamedTuple):
    """How a kernel is launched, by what stands in registers.

    Attributes:
        narrow: operands in bfloat16, D and Dv up to 64.
        wide: operands in bfloat16.
        exact: operands in float32, D and Dv up to 64.
        exact_wide: operands in float32.
    """

    narrow: Launch
    wide: Launch
    exact: Launch
    exact_wide: Launch

    def of(self, setting: Setting) -> Launch:
        """The one for a setting."""
        if setting.wide:
            return self.exact_wide if setting.exact else self.wide
        return self.exact if setting.exact else self.narrow


class Chunks(NamedTuple):
    """How the rows of every head are cut.

    Attributes:
        size: rows of a chunk.
        number: chunks of a head.
    """

    size: int
    number: int


class Setting(NamedTuple):
    """What is compiled into every kernel.

    Attributes:
        constants: D, Dv, the blocks that hold them, the feature map, whether operands are in bfloat16, the
            precision of products.
        value_dim: Dv.
        sums: numbers of a state and a total.
        wide: D or Dv is above 64.
        exact: operands are in float32.
    """

    constants: tuple[object, ...]
    value_dim: int
    sums: int
    wide: bool
    exact: bool


def chunks(heads: int, length: int, block: int, programs: int) -> Chunks:
    """Chunks of whole blocks, so that heads and chunks make as many programs as wanted, if there are so many blocks.

    Example:
        >>> chunks(heads=16, length=1000, block=64, programs=64)
        Chunks(size=256, number=4)
    """
    wanted = max(programs // heads, 1)
    size = -(-length // (wanted * block)) * block
    return Chunks(size, -(-length // size))


@cache
def setting(
    head_dim: int,
    value_dim: int,
    dtype: torch.dtype,
    is_causal: bool,
    features: str,
    tf32: bool,
    compiled: bool,
) -> Setting:
    """The setting of tensors of a type.

    Numbers of type bfloat16 are multiplied as they are. Features and sums may leave the range of float16, so that its
    products, too, are of float32 numbers. Three products in tf32 are exact to about float32, and leave registers free
    where the kernel matrix of a block stands beside the states; they need more shared memory than wide states leave.

    Args:
        head_dim: D.
        value_dim: Dv.
        dtype: of query, key and value.
        is_causal: the kernels are those of causal attention.
        features: "elu+1" or "identity".
        tf32: whether float32 inputs may be multiplied in tf32.
        compiled: kernels are compiled for a GPU, not interpreted.
    """
    widths = [max(triton.next_power_of_2(width), 16) for width in (head_dim, value_dim)]
    wide = max(widths) > 64
    if dtype == torch.bfloat16:
        precision = "ieee" if compiled else "interpreted"
    elif tf32 and dtype == torch.float32:
        precision = "tf32"
    else:
        three = is_causal or (dtype == torch.float16 and not wide)
        precision = "tf32x3" if three else "ieee"
    half = dtype == torch.bfloat16
    constants = head_dim, value_dim, *widths, features, half, precision
    return Setting(constants, value_dim, head_dim * value_dim + head_dim, wide, not half)


def mask_strides(mask: Tensor | None) -> tuple[int, int]:
    """Strides of batch and heads, 0 where all share one row."""
    if mask is None:
        return 0, 0
    return mask.stride(0) if mask.shape[0] > 1 else 0, mask.stride(1) if mask.shape[1] > 1 else 0
