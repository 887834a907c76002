"""The values of the layer before, which converted layers hand on within one call of their model."""

from __future__ import annotations

from collections.abc import Sequence
from threading import local
from typing import Any

import torch
from torch import Tensor, nn

from primaldual.errors import UnsupportedError
from primaldual.integrations.attention_sites import AttentionSite
from primaldual.integrations.finding import find_sites
from primaldual.nn.multihead import MultiheadAttention
from primaldual.nn.projection import split_heads
from primaldual.primal.attention import Attention
from primaldual.primal.token_inputs import Inputs

ATTRIBUTE = "previous_values"
"""Where a converted layer holds the stack that it belongs to."""


class Stack:
    """Layers that follow one another, of which each gets the values of the one before in the same call.

    Hooks of the modules around the layers begin and end a pass. The innermost pass of the present thread holds the values
    of its last layer and nothing outlives it, so that threads, earlier calls and failed ones leave nothing behind.

    Args:
        name: of the layers in the model, for messages.
        count: of the layers that hand on values.
        single: whether there is no other layer, so that nothing tells which of its calls follow one another.
    """

    def __init__(self, name: str, count: int, single: bool) -> None:
        self.name = name
        self.count = count
        self.single = single
        self.here = local()

    def __reduce__(self) -> tuple[type[Stack], tuple[str, int, bool]]:
        return Stack, (self.name, self.count, self.single)

    def enter(self, module: nn.Module, *arguments: object) -> None:
        """Forward pre-hook of a module around the layers: the layer that comes next is the first."""
        del arguments
        self.leave(module)  # what a call that was interrupted has left
        self._passes().append(_Pass(module))

    def leave(self, module: nn.Module, *arguments: object) -> None:
        """Forward hook of a module around the layers, which runs after errors too."""
        del arguments
        passes = self._passes()
        places = [place for place, one in enumerate(passes) if one.module is module]
        if places:
            del passes[places[-1] :]

    def give(self, attention: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Forward pre-hook of the attention of a layer: the values before become an argument of the call."""
        assert isinstance(attention, Attention)
        query, source, attendable, dropout_p, given = (*arguments, 0.0, None)[:5]
        tensors = source.tensors or source.take(list(range(query.shape[1])))
        found = self.inputs(attention, tensors[1], given=given)
        if found is None:
            return None
        return query, source, attendable, dropout_p, {**found, **(given or {})}

    def give_to_maps(
        self, layer: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[Any, Any] | None:
        """The same of a layer that computes its map beside its outputs, where the map is asked for."""
        assert isinstance(layer, MultiheadAttention)
        names = "query", "key", "value", "key_padding_mask", "need_weights"
        bound = {"need_weights": True} | dict(zip(names, arguments, strict=False)) | options
        tokens, given = bound.get("value"), options.get("inputs")
        if not bound["need_weights"] or not isinstance(tokens, Tensor) or tokens.is_nested:
            return None
        if tokens.dim() == 2:
            tokens = tokens.unsqueeze(0)
        elif not layer.batch_first:
            tokens = tokens.transpose(0, 1)
        values = split_heads(layer.v_proj(tokens), layer.head_dim)
        found = self.inputs(layer.problem, values, given=given)
        return None if found is None else (arguments, {**options, "inputs": {**found, **(given or {})}})

    def inputs(
        self, attention: Attention, value: Tensor, cached: bool = False, given: Inputs | None = None
    ) -> Inputs | None:
        """What an attention needs of the layer before, by name, or None; its own values go to the next layer.

        A first layer, and one whose values have another shape than those before, gets what changes nothing.

        Args:
            attention: of the layer.
            value: its values, (batch, kv heads, Nk, Dv).
            cached: whether tokens of earlier calls are among them.
            given: what the caller of the layer gives it, by name, which is left as it is.

        Raises:
            UnsupportedError: it needs them outside of a pass, as where gradient checkpointing runs a block again; the
                only layer of its stack runs twice in a call; or caches that hold unequal numbers of tokens.
        """
        needs = (need for need in attention.token_inputs if need.of_previous)
        needed = [need for need in needs if need.name not in (given or {})]
        passes = self._passes()
        if not passes or passes[-1].backward != _backward():
            if not needed:
                return None
            raise UnsupportedError(
                f"{attention.spec()} in {self.name} takes the values of the layer before, which are known within a call of "
                "the model alone; this call comes from elsewhere: gradient checkpointing, which runs a layer again in the "
                "backward, or a layer called by itself. Call the whole model, without checkpoints inside it"
            )
        if needed and self.single and passes[0].served:
            raise UnsupportedError(
                f"{attention.spec()} in {self.name}, the only layer of its kind, runs twice in one call of the model, which "
                "does not tell whether the second follows the first; leave it out with layers="
            )
        passes[0].served = True
        before, passes[-1].before = passes[-1].before, (value, cached)
        if not needed:
            return None
        former = self._fitting(attention, before, value, cached)
        return {
            need.name: torch.full_like(value, need.neutral) if former is None else former for need in needed
        }

    def _fitting(
        self, attention: Attention, before: tuple[Tensor, bool] | None, value: Tensor, cached: bool
    ) -> Tensor | None:
        """The values before, None if there are none of this shape."""
        if before is None:
            return None
        former, partial = before
        if former.shape == value.shape:
            return former.to(value.device)
        if (cached or partial) and former.shape[2] != value.shape[2]:
            raise UnsupportedError(
                f"{attention.spec()} in {self.name} needs {value.shape[2]} values of the layer before, whose cache holds "
                f"{former.shape[2]}: generate with use_cache=False"
            )
        return None

    def _passes(self) -> list[_Pass]:
        if not hasattr(self.here, "passes"):
            self.here.passes = []
        passes: list[_Pass] = self.here.passes
        return passes


class _Pass:
    """A call of a module around the layers.

    Attributes:
        module: what is called.
        backward: of which backward it is a part, see :func:`_backward`.
        before: the values of the last layer so far, and whether tokens of earlier calls are among them.
        served: whether a layer has attended.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.backward = _backward()
        self.before: tuple[Tensor, bool] | None = None
        self.served = False


def _backward() -> int:
    """The number of the backward that runs in this thread, -1 for none."""
    return -1 if torch.compiler.is_compiling() else torch._C._current_graph_task_id()


def previous_inputs(
    layer: nn.Module, attention: Attention, value: Tensor, cached: bool = False
) -> Inputs | None:
    """:meth:`Stack.inputs` of a layer's stack; None where it belongs to none."""
    stack = vars(layer).get(ATTRIBUTE)
    return stack.inputs(attention, value, cached) if isinstance(stack, Stack) else None


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
    owners = [
        getattr(hook, "__self__", None)
        for hook in module._forward_pre_hooks.values()
        if getattr(hook, "__name__", "") == method
    ]
    return [owner for owner in owners if isinstance(owner, Stack)]


def _forget(module: nn.Module, stacks: set[Stack]) -> None:
    """Take away what belongs to some stacks."""
    for hooks in (module._forward_pre_hooks, module._forward_hooks):
        for number in [number for number, hook in hooks.items() if getattr(hook, "__self__", None) in stacks]:
            del hooks[number]
            module._forward_hooks_always_called.pop(number, None)
            module._forward_pre_hooks_with_kwargs.pop(number, None)
    if vars(module).get(ATTRIBUTE) in stacks:
        del vars(module)[ATTRIBUTE]
