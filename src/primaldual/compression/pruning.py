"""Take heads out of a model for good: parameters and operations fall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from primaldual.analysis.head_report import HeadReport
from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.integrations.attention_sites import AttentionSite, select_sites
from primaldual.integrations.finding import find_sites
from primaldual.integrations.fitted_problem import fit
from primaldual.integrations.layer_stacks import hand_on_values
from primaldual.integrations.transaction import all_or_nothing
from primaldual.integrations.wrapping import refuse_wrapped
from primaldual.primal.problem import PrimalProblem

Keep = Mapping["int | str", Sequence[int]] | float
"""Heads that stay, by the layer's number or name; or the share of all heads."""


def prune_heads(model: nn.Module, keep: Keep, report: HeadReport | None = None) -> dict[str, list[int]]:
    """Cut heads out of attention layers: their rows of the query, key and value maps, their columns of the output's.

    The model gives what it gave with those heads silent. It saves, loads and exports like any other; an
    nn.MultiheadAttention becomes one of this library, because torch's has no other number of heads than its width
    says. Prune before making the optimizer.

    Args:
        model: changed in place; after an error it is as it was.
        keep: by layer, which heads stay (``{0: [1, 2], "encoder.layer.3.attention.self": [0]}``; layers left out keep
            all); or the share of all heads, from 0 to 1: the most important ones of ``report``, one in each layer at
            least. Heads that share keys (grouped queries) stay or go together, by their mean importance; the number
            of heads that stay is then the nearest one to the share.
        report: from :func:`primaldual.head_report` on this model, with importance.

    Returns:
        The heads that stayed, by the names of the layers that lost some.

    Raises:
        ArgumentError: layers or heads that do not exist, no head left, a share without a report.
        UnsupportedError: a model without attention that is known, or compiled or wrapped; heads by layer that share
            keys with heads that stay.

    Example:
        >>> layer = nn.TransformerEncoderLayer(16, 4, batch_first=True).eval()
        >>> before = sum(parameter.numel() for parameter in layer.parameters())
        >>> prune_heads(layer, {0: [0, 3]})
        {'self_attn': [0, 3]}
        >>> before - sum(parameter.numel() for parameter in layer.parameters())
        536
    """
    refuse_wrapped(model, "pruned")
    sites = find_sites(model)
    if not sites:
        raise UnsupportedError(f"model must have supported attention layers; {type(model).__name__} has none")
    chosen = _by_importance(sites, keep, report) if not isinstance(keep, Mapping) else _by_layer(sites, keep)
    stay = {site.path: chosen[site.path] for site in sites if len(chosen[site.path]) < site.heads}
    with all_or_nothing(model):
        for site in sites:
            if site.path in stay:
                _prune(site, stay[site.path])
        hand_on_values(model)
    return stay


def _prune(site: AttentionSite, keep: list[int]) -> None:
    if isinstance(site.module, nn.MultiheadAttention):
        if site.refusal:
            raise UnsupportedError(f"{site.path} has {site.refusal}")
        site.convert(fit(PrimalProblem(), site, site.heads))
    try:
        site.prune(keep)
    except UnsupportedError as error:
        raise UnsupportedError(f"{site.path or 'the layer'}: {error}") from None


def _by_layer(sites: list[AttentionSite], keep: Mapping[int | str, Sequence[int]]) -> dict[str, list[int]]:
    chosen = {site.path: list(range(site.heads)) for site in sites}
    for layer, heads in keep.items():
        for site in select_sites(sites, layer):
            members = sorted(set(heads))
            if not members or members[0] < 0 or members[-1] >= site.heads:
                raise ArgumentError(
                    f"keep must name at least one of the heads 0 to {site.heads - 1} of {site.path}; got {list(heads)}"
                )
            chosen[site.path] = members
    return chosen


def _by_importance(
    sites: list[AttentionSite], share: float, report: HeadReport | None
) -> dict[str, list[int]]:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ArgumentError(f"keep must be heads by layer, or a share from 0 to 1; got {share!r}")
    if report is None:
        raise ArgumentError(
            "keep is a share, and needs the importance of heads: report=head_report(model, data)"
        )
    found = {layer.path: layer.importance for layer in report.layers}
    for site in sites:
        importance = found.get(site.path)
        if importance is not None and (len(importance) != site.heads or bool(importance.isnan().any())):
            raise ArgumentError(f"report must have the importance of the {site.heads} heads of {site.path}")
    measured = [site for site in sites if site.path in found]
    groups = [_Group(site, members, found[site.path]) for site in measured for members in _sharing(site)]
    groups.sort(key=lambda group: group.importance, reverse=True)
    wanted = round(share * sum(site.heads for site in measured))
    staying: dict[str, set[int]] = {site.path: set(range(site.heads)) for site in sites}
    for site in measured:
        staying[site.path] = set(next(group.members for group in groups if group.path == site.path))
    count = 0
    for group in groups:
        if count + len(group.members) / 2 <= wanted:
            count += len(group.members)
            staying[group.path].update(group.members)
    return {path: sorted(heads) for path, heads in staying.items()}


class _Group:
    """Heads of a layer that stay or go together, and their mean importance."""

    def __init__(self, site: AttentionSite, members: list[int], importance: Tensor) -> None:
        self.path = site.path
        self.members = members
        self.importance = float(importance[members].mean())


def _sharing(site: AttentionSite) -> list[list[int]]:
    """The query heads of every key head."""
    size = site.heads // site.kv_heads
    return [list(range(first, first + size)) for first in range(0, site.heads, size)]
