"""Attention of this library inside models of torch, timm and transformers."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from primaldual.integrations import hf_attention, timm_layers, torch_layers
    from primaldual.integrations.adapting import adapt
    from primaldual.integrations.saving import load, save

_FUNCTIONS = {"adapt": "adapting", "load": "saving", "save": "saving"}

__all__ = ["adapt", "hf_attention", "load", "save", "timm_layers", "torch_layers"]


def __getattr__(name: str) -> object:
    """Load what needs timm or transformers only when it is asked for."""
    if name in _FUNCTIONS:
        return getattr(import_module(f"primaldual.integrations.{_FUNCTIONS[name]}"), name)
    if name in __all__:
        return import_module(f"primaldual.integrations.{name}")
    raise AttributeError(f"module 'primaldual.integrations' has no attribute {name!r}")
