"""An attention layer in a model of any library, and the choice of some of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.integrations.descriptions import Description, described
from primaldual.integrations.position_dependence import check_cross_attention
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.primal.attention import Attention
from primaldual.primal.token_inputs import check_given

Layers = int | str | Sequence["int | str"] | Callable[["AttentionSite"], bool] | None
"""Which attention layers: numbers in the model's order, names or patterns like ``"encoder.*"``, or a predicate."""


class AttentionSite(ABC):
    """An attention layer inside a model.

    Attributes:
        model: the model that was searched.
        path: the layer's name in it.
    """

    def __init__(self, model: nn.Module, path: str) -> None:
        self.model = model
        self.path = path

    @property
    def module(self) -> nn.Module:
        """The layer as it is now."""
        return self.model.get_submodule(self.path)

    @property
    @abstractmethod
    def heads(self) -> int:
        """Query heads."""

    @property
    @abstractmethod
    def kv_heads(self) -> int:
        """Heads of keys and values."""

    @property
    @abstractmethod
    def head_dim(self) -> int:
        """Width of queries and keys in a head."""

    @property
    def layout(self) -> Layout:
        """How the positions lie, as far as the model states it."""
        return SEQUENCE

    @property
    def score_scale(self) -> float | None:
        """The factor on the scores, None for the usual 1 / sqrt(head_dim)."""
        return None

    @property
    @abstractmethod
    def problem(self) -> Attention | None:
        """The attention of the layer, None before it is converted."""

    def described(self) -> Description | None:
        """The attention of the layer for JSON, None before it is converted."""
        return None if self.problem is None else described(self.problem, self.heads)

    @property
    def pools_before_projecting(self) -> bool:
        """Whether pooled heads also project fewer keys and values."""
        return False

    @property
    def values_by_hook(self) -> bool:
        """Whether a hook of the problem sees the values of a whole call, as they are handed on to the next layer."""
        return True

    @property
    def token_widths(self) -> tuple[int, int] | None:
        """Features of the tokens of queries and keys, from which inputs per token are projected; None = not seen here."""
        return None

    @property
    def refusal(self) -> str | None:
        """Why the layer cannot be converted, None if it can."""
        return None

    @property
    def is_cross_attention(self) -> bool:
        """Whether the layer attends the keys of another sequence, as far as the model states it."""
        return False

    @property
    def is_causal(self) -> bool | None:
        """Whether queries attend no later key, None where only a call tells."""
        return None

    def check(self, problem: Attention) -> None:
        """Refuse an attention that has no meaning in this layer.

        Raises:
            UnsupportedError: one that needs queries among the keys, in cross-attention; one that needs inputs per token
                that no layer projects, or where the layer does not show the tokens; one whose tokens have an order, in a
                layer that attends later keys.
        """
        check_given(problem.spec(), problem.token_inputs, "a converted layer", stacked=True)
        if self.token_widths is None:
            check_projected(problem, stacked=True)
        if self.is_causal is False:
            for part, _ in problem.problems(self.heads):
                if refused := part.solver.call_refusal(2, 2, False, False):
                    raise UnsupportedError(
                        f"the layer attends later tokens too, and {part.spec()} {refused}; leave it out with layers="
                    )
        if self.is_cross_attention:
            check_cross_attention(problem, self.heads)

    @abstractmethod
    def convert(self, problem: Attention) -> None:
        """Give the layer this attention; all weights are kept.

        Raises:
            UnsupportedError: as :meth:`check`.
        """

    @abstractmethod
    def revert(self) -> None:
        """Restore the attention from before :meth:`convert`, with the present weights."""

    @abstractmethod
    def prune(self, keep: Sequence[int]) -> None:
        """Cut all heads but these out of the projections and the problem.

        Raises:
            UnsupportedError: heads that share keys with heads that stay.
        """


def check_projected(problem: Attention, stacked: bool = False) -> None:
    """Refuse an attention that needs more of every token, where only queries, keys and values are known.

    Args:
        problem: the attention.
        stacked: whether its layer gets the values of the layer before.

    Raises:
        UnsupportedError: it needs inputs per token that are neither optional nor values.
    """
    needed = [need for need in problem.token_inputs if not (need.optional or need.of_value)]
    if projected := ", ".join(need.name for need in needed if not need.of_previous):
        raise UnsupportedError(
            f"{problem.spec()} needs {projected} of every token, projected from the tokens, and here only queries, keys and "
            "values are known; accepted are layers of torch, of timm and of this library"
        )
    if former := ", ".join(need.name for need in needed if not stacked):
        raise UnsupportedError(
            f"{problem.spec()} needs {former}, the values of the layer before, which one layer alone does not know: build "
            "the model with another attention, and give the whole of it to primaldual.convert"
        )


def select_sites(sites: Sequence[AttentionSite], layers: Layers) -> list[AttentionSite]:
    """The layers that ``layers`` selects, in the model's order; None selects all.

    Raises:
        ArgumentError: a number or name of no layer.
    """
    if layers is None:
        return list(sites)
    if callable(layers):
        return [site for site in sites if layers(site)]
    wanted = [layers] if isinstance(layers, int | str) else list(layers)
    chosen = set()
    for layer in wanted:
        if isinstance(layer, int) and not isinstance(layer, bool):
            matching = [layer % len(sites)] if -len(sites) <= layer < len(sites) else []
        elif isinstance(layer, str):
            matching = [place for place, site in enumerate(sites) if fnmatchcase(site.path, layer)]
        else:
            raise ArgumentError(f"layers must be numbers, names or patterns; got {layer!r}")
        if not matching:
            raise ArgumentError(f"layers has {layer!r}; the model has {describe_paths(sites)}")
        chosen.update(matching)
    return [site for place, site in enumerate(sites) if place in chosen]


def describe_paths(sites: Sequence[AttentionSite]) -> str:
    """The layers in words, for messages."""
    shown = ", ".join(f"{place} {site.path or '(itself)'}" for place, site in enumerate(sites[:12]))
    return f"{len(sites)} attention layers: {shown}{', …' if len(sites) > 12 else ''}"
