"""Change a model's structure completely or not at all, or only temporarily."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from primaldual.integrations.attention_sites import AttentionSite
from primaldual.integrations.layer_stacks import hand_on_values
from primaldual.primal.attention import Attention

_REGISTRIES = frozenset(name for name, value in vars(nn.Module()).items() if isinstance(value, dict))
"""Where a module keeps its parameters, buffers, modules and hooks."""


def snapshot(model: nn.Module) -> Callable[[], None]:
    """A function that restores the present state of every module and of every configuration that modules share.

    It restores classes, attributes, and the places of parameters, modules and hooks. The numbers in tensors are not
    copied: code that changes them in place must restore them itself.
    """
    modules = [(module, type(module), dict(vars(module)), _registries(module)) for module in model.modules()]
    configs = {
        id(module.config): (module.config, dict(vars(module.config)))
        for module, *_ in modules
        if hasattr(module, "config") and hasattr(module.config, "__dict__")
    }

    def put_back() -> None:
        for module, kind, attributes, registries in modules:
            module.__class__ = kind
            _fill(vars(module), attributes)
            for registry, content in registries:  # the same dicts: handles of hooks refer to them
                _fill(registry, content)
        for config, attributes in configs.values():
            _fill(vars(config), attributes)

    return put_back


@contextmanager
def all_or_nothing(model: nn.Module) -> Iterator[None]:
    """Put the model back, as :func:`snapshot` does, after an error in the block."""
    put_back = snapshot(model)
    try:
        yield
    except BaseException:
        put_back()
        raise


def place_all(sites: Sequence[AttentionSite], problems: Sequence[Attention]) -> Callable[[], None]:
    """Convert all sites, or none: after an error every module is restored.

    Args:
        sites: of one model.
        problems: one for each.

    Returns:
        A function that undoes the conversion exactly, with the former modules and parameters.
    """
    with ExitStack() as stack:
        if sites:
            stack.callback(snapshot(sites[0].model))
        for site, problem in zip(sites, problems, strict=True):
            former = site.problem
            site.convert(problem)
            if former is None:
                stack.callback(site.revert)
            else:
                stack.callback(site.convert, former)
        return stack.pop_all().close


@contextmanager
def placed(sites: Sequence[AttentionSite], problems: Sequence[Attention]) -> Iterator[None]:
    """Convert all sites, and restore every module at the end."""
    undo = place_all(sites, problems)
    try:
        for model in {id(site.model): site.model for site in sites}.values():
            hand_on_values(model)
        yield
    finally:
        undo()


def _registries(module: nn.Module) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(value, dict(value)) for name, value in vars(module).items() if name in _REGISTRIES]


def _fill(target: dict[str, Any], content: dict[str, Any]) -> None:
    target.clear()
    target.update(content)
