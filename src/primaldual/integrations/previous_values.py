"""The values of the layer before, which converted layers hand on within one call of their model."""

from __future__ import annotations

from threading import local
from typing import Any

import torch
from torch import Tensor, nn

from primaldual.errors import UnsupportedError
from primaldual.kernels.heads import for_query_heads
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
        value = for_query_heads(tensors[1], query.shape[1])  # a mask may have spread grouped heads already
        found = self.inputs(attention, attention, value, given=given)
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
        values = for_query_heads(split_heads(layer.v_proj(tokens), layer.head_dim), layer.num_heads)
        found = self.inputs(layer, layer.problem, values, given=given)
        return None if found is None else (arguments, {**options, "inputs": {**found, **(given or {})}})

    def inputs(
        self,
        owner: nn.Module,
        attention: Attention,
        value: Tensor,
        cached: bool = False,
        given: Inputs | None = None,
    ) -> Inputs | None:
        """What an attention needs of the layer before, by name, or None; its own values go to the next layer.

        A first layer, and one whose values have another shape than those before, gets what changes nothing.

        Args:
            owner: the layer, or its attention, in all calls the same.
            attention: of the layer.
            value: its values, (batch, kv heads, Nk, Dv).
            cached: whether tokens of earlier calls are among them.
            given: what the caller of the layer gives it, by name, which is left as it is.

        Raises:
            UnsupportedError: it needs them outside of a pass, as where gradient checkpointing runs a block again; it
                runs twice in one pass; or caches hold unequal numbers of tokens.
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
        if needed and (any(one is owner for one in passes[-1].ran) or (self.single and passes[0].ran)):
            raise UnsupportedError(
                f"{attention.spec()} in {self.name}: a layer runs twice in one call of the model, which does not tell "
                "whether the second time follows the first; leave it out with layers="
            )
        for one in {passes[0], passes[-1]}:
            one.ran.append(owner)
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
        ran: the layers that have attended.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.backward = _backward()
        self.before: tuple[Tensor, bool] | None = None
        self.ran: list[nn.Module] = []


def _backward() -> int:
    """The number of the backward that runs in this thread, -1 for none."""
    return -1 if torch.compiler.is_compiling() else torch._C._current_graph_task_id()


def previous_inputs(
    layer: nn.Module, attention: Attention, value: Tensor, cached: bool = False
) -> Inputs | None:
    """:meth:`Stack.inputs` of a layer's stack; None where it belongs to none."""
    stack = vars(layer).get(ATTRIBUTE)
    return stack.inputs(layer, attention, value, cached) if isinstance(stack, Stack) else None
