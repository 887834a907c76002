"""Which layers of a model follow one another, and hand their values on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from primaldual.errors import UnsupportedError
from primaldual.integrations.attention_sites import AttentionSite
from primaldual.integrations.finding import find_sites
from primaldual.integrations.previous_values import ATTRIBUTE, Stack
from primaldual.nn.multihead import MultiheadAttention
from primaldual.primal.attention import Attention


def hand_on_values(model: nn.Module, named: Attention | None = None) -> None:
    """Let converted layers hand on their values, in those stacks of a model where an attention needs them.

    To be done after layers have changed; doing it again changes nothing. Layers of a stack that reaches beyond the model,
    which is a part of a larger one then, stay in it.

    Args:
        model: changed in place.
        named: the attention of all layers that read the model's config and hold none, where it was chosen by name.

    Raises:
        UnsupportedError: layers in a list that is no part of a model.
    """
    sites = find_sites(model)
    there = [vars(site.module).get(ATTRIBUTE) for site in sites]
    inside = {stack for module in model.modules() for stack in _stacks_of(module, "enter")}
    if _around(model, ""):
        inside |= {stack for stack in there if isinstance(stack, Stack) and there.count(stack) == stack.count}
    for module in model.modules():
        _forget(module, inside)
    own = []
    for site in sites:
        for part in () if site.problem is None else site.problem.modules():
            _forget(part, {*_stacks_of(part, "give")})  # of another attention, of which this one is a copy
        stack = vars(site.module).get(ATTRIBUTE)
        if isinstance(stack, Stack):
            _join(site, stack)
        else:
            own.append(site)
    for (path, rest), members in _stacked(own).items():
        attending = {site: _attention(site, named) for site in members}
        holding = {site: attention for site, attention in attending.items() if attention is not None}
        if not any(need.of_previous for attention in holding.values() for need in attention.token_inputs):
            continue
        single, around = len(members) == 1, _around(model, path)
        name = members[0].path or "the layer" if single else f"{path}.{rest}".lstrip(".")
        stack = Stack(name, len(holding), single)
        if not around:
            raise UnsupportedError(
                f"{name} takes the values of the layer before, and nothing calls a {type(model).__name__}, which holds the "
                "layers: convert the model around it"
            )
        for module in around:
            module.register_forward_pre_hook(stack.enter)
            module.register_forward_hook(stack.leave, always_call=True)
        for site in holding:
            _join(site, stack)


def _attention(site: AttentionSite, named: Attention | None) -> Attention | None:
    """What a layer attends with: its own problem, or one that its model has chosen by name."""
    chosen = named is not None and getattr(site.module, "config", 0) is getattr(site.model, "config", None)
    return named if site.problem is None and chosen else site.problem


def stacks_of(sites: Sequence[AttentionSite]) -> dict[str, Stack]:
    """A new stack for each of some layers, by their paths; those that follow one another share one."""
    return {
        site.path: stack
        for members in _stacked(sites).values()
        for stack in [Stack(members[0].path or "the layer", len(members), False)]
        for site in members
    }


def _join(site: AttentionSite, stack: Stack) -> None:
    module, problem = site.module, site.problem
    vars(module)[ATTRIBUTE] = stack
    if problem is None or not site.values_by_hook:
        return
    problem.register_forward_pre_hook(stack.give)
    if isinstance(module, MultiheadAttention) and stack not in _stacks_of(module, "give_to_maps"):
        module.register_forward_pre_hook(stack.give_to_maps, with_kwargs=True)


def _stacked(sites: Sequence[AttentionSite]) -> dict[tuple[str, str], list[AttentionSite]]:
    """Layers by what stands before and after the innermost number in their names that tells them apart."""
    names = {site.path for site in sites}
    found: dict[tuple[str, str], list[AttentionSite]] = {}
    for site in sites:
        words = site.path.split(".")
        key = ".".join(words[:-1]), words[-1]
        for place in reversed(range(len(words))):
            around = words[:place], words[place + 1 :]
            alike = [name.split(".") for name in names if name.count(".") == len(words) - 1]
            if words[place].isdecimal() and any(
                other[place] != words[place] and (other[:place], other[place + 1 :]) == around
                for other in alike
            ):
                key = ".".join(around[0]), ".".join(("*", *around[1]))
                break
        found.setdefault(key, []).append(site)
    return found


def _around(model: nn.Module, path: str) -> list[nn.Module]:
    """The modules from the model down to a path, those that are never called left out."""
    words = path.split(".") if path else []
    modules = [model.get_submodule(".".join(words[:count])) for count in range(len(words) + 1)]
    return [module for module in modules if not isinstance(module, nn.ModuleList | nn.ModuleDict)]


def _stacks_of(module: nn.Module, method: str) -> list[Stack]:
    """The stacks of which a method is a forward pre-hook of a module."""
    hooks = module._forward_pre_hooks.values()
    return [stack for hook in hooks if (stack := _owner(hook)) and hook.__name__ == method]


def _owner(hook: Any) -> Stack | None:
    found = getattr(hook, "__self__", None)
    return found if isinstance(found, Stack) else None


def _forget(module: nn.Module, stacks: set[Stack]) -> None:
    """Take away what belongs to some stacks."""
    for hooks in (module._forward_pre_hooks, module._forward_hooks):
        for number in [number for number, hook in hooks.items() if _owner(hook) in stacks]:
            del hooks[number]
            module._forward_hooks_always_called.pop(number, None)
            module._forward_pre_hooks_with_kwargs.pop(number, None)
    if vars(module).get(ATTRIBUTE) in stacks:
        del vars(module)[ATTRIBUTE]
