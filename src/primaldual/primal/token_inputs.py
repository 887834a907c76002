"""What a part needs of every token beside query, key and value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError, UnsupportedError
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.masks import Attendable, causal_mask

Inputs = Mapping[str, Tensor]
"""Tensors by the names of :class:`TokenInput`."""

KEYS, QUERIES = "keys", "queries"
HEAD_DIM, VALUE_DIM = "head_dim", "value_dim"
TOKENS, WIDTHS = (KEYS, QUERIES), (None, HEAD_DIM, VALUE_DIM)


def unchanged(projected: Tensor) -> Tensor:
    """The projection itself."""
    return projected


@dataclass(frozen=True)
class TokenInput:
    """One tensor of numbers for each token and head, which a part states that it needs.

    Attributes:
        name: its name in ``attend(..., inputs={name: tensor})``, an identifier.
        meaning: what the numbers are, in a few words.
        neutral: the number that changes nothing; tokens that no query may attend have it, whatever is given.
        tokens: KEYS, one for each key (decoding keeps them), or QUERIES.
        width: None = one number, (batch, heads, N); HEAD_DIM or VALUE_DIM = a vector, (batch, heads, N, width).
        of_projection: from the numbers of a linear map of the token to accepted ones; of ``first`` it gives ``neutral``.
        first: where the linear map of a layer starts, with weights of 0.
        optional: where it is not given it is ``neutral`` for all tokens.
        learned: it has a gradient, and layers project it from their tokens; otherwise the caller of an attention gives it.
        of_value: calls with values take these for it where it is left out.
        of_previous: a stack of blocks gives the values of the block before for it, and ``neutral`` to the first.

    Raises:
        ArgumentError: a name that is not an identifier, or other words for tokens or width.

    Example:
        >>> print(TokenInput("rate", "steps of a token, 0 or more"))
        rate: steps of a token, 0 or more, (batch, heads, keys)
    """

    name: str
    meaning: str
    neutral: float = 0.0
    tokens: str = KEYS
    width: str | None = None
    of_projection: Callable[[Tensor], Tensor] = unchanged
    first: float = 0.0
    optional: bool = False
    learned: bool = True
    of_value: bool = False
    of_previous: bool = False

    def __post_init__(self) -> None:
        """Raise ArgumentError unless the words are known ones."""
        if not self.name.isidentifier() or self.tokens not in TOKENS or self.width not in WIDTHS:
            raise ArgumentError(
                f"an input needs an identifier as name, tokens among {TOKENS} and a width among {WIDTHS}; got "
                f"{self.name!r}, {self.tokens!r} and {self.width!r}"
            )

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes of the tensor in words."""
        return ("batch", "heads", self.tokens, *([] if self.width is None else [self.width]))

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape of the tensor, from sizes by the words of ``axes``."""
        return tuple(sizes[axis] for axis in self.axes)

    def __str__(self) -> str:
        return f"{self.name}: {self.meaning}, ({', '.join(self.axes)})"


OWN_VALUE = TokenInput("value", "the values themselves", width=VALUE_DIM, learned=False, of_value=True)
"""The values, for parts that read them elsewhere than under the weights."""


class Spelled(Protocol):
    """What can be written as a spec."""

    def spec(self) -> str: ...


class Needing(Protocol):
    """What states its inputs per token: a part, or an attention."""

    @property
    def token_inputs(self) -> tuple[TokenInput, ...]: ...


def joined_needs(parts: Iterable[Needing]) -> tuple[TokenInput, ...]:
    """Everything that some parts need, each once.

    Raises:
        ArgumentError: two parts that give one name to different inputs.
    """
    found: dict[str, TokenInput] = {}
    for part in parts:
        for need in part.token_inputs:
            if found.setdefault(need.name, need) != need:
                raise ArgumentError(
                    f"one name stands for two inputs per token: {need}, and {found[need.name]}; name one of them anew"
                )
    return tuple(found.values())


def of_queries(needs: Iterable[TokenInput], inputs: Inputs, rows: slice) -> dict[str, Tensor]:
    """The inputs of all keys, and of some queries."""
    return {
        need.name: inputs[need.name][:, :, rows] if need.tokens == QUERIES else inputs[need.name]
        for need in needs
    }


def sizes_of(query: Tensor, key_length: int, value_dim: int) -> dict[str, int]:
    """What the words of :attr:`TokenInput.axes` stand for."""
    batch, heads, queries, head_dim = query.shape
    return {
        "batch": batch,
        "heads": heads,
        KEYS: key_length,
        QUERIES: queries,
        HEAD_DIM: head_dim,
        VALUE_DIM: value_dim,
    }


def check_inputs(
    attention: Spelled,
    needs: Sequence[TokenInput],
    given: Inputs | None,
    query: Tensor,
    key_length: int,
    value_dim: int,
) -> dict[str, Tensor]:
    """The inputs by name, all there, of the right shape and kind.

    Args:
        attention: whose they are, for messages.
        needs: what its parts state.
        given: what the user gave.
        query: (batch, heads, Nq, D), for its sizes and its device.
        key_length: Nk.
        value_dim: Dv.

    Raises:
        ArgumentError: an input that is missing or unknown, no floating tensor, or on another device.
        ShapeError: one of another shape.
    """
    if not needs and not given:
        return {}
    given, sizes = dict(given or {}), sizes_of(query, key_length, value_dim)
    for name in given:
        if all(need.name != name for need in needs):
            raise ArgumentError(f"{attention.spec()} knows no input {name!r}; {_accepted(needs, sizes)}")
    for need in needs:
        if need.name not in given and need.optional:
            given[need.name] = query.new_full(need.shape(sizes), need.neutral)
        if need.name not in given:
            raise ArgumentError(
                f"{attention.spec()} needs the input {need.name!r}; got {sorted(given) or 'none'}; "
                f"{_accepted(needs, sizes)}"
            )
        tensor = given[need.name]
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ArgumentError(f"{need.name} must be a floating tensor; got {kind}")
        if need.width == VALUE_DIM and tensor.dim() == 4 and sizes["heads"] % max(1, tensor.shape[1]) == 0:
            tensor = given[need.name] = for_query_heads(tensor, sizes["heads"])
        if tensor.shape != need.shape(sizes):
            raise ShapeError(
                f"{need.name} must be ({', '.join(need.axes)}) = {need.shape(sizes)}; got {tuple(tensor.shape)}"
            )
        if tensor.device != query.device:
            raise ArgumentError(f"{need.name} must be on {query.device}, as the query; got {tensor.device}")
    return given


def value_width(needs: Iterable[TokenInput], given: Inputs | None, head_dim: int) -> int:
    """Dv where no values are given, by the inputs that are as wide; ``head_dim`` if there are none."""
    wide = [(given or {}).get(need.name) for need in needs if need.width == VALUE_DIM]
    return next((each.shape[3] for each in wide if isinstance(each, Tensor) and each.dim() == 4), head_dim)


def with_values(
    needs: Iterable[TokenInput], given: Inputs | None, heads: int, value: Tensor | None
) -> Inputs | None:
    """The inputs that a user gave and the values for those that are ``of_value`` and left out.

    Args:
        needs: what the parts state.
        given: what the user gave.
        heads: query heads.
        value: (batch, kv heads, Nk, Dv); None = there are none.
    """
    lacking = [need.name for need in needs if need.of_value and need.name not in (given or {})]
    if value is None or not lacking:
        return given
    return {**(given or {}), **dict.fromkeys(lacking, for_query_heads(value, heads))}


def learned(needs: Iterable[TokenInput]) -> tuple[TokenInput, ...]:
    """Those that layers project from their tokens."""
    return tuple(need for need in needs if need.learned)


def check_given(spec: str, needs: Iterable[TokenInput], layer: str, stacked: bool = False) -> None:
    """Refuse an attention that needs numbers of every token which do not follow from the tokens of its layer.

    Args:
        spec: of the attention.
        needs: what it states.
        layer: which layer, for the message.
        stacked: whether it gets the values of the layer before.

    Raises:
        UnsupportedError: it needs such inputs.
    """
    needed = ", ".join(
        need.name
        for need in needs
        if not (need.learned or need.of_value or need.optional or (stacked and need.of_previous))
    )
    if needed:
        raise UnsupportedError(
            f"{spec} needs {needed} of every token, which {layer} cannot make of its tokens; accepted are calls that give "
            "it: problem.attend, or primaldual.MultiheadAttention, with inputs="
        )


def _accepted(needs: Sequence[TokenInput], sizes: Mapping[str, int]) -> str:
    """What inputs are accepted, in words."""
    listed = "; ".join(f"{need} = {need.shape(sizes)}" for need in needs)
    return f"accepted are inputs with {listed}" if needs else "it takes no inputs per token"


def neutral_where_unattended(
    needs: Sequence[TokenInput], inputs: Inputs, attendable: Attendable
) -> dict[str, Tensor]:
    """The inputs, neutral at keys that the mask hides from every query: padding changes nothing, even NaN in it."""
    if not needs:
        return {}
    used, pairs = attendable.keys, attendable.pairs
    if pairs is not None:
        if attendable.is_causal:
            pairs = pairs & causal_mask(pairs.shape[2], pairs.shape[3], pairs.device)
        attended = pairs.any(-2, keepdim=True)
        used = attended if used is None else used & attended
    if used is None:
        return dict(inputs)
    found = dict(inputs)
    for need in needs:
        if need.tokens == KEYS:
            mask = used.squeeze(-2) if need.width is None else used.transpose(-2, -1)
            found[need.name] = torch.where(mask, inputs[need.name], need.neutral)
    return found


def read_inputs(
    attention: Spelled,
    needs: Sequence[TokenInput],
    given: Inputs | None,
    query: Tensor,
    key_length: int,
    value_dim: int,
    attendable: Attendable,
) -> dict[str, Tensor]:
    """The inputs of a call, see :func:`check_inputs`, neutral at keys that nobody attends."""
    found = check_inputs(attention, needs, given, query, key_length, value_dim)
    return neutral_where_unattended(needs, found, attendable)


def neutral_inputs(
    needs: Sequence[TokenInput], query: Tensor, key_length: int, value_dim: int
) -> dict[str, Tensor]:
    """Inputs that change nothing, in the type and on the device of the query."""
    sizes = sizes_of(query, key_length, value_dim)
    return {need.name: query.new_full(need.shape(sizes), need.neutral) for need in needs if not need.of_value}


def with_width(tensor: Tensor) -> Tensor:
    """An input with its width as the last axis, 1 where it is one number per token: (batch, heads, N, width)."""
    return tensor.unsqueeze(-1) if tensor.dim() == 3 else tensor


def of_heads(inputs: Inputs, heads: slice | list[int]) -> dict[str, Tensor]:
    """The inputs of some heads."""
    return {name: tensor[:, heads] for name, tensor in inputs.items()}
