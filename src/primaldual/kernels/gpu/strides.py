"""Memory layouts that kernels read and operators promise."""

from torch import Tensor


def unit_stride(tensor: Tensor) -> Tensor:
    """The tensor with features side by side in memory."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def heads_before_features(tensor: Tensor) -> Tensor:
    """A tensor (batch, heads, length, width) that lies as (batch, length, heads, width), copied only if it does not."""
    if tensor.stride() == _strides_of(tensor.shape):
        return tensor
    return tensor.transpose(1, 2).contiguous().transpose(1, 2)


def heads_last(like: Tensor, width: int) -> Tensor:
    """An empty (batch, heads, Nq, width) with heads last in memory."""
    shape = (*like.shape[:3], width)
    return like.new_empty_strided(shape, _strides_of(shape))


def _strides_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    _, heads, length, width = shape
    return length * heads * width, width, heads * width, 1
