"""Heads of one layer that solve different problems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.kernels.masks import Attendable, read_mask
from primaldual.primal.attention import Attention
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.sources import KeyValueSource, SourceOfHeads, selection
from primaldual.primal.token_inputs import (
    Inputs,
    TokenInput,
    check_inputs,
    joined_needs,
    of_heads,
    value_width,
    with_values,
)


class HeadGroups(Attention):
    """A layer whose heads are divided among problems: multi-head attention is a sum of them anyway.

    Args:
        groups: pairs of a problem and the heads that are its own; together every head once.

    Raises:
        ArgumentError: heads named twice or left out, or none at all.

    Example:
        >>> from primaldual.primal.presets import preset
        >>> groups = HeadGroups([(preset("bn"), [0, 2]), (preset("softmax"), [1])])
        >>> query, key, value = torch.randn(3, 1, 3, 5, 8).unbind(0)
        >>> groups.attend(query, key, value).shape
        torch.Size([1, 3, 5, 8])
    """

    def __init__(self, groups: Iterable[tuple[PrimalProblem, Sequence[int]]]) -> None:
        super().__init__()
        given = [(problem, sorted(members)) for problem, members in groups if len(members)]
        self.groups = nn.ModuleList(problem for problem, _ in given)
        self.members = [members for _, members in given]
        self.count = sum(map(len, self.members))
        named = sorted(head for members in self.members for head in members)
        if not named or named != list(range(self.count)):
            raise ArgumentError(f"groups must name every head once; got {self.members}")

    def spec(self) -> str:
        """The specs of the groups, each with its heads."""
        return ", ".join(f"{problem.spec()} in heads {members}" for problem, members in self.problems())

    def extra_repr(self) -> str:
        return f"heads={self.members}"

    def problems(self, heads: int | None = None) -> Iterable[tuple[PrimalProblem, list[int]]]:
        if heads not in (None, self.count):
            raise ArgumentError(f"the groups have {self.count} heads; got {heads}")
        for problem, members in zip(self.groups, self.members, strict=True):
            assert isinstance(problem, PrimalProblem)
            yield problem, members

    @property
    def token_inputs(self) -> tuple[TokenInput, ...]:
        return joined_needs(problem for problem, _ in self.problems())

    def keep_heads(self, members: list[int], heads: int) -> Attention:
        kept = []
        for problem, own in self.problems(heads):
            left = [head for head in members if head in own]
            if left:
                problem.keep_heads([own.index(head) for head in left], len(own))
                kept.append((problem, [place for place, head in enumerate(members) if head in own]))
        return joined(kept)

    def compute_source(
        self,
        query: Tensor,
        source: KeyValueSource,
        attendable: Attendable,
        dropout_p: float = 0.0,
        inputs: Inputs | None = None,
    ) -> Tensor:
        given = self._given(query, source, inputs)
        return self._join(
            problem.compute_source(
                *_of_heads(members, query, source, attendable),
                dropout_p,
                _of_problem(problem, members, given),
            )
            for problem, members in self.problems()
        )

    def forward(
        self,
        query: Tensor,
        source: KeyValueSource,
        attendable: Attendable,
        dropout_p: float = 0.0,
        inputs: Inputs | None = None,
    ) -> Tensor:
        given = self._given(query, source, inputs)
        return self._join(
            problem(
                *_of_heads(members, query, source, attendable),
                dropout_p,
                _of_problem(problem, members, given),
            )
            for problem, members in self.problems()
        )

    def _given(self, query: Tensor, source: KeyValueSource, inputs: Inputs | None) -> dict[str, Tensor]:
        """The inputs per token of a call, checked."""
        needs, heads, value_dim = self.token_inputs, query.shape[1], query.shape[3]
        if source.tensors is not None:
            value_dim = source.tensors[1].shape[3]
        if any(need.of_value for need in needs):
            inputs = with_values(needs, inputs, heads, source.take(list(range(heads)))[1])
        return check_inputs(self, needs, inputs, query, source.length, value_dim)

    def attention_map(
        self,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        inputs: Inputs | None = None,
    ) -> Tensor:
        needs = self.token_inputs
        width = value_width(needs, inputs, key.shape[3])
        given = check_inputs(self, needs, inputs, query, key.shape[2], width)
        batch, heads, query_length, _ = query.shape
        attendable = read_mask(mask, is_causal, batch, heads, query_length, key.shape[2])
        groups = heads // key.shape[1]
        maps = []
        for problem, members in self.problems():
            merged = attendable.select(selection(members)).matrix(query_length, key.shape[2], key.device)
            shared = key[:, [head // groups for head in members]]
            maps.append(
                problem.attention_map(
                    query[:, members], shared, merged, inputs=_of_problem(problem, members, given)
                )
            )
        return self._join(maps)

    def init_state(self, *sizes: object, **options: object) -> NoReturn:
        """Unsupported: a :class:`DecodingState` belongs to a single problem.

        Raises:
            UnsupportedError: always.
        """
        del sizes, options
        raise UnsupportedError(f"decoding step by step needs one problem for all heads; got {self.spec()}")

    def _join(self, parts: Iterable[Tensor]) -> Tensor:
        joined = torch.cat(list(parts), 1)
        order = [head for members in self.members for head in members]
        return joined[:, selection([order.index(head) for head in range(self.count)])]


def joined(groups: Iterable[tuple[PrimalProblem, Sequence[int]]]) -> Attention:
    """The attention whose heads solve these problems: a problem that has all heads itself, else :class:`HeadGroups`.

    Raises:
        ArgumentError: as :class:`HeadGroups`.
    """
    made = HeadGroups(groups)
    pairs = list(made.problems())
    return pairs[0][0] if len(pairs) == 1 else made


def _of_heads(
    members: list[int], query: Tensor, source: KeyValueSource, attendable: Attendable
) -> tuple[Tensor, KeyValueSource, Attendable]:
    """What concerns some heads, numbered from 0."""
    picked = selection(members)
    return query[:, picked], SourceOfHeads(source, members), attendable.select(picked)


def _of_problem(problem: PrimalProblem, members: list[int], inputs: Inputs) -> dict[str, Tensor]:
    """The inputs that one of the problems needs, of its heads."""
    needed = {need.name for need in problem.token_inputs}
    return of_heads({name: inputs[name] for name in inputs if name in needed}, selection(members))
