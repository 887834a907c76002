"""Calls like earlier ones, by what was found out then."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from primaldual.kernels.flash import flash_enabled
from primaldual.kernels.masks import Attendable
from primaldual.kernels.modes import in_graph, in_transform
from primaldual.kernels.precision import autocasts, own_precision
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.forms.choice import asked, choose, is_long, run_chosen
from primaldual.primal.forms.form import Prepared
from primaldual.primal.parts import Part
from primaldual.primal.sources import TensorSource

MOST = 256
"""So many sizes are remembered for one problem."""


class _Known(NamedTuple):
    """What holds as long as the parts are these, and none has changed."""

    parts: tuple[nn.Module | None, ...]
    changes: int
    calls: dict[Hashable, Prepared | None]


_known: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()


def attend_as_before(
    problem: Any, query: Tensor, key: Tensor, value: Tensor, is_causal: bool
) -> Tensor | None:
    """The attention without masks, dropout and inputs, by the forms that were chosen; None = ask anew.

    Args:
        problem: a :class:`PrimalProblem`.
        query: (batch, heads, Nq, D).
        key: (batch, kv heads, Nk, D).
        value: (batch, kv heads, Nk, Dv).
        is_causal: queries attend no later key.
    """
    if in_graph() or in_transform():
        return None
    calls, place = _calls_of(problem), _place(query, key, value, is_causal)
    if place in calls:
        attend = calls[place]
    else:
        if len(calls) >= MOST:
            calls.clear()
        attend = calls[place] = _prepared(problem.parts(), query, key, value, is_causal)
    return None if attend is None else _run(attend, query, key, value)


def attend_again(
    problem: nn.Module, query: Tensor, key: Tensor, value: Tensor, is_causal: bool
) -> Tensor | None:
    """The attention of tensors as an earlier call has checked them, where nobody looks on; None = ask anew.

    Args:
        problem: a :class:`PrimalProblem`; one with hooks is asked anew.
        query: as :func:`attend_as_before`; so the others.
        key: its keys.
        value: its values.
        is_causal: see there.
    """
    if in_graph() or in_transform() or _hooked(problem):
        return None
    attend = _calls_of(problem).get(_place(query, key, value, is_causal))
    return None if attend is None else _run(attend, query, key, value)


def _hooked(problem: nn.Module) -> bool:
    return bool(
        problem._forward_hooks
        or problem._forward_pre_hooks
        or problem._backward_hooks
        or problem._backward_pre_hooks
        or _has_any_global_hook()
    )


def _calls_of(problem: nn.Module) -> dict[Hashable, Prepared | None]:
    """What is known of the calls of a problem whose parts are as they were."""
    parts, changes = tuple(problem._modules.values()), Part.changes
    known = _known.get(problem)
    if known is None or known.changes != changes or known.parts != parts:
        known = _known[problem] = _Known(parts, changes, {})
    return known.calls


def _place(query: Tensor, key: Tensor, value: Tensor, is_causal: bool) -> Hashable:
    """What calls that run alike have in common."""
    return (
        query.shape, key.shape, value.shape, query.dtype, key.dtype, value.dtype, query.device, key.device, value.device,
        is_causal, flash_enabled(),
    )  # fmt: skip


def _run(attend: Prepared, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    if not autocasts(query.device):
        return attend(query, key, value)
    with own_precision(query.device):
        return attend(query, key, value)


def _prepared(
    choices: Choices, query: Tensor, key: Tensor, value: Tensor, is_causal: bool
) -> Prepared | None:
    choices = choices.for_length(key.shape[2])
    transform, alike = choices.transform, query.dtype == key.dtype == value.dtype
    if (
        not alike
        or choices.token_inputs
        or choices.subset.by_scores
        or transform.observes
        or transform.mixes_queries
        or choices.solver.composed
    ):
        return None
    attendable = Attendable(is_causal=is_causal and query.shape[2] > 1)
    sets = choices.subset.head_sets(query.shape[1])
    question = asked(query, key, value, key.shape[2], len(sets), attendable, 0.0)
    if is_long(question):
        return None  # what is slow about them is said at every call
    chosen, heads = choose(choices, sets, question), query.shape[1]
    found = chosen[0].prepared(choices, sets, question) if len(set(chosen)) == 1 else None
    if found is not None:
        return found

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        call = Call(choices, query, TensorSource(key, value, heads), attendable, 0.0, {})
        return run_chosen(call, sets, chosen)

    return attend
