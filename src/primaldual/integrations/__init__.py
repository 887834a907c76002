"""Attention of this library inside models of torch, timm and transformers."""

from importlib import import_module

__all__ = ["hf_attention", "timm_layers", "torch_layers"]


def __getattr__(name: str) -> object:
    """Load what needs timm or transformers only when it is asked for."""
    if name in __all__:
        return import_module(f"primaldual.integrations.{name}")
    raise AttributeError(f"module 'primaldual.integrations' has no attribute {name!r}")
