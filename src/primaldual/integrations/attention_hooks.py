"""Watch the attention of the layers of any model through hooks, and replace it temporarily."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from primaldual.errors import UnsupportedError
from primaldual.integrations.attention_sites import AttentionSite, Layers, select_sites
from primaldual.integrations.finding import find_sites
from primaldual.integrations.fitted_problem import fit
from primaldual.integrations.transaction import placed, snapshot
from primaldual.kernels.masks import Attendable
from primaldual.primal.attention import Attention
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.sources import KeyValueSource

Look = Callable[[AttentionSite, Tensor, KeyValueSource, Attendable, Tensor], "Tensor | None"]
"""Called with a layer, its queries, keys and values, masks and outputs (batch, heads, Nq, Dv); may return others."""


@contextmanager
def attending(model: nn.Module, layers: Layers = None) -> Iterator[list[AttentionSite]]:
    """The chosen layers, each with a problem: until the end, unconverted layers hold the softmax problem.

    Raises:
        UnsupportedError: the model has no supported attention layer.
    """
    sites = select_sites(found, layers) if (found := find_sites(model)) else []
    sites = [site for site in sites if site.refusal is None]
    if not sites:
        raise UnsupportedError(f"model must have supported attention layers; {type(model).__name__} has none")
    fresh = [site for site in sites if site.problem is None]
    with placed(fresh, [fit(PrimalProblem(), site, site.heads) for site in fresh]):
        yield sites


@contextmanager
def watching(sites: Sequence[AttentionSite], look: Look) -> Iterator[None]:
    """Call ``look`` with every attention of these layers; a tensor that it returns replaces the outputs."""
    with ExitStack() as stack:
        for site in sites:
            assert site.problem is not None
            handle = site.problem.register_forward_hook(_hook(site, look))
            stack.callback(handle.remove)
        yield


def _hook(site: AttentionSite, look: Look) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
    looking = False

    def hook(problem: nn.Module, arguments: Any, outputs: Tensor) -> Tensor | None:
        nonlocal looking
        del problem
        if looking:  # ``look`` itself may attend with the problem
            return None
        looking = True
        try:
            query, source, attendable = arguments[:3]
            return look(site, query, source, attendable, outputs)
        finally:
            looking = False

    return hook


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, without gradients; afterwards it, and torch's generators, are as before."""
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


def output_changes(
    model: nn.Module, sites: Sequence[AttentionSite], problems: Sequence[Attention], sample: Any
) -> tuple[list[float], float]:
    """|| new - old || / || old || with other problems in some layers of a model, which is not changed.

    Returns:
        The change of every layer's heads on its present inputs, 0 for a layer that is not called; and the change
        of the model's output.
    """
    others = {site.path: _Other(deepcopy(new)) for site, new in zip(sites, problems, strict=True)}

    def look(site: AttentionSite, *arguments: Any) -> None:
        others[site.path].compare(*arguments)

    with evaluating(model):
        before = output_tensor(call(model, sample))
        with attending(model, lambda site: site.path in others) as present, watching(present, look):
            call(model, sample)
        with placed(sites, [deepcopy(new) for new in problems]):
            after = output_tensor(call(model, sample))
    return [others[site.path].change() for site in sites], relative_change(after, before)


class _Other:
    """The change by another problem in place of a layer's own, summed over all calls of the layer."""

    def __init__(self, problem: Attention) -> None:
        self.problem = problem.eval()
        self.difference = self.own = 0.0

    def compare(self, query: Tensor, source: KeyValueSource, attendable: Attendable, outputs: Tensor) -> None:
        new = self.problem.to(query.device, query.dtype)(query, source, attendable)
        self.difference += float((new.double() - outputs.double()).square().sum())
        self.own += float(outputs.double().square().sum())

    def change(self) -> float:
        return math.sqrt(self.difference / max(self.own, sys.float_info.min))


def relative_change(new: Tensor, old: Tensor) -> float:
    """|| new - old || / || old ||."""
    return float(
        (new.double() - old.double()).norm() / old.double().norm().clamp_min(torch.finfo(torch.double).tiny)
    )
