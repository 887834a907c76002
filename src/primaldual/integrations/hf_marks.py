"""What converted layers of transformers carry with them, and how a config names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from primaldual.errors import UnsupportedError
from primaldual.integrations.hf_function import NAME
from primaldual.integrations.hf_register import register_converted


class Registration:
    """A mark on converted layers, which registers the attention function again when one is unpickled."""

    def __reduce__(self) -> tuple[Callable[[], Registration], tuple[()]]:
        return registered, ()


def registered() -> Registration:
    """Register the function of converted layers."""
    register_converted()
    return Registration()


def check_implementation(module: Any, arguments: object) -> None:
    """Forward pre-hook of converted layers: refuse a model whose attention implementation was set after conversion.

    Raises:
        UnsupportedError: the layer's model would attend past the layer's problem.
    """
    del arguments
    implementation = module.config._attn_implementation
    if implementation != NAME:
        raise UnsupportedError(
            f"a {type(module).__name__} that was converted to {module.problem.spec()!r} is passed by, because the "
            f"model's attention implementation was set to {implementation!r}: call primaldual.revert first, or "
            f"set_attn_implementation({NAME!r}) again"
        )


def base_of(owner: nn.Module) -> nn.Module:
    """The model without its heads for tasks, from which paths in a config's entry count."""
    base: nn.Module = getattr(owner, "base_model", owner)
    return base


def name_in(owner: nn.Module, module: nn.Module) -> str:
    """The path of a layer in a config's entry; it does not depend on the head for a task."""
    for model in (base_of(owner), owner):
        for path, candidate in model.named_modules():
            if candidate is module:
                return str(path)
    raise UnsupportedError(f"{type(owner).__name__} does not contain this {type(module).__name__}")
