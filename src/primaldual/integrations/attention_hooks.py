"""Watch the attention of the layers of any model through hooks, and replace it temporarily."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock, get_ident, local
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from primaldual.errors import UnsupportedError
from primaldual.integrations.attention_sites import AttentionSite, Layers, select_sites
from primaldual.integrations.eager import eager
from primaldual.integrations.finding import find_sites
from primaldual.integrations.fitted_problem import fit
from primaldual.integrations.transaction import place_all, snapshot
from primaldual.integrations.wrapping import require_module
from primaldual.kernels.masks import Attendable
from primaldual.primal.attention import Attention
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.sources import KeyValueSource
from primaldual.primal.token_inputs import Inputs, neutral_inputs


@dataclass(frozen=True)
class AttentionCall:
    """One attention of a layer, as it happens.

    Attributes:
        site: the layer.
        problem: its attention, with the layout of the positions of this call.
        query: (batch, heads, Nq, D).
        source: keys and values.
        attendable: the masks.
        outputs: (batch, heads, Nq, Dv).
        inputs: what the problem needs of every token besides, by name.
    """

    site: AttentionSite
    problem: Attention
    query: Tensor
    source: KeyValueSource
    attendable: Attendable
    outputs: Tensor
    inputs: Inputs

    def attend_with(self, problem: Attention, known: Inputs | None = None) -> Tensor:
        """The outputs of another problem in this place; inputs that only it needs are those that change nothing.

        Args:
            problem: the other one.
            known: inputs that it needs and that are known, by name.
        """
        value_dim = self.outputs.shape[3]
        neutral = neutral_inputs(problem.token_inputs, self.query, self.source.length, value_dim)
        there = {**self.inputs, **(known or {})}
        inputs = {name: there.get(name, tensor) for name, tensor in neutral.items()}
        found: Tensor = problem(self.query, self.source, self.attendable, 0.0, inputs)
        return found

    def real_queries(self) -> Tensor | None:
        """Bool (batch, Nq): queries that are not padding, where they stand on the keys' positions; None = all."""
        keys = self.attendable.keys
        if keys is None or self.query.shape[2] != self.source.length:
            return None
        return keys.any(1).squeeze(1).expand(self.query.shape[0], -1)


Look = Callable[[AttentionCall], "Tensor | None"]
"""Called with every attention of a layer; may return other outputs of the same shape."""


@contextmanager
def attending(model: nn.Module, layers: Layers = None) -> Iterator[list[AttentionSite]]:
    """The chosen layers, each with a problem: until the end, unconverted layers hold the softmax problem.

    Blocks may overlap, in several threads too: layers are restored when the model's last one ends. Compiled code runs
    eagerly meanwhile.

    Raises:
        ArgumentError: the model is not a module.
        UnsupportedError: the model has no supported attention layer.
    """
    require_module(model)
    found = select_sites(every, layers) if (every := find_sites(model)) else []
    sites = [site for site in found if site.refusal is None]
    if not sites:
        why = "".join(f"; {site.path or 'the layer'} has {site.refusal}" for site in found[:1])
        raise UnsupportedError(
            f"model must have supported attention layers; {type(model).__name__} has none{why}"
        )
    with eager(model), _borrowed(model, sites):
        yield sites


@contextmanager
def watching(sites: Sequence[AttentionSite], look: Look) -> Iterator[None]:
    """Call ``look`` with every attention of these layers; a tensor that it returns replaces the outputs.

    Attentions that a look itself computes reach no hook. A thread that watches a layer sees what the layer
    attends in this thread, and in threads that do not watch it.
    """
    watched = _here.watched  # of this thread, in whichever the block may end
    with ExitStack() as stack:
        for site in sites:
            assert site.problem is not None
            handle = site.problem.register_forward_hook(_hook(site, site.problem, look, get_ident()))
            stack.callback(handle.remove)
            watched.append(site.problem)
            stack.callback(watched.remove, site.problem)
        yield


class _Here(local):
    """The problems that the present thread watches, once for each block, and whether a look is running."""

    def __init__(self) -> None:
        self.watched: list[Attention] = []
        self.looking = False


_here = _Here()


def _hook(
    site: AttentionSite, watched: Attention, look: Look, owner: int
) -> Callable[[Attention, Any, Tensor], Tensor | None]:
    def hook(problem: Attention, arguments: Any, outputs: Tensor) -> Tensor | None:
        foreign = owner != get_ident() and any(watched is own for own in _here.watched)
        if _here.looking or foreign:
            return None
        _here.looking = True
        try:
            query, source, attendable, _, inputs = (*arguments, None, None)[:5]
            seen = AttentionCall(site, problem, query, source, attendable, outputs, inputs or {})
            return look(seen)
        finally:
            _here.looking = False

    return hook


class _Loan:
    """The blocks that are open on a model, and how to restore the layers that were converted for them."""

    def __init__(self) -> None:
        self.blocks = 0
        self.undo = ExitStack()


_loans: WeakKeyDictionary[nn.Module, _Loan] = WeakKeyDictionary()
_lending = Lock()


@contextmanager
def _borrowed(model: nn.Module, sites: Sequence[AttentionSite]) -> Iterator[None]:
    """Convert the unconverted among some layers to softmax until the last block on the model ends."""
    with _lending:
        loan = _loans.setdefault(model, _Loan())
        try:
            fresh = [site for site in sites if site.problem is None]
            loan.undo.callback(place_all(fresh, [fit(PrimalProblem(), site, site.heads) for site in fresh]))
            loan.blocks += 1
        finally:
            if not loan.blocks:
                del _loans[model]
    try:
        yield
    finally:
        with _lending:
            loan.blocks -= 1
            if not loan.blocks:
                del _loans[model]
                loan.undo.close()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, without gradients; afterwards it, and torch's generators, are as before."""
    require_module(model)
    put_back = snapshot(model)
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers() if not buffer.is_meta]
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    try:
        model.eval()
        with torch.no_grad(), torch.random.fork_rng([device for device in devices if device.type == "cuda"]):
            yield
    finally:
        put_back()
        with torch.no_grad():
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


def call(model: nn.Module, sample: Any) -> Any:
    """Run a model on a tensor, a tuple of arguments, or a mapping of named ones."""
    if isinstance(sample, Mapping):
        return model(**sample)
    return model(*sample) if isinstance(sample, tuple | list) else model(sample)


def output_tensor(outputs: Any) -> Tensor:
    """The first tensor among the outputs of a model.

    Raises:
        UnsupportedError: the outputs hold no tensor.
    """
    if isinstance(outputs, Tensor):
        return outputs
    values = outputs.values() if isinstance(outputs, Mapping) else outputs
    for value in values if isinstance(values, tuple | list) or isinstance(outputs, Mapping) else ():
        if isinstance(value, Tensor):
            return value
    raise UnsupportedError(f"model must return a tensor first; got {type(outputs).__name__}")
