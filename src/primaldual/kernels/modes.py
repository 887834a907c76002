"""How a call is run: eagerly, recorded into a graph, or under transforms of functions."""

import torch
from torch.autograd import forward_ad


def in_graph() -> bool:
    """Whether operations are recorded to serve other inputs: torch.compile, torch.export, torch.jit.trace."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined] # public, not declared


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
