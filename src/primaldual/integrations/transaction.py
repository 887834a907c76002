"""Change a model's structure wholly or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_REGISTRIES = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks")


@contextmanager
def all_or_nothing(model: nn.Module) -> Iterator[None]:
    """Put every module, and every configuration that modules share, back after an error in the block.

    What is put back are classes, attributes, and which parameters and modules stand where; the numbers in tensors
    are not copied, so the block must not change them in place.
    """
    modules = [(module, type(module), _attributes(module)) for module in model.modules()]
    configs = {
        id(module.config): (module.config, dict(vars(module.config)))
        for module, _, _ in modules
        if hasattr(module, "config") and hasattr(module.config, "__dict__")
    }
    try:
        yield
    except BaseException:
        for module, kind, attributes in modules:
            module.__class__ = kind
            vars(module).clear()
            vars(module).update(attributes)
        for config, attributes in configs.values():
            vars(config).clear()
            vars(config).update(attributes)
        raise


def _attributes(module: nn.Module) -> dict[str, Any]:
    kept = dict(vars(module))
    return kept | {name: kept[name].copy() for name in _REGISTRIES}
