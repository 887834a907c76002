"""Put an attention into a model that exists, and take it out again."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from primaldual.errors import PrimalDualError, UnsupportedError
from primaldual.integrations.finding import find_sites, other_attention
from primaldual.integrations.fitting import fitted_problem
from primaldual.integrations.observing import output_changes
from primaldual.integrations.sites import Attending, AttentionSite, Layers, describe_paths, select_sites
from primaldual.kernels.layout import Layout
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem


@dataclass(frozen=True)
class ConvertedLayer:
    """What :func:`convert` does to one layer.

    Attributes:
        path: the layer's name in the model.
        kind: its class before.
        heads: how many it has.
        attention: what they attend with afterwards.
        added: parameters that come with it.
        change: || new - old || / || old || of what the heads give, on the sample; None without one.
    """

    path: str
    kind: str
    heads: int
    attention: str
    added: int
    change: float | None = None


@dataclass(frozen=True)
class Conversion:
    """The report of :func:`convert`; ``print`` it for a table.

    Attributes:
        layers: what was, or in a dry run would be, converted.
        others: path and class of modules that attend and were not known.
        change: || new - old || / || old || of the model's output on the sample; None without one.
        dry_run: nothing was changed.
    """

    layers: tuple[ConvertedLayer, ...]
    others: tuple[tuple[str, str], ...]
    change: float | None
    dry_run: bool

    def __str__(self) -> str:
        lines = [f"{'would convert' if self.dry_run else 'converted'} {len(self.layers)} attention layers"]
        width = max((len(layer.path) for layer in self.layers), default=0)
        for layer in self.layers:
            change = "" if layer.change is None else f"  heads change by {layer.change:.2e}"
            added = f"  +{layer.added} parameters" if layer.added else ""
            lines.append(
                f"  {layer.path:{width}}  {layer.kind}, {layer.heads} heads -> {layer.attention}{added}{change}"
            )
        if self.change is not None:
            lines.append(f"  the model's output changes by {self.change:.2e} on the sample")
        lines += [f"  left alone: {path}, a {kind} of its own" for path, kind in self.others]
        return "\n".join(lines)


def convert(
    model: nn.Module,
    attention: str | PrimalProblem,
    layers: Layers = None,
    heads: Sequence[int] | None = None,
    *,
    layout: Layout | None = None,
    sample: Any = None,
    dry_run: bool = False,
    verbose: bool = True,
) -> Conversion:
    """Give a model's attention layers another attention; everything else, all weights included, stays.

    Converted are ``nn.MultiheadAttention`` (also inside nn.Transformer and its layers), timm's ``Attention``,
    attention modules of transformers, and layers of this library. "softmax" changes no output. Convert before
    making the optimizer, before DDP, FSDP and torch.compile, before or after LoRA.

    Args:
        model: changed in place; after an error it is as it was.
        attention: a spec such as ``"bn+sh(1,1,2,4)"``, or a PrimalProblem, of which every layer gets a copy.
        layers: which: numbers in the model's order, names or patterns, or a predicate of a site; None = all.
        heads: which heads of every layer; the others keep what they have.
        layout: how positions lie, for scaled heads and convolutions; None = as the model says (a grid of patches
            behind its class and register tokens), unless the attention says it.
        sample: what the model is called with, to measure what changes: a tensor, a tuple of arguments, a dict of
            named ones.
        dry_run: change nothing, report what would be.
        verbose: print the report.

    Raises:
        UnsupportedError: nothing to convert, or a layer with a feature that this library lacks.
        ArgumentError: layers or heads that do not exist, an attention that does not fit the heads.

    Example:
        >>> import torch
        >>> encoder = nn.TransformerEncoderLayer(16, 4, batch_first=True).eval()
        >>> report = convert(encoder, "bn+sh(1,1,2,4)", sample=torch.randn(2, 6, 16), verbose=False)
        >>> report.layers[0].path, report.layers[0].attention
        ('self_attn', 'bn+sh(1,1,2,4)')
    """
    sites = find_sites(model)
    others = tuple(other_attention(model, sites))
    chosen = _accepted(model, sites, layers, others)
    problem = preset(attention)
    made = [_fit(site, problem, heads, layout) for site in chosen]
    report = Conversion(
        tuple(_described(site, new) for site, new in zip(chosen, made, strict=True)), others, None, dry_run
    )
    before = deepcopy(model) if sample is not None else None
    if not dry_run:
        place_all(chosen, made)
    if before is not None:
        fresh = [deepcopy(new) for new in made]
        changes, total = output_changes(before, [site.path for site in chosen], fresh, sample)
        report = replace(
            report,
            change=total,
            layers=tuple(
                replace(layer, change=change) for layer, change in zip(report.layers, changes, strict=True)
            ),
        )
    if verbose:
        print(report)
    return report


def revert(model: nn.Module, layers: Layers = None) -> list[str]:
    """Take out what :func:`convert` put in; weights stay as they are now.

    Args:
        model: changed in place.
        layers: which, as in :func:`convert`.

    Returns:
        The names of the layers that were turned back.

    Example:
        >>> layer = nn.TransformerEncoderLayer(16, 4, batch_first=True)
        >>> _ = convert(layer, "bn", verbose=False)
        >>> revert(layer), type(layer.self_attn).__name__
        (['self_attn'], 'MultiheadAttention')
    """
    chosen = [site for site in select_sites(find_sites(model), layers) if site.problem is not None]
    for site in chosen:
        site.revert()
    return [site.path for site in chosen]


def place_all(sites: Sequence[AttentionSite], problems: Sequence[Attending]) -> None:
    """Convert all sites, or none: an error midway leaves every layer as it was."""
    former = [site.problem for site in sites]
    done = 0
    try:
        for site, problem in zip(sites, problems, strict=True):
            site.convert(problem)
            done += 1
    except BaseException:
        for site, old in zip(sites[:done], former[:done], strict=True):
            site.revert() if old is None else site.convert(old)
        raise


def _accepted(
    model: nn.Module, sites: list[AttentionSite], layers: Layers, others: Sequence[tuple[str, str]]
) -> list[AttentionSite]:
    wrapped = _wrapping(model)
    if wrapped:
        raise UnsupportedError(f"model must be converted before it is wrapped; it holds a {wrapped}")
    chosen = select_sites(sites, layers) if sites else []
    if not chosen:
        seen = "; ".join(f"{path or '(itself)'} is a {kind}" for path, kind in others[:6])
        there = describe_paths(sites) if sites else seen or "no attention layer at all"
        raise UnsupportedError(
            "model must hold an nn.MultiheadAttention, a timm Attention, a transformers attention or one of "
            f"primaldual; {type(model).__name__} has {there}"
        )
    refused = [(site.path, site.refusal) for site in chosen if site.refusal]
    if refused:
        path, reason = refused[0]
        more = f", and {len(refused) - 1} more layers like it" if refused[1:] else ""
        raise UnsupportedError(f"{path or 'the layer'} has {reason}{more}; leave it out with layers=")
    return chosen


def _wrapping(model: nn.Module) -> str | None:
    """What wraps the model, or a part of it, such that its layers can no longer be exchanged."""
    names = {"DistributedDataParallel", "FullyShardedDataParallel", "OptimizedModule", "ScriptModule"}
    for module in model.modules():
        name = type(module).__name__
        if name in names or name.startswith("FSDP"):
            return name
    return None


def _fit(
    site: AttentionSite, problem: PrimalProblem, heads: Sequence[int] | None, layout: Layout | None
) -> Attending:
    try:
        return fitted_problem(site, problem, heads, layout)
    except PrimalDualError as error:
        raise type(error)(f"{site.path or 'the layer'}: {error}") from None


def _described(site: AttentionSite, problem: Attending) -> ConvertedLayer:
    added = sum(parameter.numel() for parameter in problem.parameters())
    return ConvertedLayer(site.path, type(site.module).__name__, site.heads, problem.spec(), added)
