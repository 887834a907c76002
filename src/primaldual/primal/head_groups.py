"""Heads of one layer that solve different problems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.kernels.masks import Attendable, read_mask
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.plan import read
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.sources import KeyValueSource, selection


class HeadGroups(nn.Module):
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
        self.problems = nn.ModuleList(problem for problem, _ in given)
        self.members = [members for _, members in given]
        self.count = sum(map(len, self.members))
        named = sorted(head for members in self.members for head in members)
        if not named or named != list(range(self.count)):
            raise ArgumentError(f"groups must name every head once; got {self.members}")

    def spec(self) -> str:
        """The specs of the groups, each with its heads."""
        return ", ".join(f"{problem.spec()} in heads {members}" for problem, members in self.pairs())

    def extra_repr(self) -> str:
        return f"heads={self.members}"

    def forward(
        self, query: Tensor, source: KeyValueSource, attendable: Attendable, dropout_p: float = 0.0
    ) -> Tensor:
        """As :meth:`PrimalProblem.forward`."""
        return self._join(
            problem(
                query[:, selection(members)],
                _SomeHeads(source, members),
                attendable.select(selection(members)),
                dropout_p,
            )
            for problem, members in self.pairs()
        )

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        is_causal: bool = False,
        dropout_p: float = 0.0,
    ) -> Tensor:
        """As :meth:`PrimalProblem.attend`."""
        outputs: Tensor = self(query, *read(query, key, value, mask, is_causal, dropout_p), dropout_p)
        return outputs

    def attention_map(
        self, query: Tensor, key: Tensor, mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """As :meth:`PrimalProblem.attention_map`."""
        batch, heads, query_length, _ = query.shape
        attendable = read_mask(mask, is_causal, batch, heads, query_length, key.shape[2])
        groups = heads // key.shape[1]
        maps = []
        for problem, members in self.pairs():
            merged = attendable.select(selection(members)).matrix(query_length, key.shape[2], key.device)
            shared = key[:, [head // groups for head in members]]
            maps.append(problem.attention_map(query[:, members], shared, merged))
        return self._join(maps)

    def init_state(self, *sizes: object, **options: object) -> NoReturn:
        """Not there: a :class:`DecodingState` is of one problem.

        Raises:
            UnsupportedError: always.
        """
        del sizes, options
        raise UnsupportedError(f"decoding step by step needs one problem for all heads; got {self.spec()}")

    def pairs(self) -> Iterable[tuple[PrimalProblem, list[int]]]:
        """Every problem with its heads."""
        for problem, members in zip(self.problems, self.members, strict=True):
            assert isinstance(problem, PrimalProblem)
            yield problem, members

    def _join(self, parts: Iterable[Tensor]) -> Tensor:
        joined = torch.cat(list(parts), 1)
        order = [head for members in self.members for head in members]
        return joined[:, selection([order.index(head) for head in range(self.count)])]


class _SomeHeads:
    """Some heads of a source, numbered from 0."""

    def __init__(self, source: KeyValueSource, members: list[int]) -> None:
        self.source = source
        self.members = members
        self.length = source.length
        self.tensors = None

    def take(self, heads: list[int]) -> tuple[Tensor, Tensor]:
        return self.source.take([self.members[head] for head in heads])

    def pooled(self, heads: HeadSet, key_mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        there = [self.members[head] for head in heads.members]
        return self.source.pooled(HeadSet(there, heads.scale, heads.positions), key_mask)
