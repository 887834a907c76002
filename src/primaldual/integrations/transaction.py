"""Change a model's structure wholly or not at all, or only for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from primaldual.integrations.attention_sites import AttentionSite
from primaldual.primal.attention import Attention

_REGISTRIES = frozenset(name for name, value in vars(nn.Module()).items() if isinstance(value, dict))
"""Where a module keeps its parameters, buffers, modules and hooks."""


def snapshot(model: nn.Module) -> Callable[[], None]:
    """What puts every module, and every configuration that modules share, back to what it is now.

    Put back are classes, attributes, and which parameters, modules and hooks stand where; the numbers in tensors
    are not copied, so whoever changes them in place must put them back.
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
    """Convert all sites, or none: after an error every module is what it was.

    Args:
        sites: of one model.
        problems: one for each.

    Returns:
        What undoes it, exactly: the modules and parameters of before are back.
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
    """All sites converted, and at the end every module what it was."""
    undo = place_all(sites, problems)
    try:
        yield
    finally:
        undo()


def _registries(module: nn.Module) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(value, dict(value)) for name, value in vars(module).items() if name in _REGISTRIES]


def _fill(target: dict[str, Any], content: dict[str, Any]) -> None:
    target.clear()
    target.update(content)
