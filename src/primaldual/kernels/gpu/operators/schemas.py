"""How operators take and give what their schemas have no type for."""

from torch import Tensor

from primaldual.kernels.gpu.strides import heads_last

HeadNumbers = float | Tensor


def divided(beta: HeadNumbers) -> tuple[Tensor | None, float]:
    """A number of all heads, or one for each, as a tensor and a number."""
    return (beta, 0.0) if isinstance(beta, Tensor) else (None, float(beta))


def joined(beta: Tensor | None, number: float) -> HeadNumbers:
    """What :func:`divided` divided."""
    return number if beta is None else beta


def present(tensor: Tensor | None, like: Tensor) -> Tensor:
    """The tensor; an empty one for None, which no operator gives."""
    return like.new_empty(0) if tensor is None else tensor


def like_heads_last(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Empty tensors of the same shapes, heads last in memory."""
    return tuple(heads_last(tensor, tensor.shape[3]) for tensor in tensors)
