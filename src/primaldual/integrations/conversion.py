"""Convert the attention layers of an existing model, and revert them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from primaldual.errors import ArgumentError, PrimalDualError, UnsupportedError
from primaldual.integrations.attention_sites import AttentionSite, Layers, describe_paths, select_sites
from primaldual.integrations.finding import find_sites, other_attention
from primaldual.integrations.fitted_problem import fitted_problem
from primaldual.integrations.layer_stacks import hand_on_values
from primaldual.integrations.output_changes import output_changes
from primaldual.integrations.transaction import all_or_nothing, place_all
from primaldual.integrations.wrapping import refuse_wrapped
from primaldual.kernels.layout import Layout
from primaldual.nn.input_projections import count_parameters
from primaldual.primal.attention import Attention
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem


@dataclass(frozen=True)
class ConvertedLayer:
    """What :func:`convert` does to one layer.

    Attributes:
        path: the layer's name in the model.
        kind: its class before.
        heads: number of heads.
        attention: spec of their attention afterwards.
        added: number of parameters added.
        change: || new - old || / || old || of the heads' outputs on the sample; None without one.
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
        layers: the layers that were converted, or would be in a dry run.
        others: path and class of unknown attention modules, which were left alone.
        change: || new - old || / || old || of the model's output on the sample; None without one.
        dry_run: nothing was changed.

    Example:
        >>> from torch import nn
        >>> report = convert(nn.TransformerEncoderLayer(16, 2), "bn", verbose=False)
        >>> len(report.layers), report.others
        (1, ())
    """

    layers: tuple[ConvertedLayer, ...]
    others: tuple[tuple[str, str], ...]
    change: float | None
    dry_run: bool

    def __str__(self) -> str:
        count = len(self.layers)
        done = "would convert" if self.dry_run else "converted"
        lines = [f"{done} {count} attention layer{'s' if count != 1 else ''}"]
        lines += _aligned([_row(layer) for layer in self.layers])
        if self.change is not None:
            lines.append(f"  the model's output changes by {self.change:.2e} on the sample")
        lines += [f"  left alone: {path or '(itself)'} ({kind})" for path, kind in self.others]
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

    This converts ``nn.MultiheadAttention`` (also inside nn.Transformer and its layers), timm's ``Attention``,
    attention modules of transformers, and layers of this library. "softmax" changes no output. Convert before
    making the optimizer, before DDP, FSDP and torch.compile; before or after LoRA, but an nn.MultiheadAttention before.

    Args:
        model: changed in place; after an error it is as it was.
        attention: a spec such as ``"bn+sh(1,1,2,4)"``, or a PrimalProblem, of which every layer gets a copy.
        layers: which: numbers in the model's order, names or patterns, or a predicate of a site; None = all.
        heads: which heads of every layer; the others keep what they have.
        layout: how positions lie, for scaled heads and convolutions; None = as the model says (a grid of patches
            behind its class and register tokens), unless the attention says it.
        sample: an input of the model, to measure the change of its output: a tensor, a tuple of arguments, or a
            dict of named ones.
        dry_run: change nothing, report what would change.
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
    refuse_wrapped(model, "converted")
    sites = find_sites(model)
    others = tuple(other_attention(model, sites))
    chosen = _accepted(model, sites, layers, others)
    problem = preset(attention)
    made = [_fit(site, problem, heads, layout) for site in chosen]
    report = Conversion(
        tuple(_described(site, new) for site, new in zip(chosen, made, strict=True)), others, None, dry_run
    )
    if sample is not None:
        changes, total = output_changes(model, chosen, made, sample)
        report = replace(
            report,
            change=total,
            layers=tuple(
                replace(layer, change=change) for layer, change in zip(report.layers, changes, strict=True)
            ),
        )
    if not dry_run:
        with all_or_nothing(model):
            place_all(chosen, made)
            hand_on_values(model)
    if verbose:
        print(report)
    return report


def revert(model: nn.Module, layers: Layers = None) -> list[str]:
    """Undo :func:`convert`; the weights stay as they are now.

    Args:
        model: changed in place; after an error it is as it was.
        layers: which, as in :func:`convert`.

    Returns:
        The names of the layers that were turned back.

    Raises:
        ArgumentError: layers that do not exist.
        UnsupportedError: a layer that cannot be restored: heads were cut out, or projections were wrapped.

    Example:
        >>> layer = nn.TransformerEncoderLayer(16, 4, batch_first=True)
        >>> _ = convert(layer, "bn", verbose=False)
        >>> revert(layer), type(layer.self_attn).__name__
        (['self_attn'], 'MultiheadAttention')
    """
    refuse_wrapped(model, "reverted")
    turned = []
    with all_or_nothing(model):
        for site in select_sites(find_sites(model), layers):
            before = site.problem
            try:
                site.revert()
            except PrimalDualError as error:
                raise type(error)(f"{site.path or 'the layer'} cannot be reverted: {error}") from None
            if site.problem is not before:
                turned.append(site.path)
        hand_on_values(model)
    return turned


def _accepted(
    model: nn.Module, sites: list[AttentionSite], layers: Layers, others: Sequence[tuple[str, str]]
) -> list[AttentionSite]:
    chosen = select_sites(sites, layers) if sites else []
    if sites and not chosen:
        raise ArgumentError(f"layers chose none; the model has {describe_paths(sites)}")
    if not chosen:
        seen = ", ".join(f"{path or '(itself)'} ({kind})" for path, kind in others[:6])
        raise UnsupportedError(
            "model must hold an nn.MultiheadAttention, a timm Attention, a transformers attention or one of "
            f"primaldual; {type(model).__name__} has {seen or 'no attention layer at all'}. Between projections of a "
            "class of your own, put primaldual.integrations.adapt(attention, heads, head_dim)"
        )
    refused = [(site.path, site.refusal) for site in chosen if site.refusal]
    if refused:
        path, reason = refused[0]
        rest = len(refused) - 1
        more = f" (and {rest} more layer{'s' if rest > 1 else ''} cannot be converted)" if rest else ""
        raise UnsupportedError(f"{path or 'the layer'} has {reason}{more}; leave it out with layers=")
    return chosen


def _fit(
    site: AttentionSite, problem: PrimalProblem, heads: Sequence[int] | None, layout: Layout | None
) -> Attention:
    try:
        fitted = fitted_problem(site, problem, heads, layout)
        site.check(fitted)
    except PrimalDualError as error:
        raise type(error)(f"{site.path or 'the layer'}: {error}") from None
    return fitted


def _described(site: AttentionSite, problem: Attention) -> ConvertedLayer:
    added = sum(parameter.numel() for parameter in problem.parameters())
    if site.token_widths is not None:
        added += count_parameters(problem.token_inputs, site.heads, site.head_dim, *site.token_widths)
    return ConvertedLayer(site.path, type(site.module).__name__, site.heads, problem.spec(), added)


def _row(layer: ConvertedLayer) -> list[str]:
    plural = "s" if layer.heads != 1 else ""
    added = f"+{layer.added} parameter{'s' if layer.added != 1 else ''}" if layer.added else ""
    change = "" if layer.change is None else f"heads change by {layer.change:.2e}"
    heads = f"{layer.heads} head{plural}"
    return [layer.path or "(itself)", f"{layer.kind}, {heads}", f"-> {layer.attention}", added, change]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of columns that begin one below the other; empty columns are left out."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True) if width).rstrip()
        for row in rows
    ]
