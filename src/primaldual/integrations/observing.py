"""Watch what the attention layers of any model attend, and change it for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from primaldual.errors import UnsupportedError
from primaldual.integrations.finding import find_sites
from primaldual.integrations.fitting import fit
from primaldual.integrations.sites import Attending, AttentionSite, Layers, select_sites
from primaldual.kernels.masks import Attendable
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.sources import KeyValueSource

Look = Callable[[AttentionSite, Tensor, KeyValueSource, Attendable, Tensor], "Tensor | None"]
"""Called with a layer, its queries, keys and values, masks and outputs (batch, heads, Nq, Dv); may return others."""


@contextmanager
def attending(model: nn.Module, layers: Layers = None) -> Iterator[list[AttentionSite]]:
    """The chosen layers, each with a problem: those not converted yet solve softmax's until the end.

    Raises:
        UnsupportedError: none of them can be understood.
    """
    sites = select_sites(found, layers) if (found := find_sites(model)) else []
    sites = [site for site in sites if site.refusal is None]
    if not sites:
        raise UnsupportedError(
            f"model must hold attention layers that are known; {type(model).__name__} has none"
        )
    with ExitStack() as stack:
        for site in sites:
            if site.problem is None:
                stack.callback(site.revert)
                site.convert(fit(PrimalProblem(), site, site.heads))
        yield sites


@contextmanager
def watching(sites: Sequence[AttentionSite], look: Look) -> Iterator[None]:
    """Show ``look`` every attention of these layers; what it returns takes the place of the outputs."""
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
            return look(site, *arguments[:3], outputs)
        finally:
            looking = False

    return hook


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, without gradients; afterwards every module is as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def call(model: nn.Module, sample: Any) -> Any:
    """Run a model on a tensor, a tuple of arguments, or a mapping of named ones."""
    if isinstance(sample, Mapping):
        return model(**sample)
    return model(*sample) if isinstance(sample, tuple | list) else model(sample)


def output_tensor(outputs: Any) -> Tensor:
    """The first tensor of what a model gives.

    Raises:
        UnsupportedError: there is none.
    """
    if isinstance(outputs, Tensor):
        return outputs
    values = outputs.values() if isinstance(outputs, Mapping) else outputs
    for value in values if isinstance(values, tuple | list) or isinstance(outputs, Mapping) else ():
        if isinstance(value, Tensor):
            return value
    raise UnsupportedError(f"model must return a tensor first; got {type(outputs).__name__}")


def output_changes(
    model: nn.Module, paths: Sequence[str], problems: Sequence[Attending], sample: Any
) -> tuple[list[float], float]:
    """|| new - old || / || old || with other problems in some layers of a model that may be used up.

    Returns:
        For every layer, of what its heads give on the inputs that it had; and of the model's output.
    """
    changes: dict[str, float] = {}
    with evaluating(model), attending(model, list(paths)) as sites:
        replacement = dict(zip(paths, problems, strict=True))

        def look(
            site: AttentionSite,
            query: Tensor,
            source: KeyValueSource,
            attendable: Attendable,
            outputs: Tensor,
        ) -> None:
            problem = replacement[site.path].to(query.device, query.dtype).eval()
            changes[site.path] = relative_change(problem(query, source, attendable), outputs)

        with watching(sites, look):
            before = output_tensor(call(model, sample))
        for site in sites:
            site.convert(replacement[site.path])
        after = output_tensor(call(model, sample))
    return [changes.get(path, 0.0) for path in paths], relative_change(after, before)


def relative_change(new: Tensor, old: Tensor) -> float:
    """|| new - old || / || old ||."""
    return float(
        (new.double() - old.double()).norm() / old.double().norm().clamp_min(torch.finfo(torch.double).tiny)
    )
