"""How a call is run: eagerly, recorded into a graph, or under transforms of functions."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.autograd import forward_ad

Function = TypeVar("Function", bound=Callable[..., Any])


def in_graph() -> bool:
    """Whether operations are recorded to serve other inputs: torch.compile, torch.export, torch.jit.trace."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined] # public, not declared


def portable() -> bool:
    """Whether the operations are recorded to run where this library may not be: torch.export, torch.jit.trace."""
    # torch.compiler.is_exporting reads the same flag, but is taken for true by torch.compile of torch 2.11.
    return torch.compiler._is_exporting_flag or torch.jit.is_tracing()  # type: ignore[attr-defined] # public, not declared


def known_to_compilers(function: Function) -> Function:
    """Let torch.compile call a function of constants for its result in place of tracing it.

    This is the mark of ``torch.compiler.assume_constant_result``, whose call imports the compiler.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined] # a function takes any
    return function


def in_transform() -> bool:
    """Whether a transform of torch.func or forward-mode differentiation is under way.

    Each operation then needs rules for it, which fused ones do not have.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def serves_other_lengths() -> bool:
    """Whether what is recorded now also runs on other lengths without being recorded again: export and trace."""
    return torch.compiler.is_exporting() or in_trace()


def in_trace() -> bool:
    """Whether torch.jit.trace records, to which lengths are tensors."""
    return torch.jit.is_tracing()  # type: ignore[attr-defined] # public, not declared
