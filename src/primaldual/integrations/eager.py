"""Run compiled models eagerly for a while: what was compiled before knows nothing of hooks that are added later."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch
from torch import nn

from primaldual.errors import UnsupportedError


class _Stance:
    """torch.compiler has one stance for all threads: the first block sets it, and the last one restores it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.blocks = 0
        self.set: Any = None

    def enter(self) -> None:
        with self.lock:
            if not self.blocks:
                self.set = torch.compiler.set_stance("force_eager")
            self.blocks += 1

    def leave(self) -> None:
        with self.lock:
            self.blocks -= 1
            if not self.blocks:
                self.set.__exit__(None, None, None)


_stance = _Stance()


@contextmanager
def eager(model: nn.Module) -> Iterator[None]:
    """Until the end, run everything that torch.compile has compiled eagerly, in all threads.

    Raises:
        UnsupportedError: a compiled model under a torch without ``torch.compiler.set_stance``, which came with 2.6.
    """
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and the import takes a second
        yield
        return
    if not hasattr(torch.compiler, "set_stance"):
        if any(is_compiled(module) for module in model.modules()):
            raise UnsupportedError(
                f"model must not be compiled under torch {torch.__version__}, or torch be 2.6 or later; got a compiled "
                f"{type(model).__name__}"
            )
        yield
        return
    _stance.enter()
    try:
        yield
    finally:
        _stance.leave()


def is_compiled(module: nn.Module) -> bool:
    """Whether torch.compile has compiled a module itself, not one inside it."""
    return module._compiled_call_impl is not None or type(module).__name__ == "OptimizedModule"
