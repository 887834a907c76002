"""Gradients in the memory layout of what they belong to."""

from typing import Any

import torch
from torch import Tensor


def laid_out_as(gradient: Tensor, output: Tensor) -> Tensor:
    """The gradient with the strides of the output, copied only if it has others."""
    if gradient.stride() == output.stride():
        return gradient
    return torch.empty_like(output).copy_(gradient)


def gradient_laid_out(output: Tensor) -> Tensor:
    """The output of SDPA, whose gradient reaches SDPA in the output's own layout; on GPUs, elsewhere the output itself.

    PyTorch plans cuDNN's backward once for a layout of queries, keys and values, and runs that plan on gradients of any
    layout: those of a second layout are read in the order of the first, and the results are wrong without a word (seen
    on PyTorch 2.11, whose ``MHAParams`` lack the gradient's strides).
    """
    if output.device.type != "cuda" or not output.requires_grad:
        return output
    found: Tensor = _LaidOut.apply(output)
    return found


class _LaidOut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: Tensor) -> Tensor:
        ctx.save_for_backward(output)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        return laid_out_as(gradient, output)
