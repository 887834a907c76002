"""Input transforms one after the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Self, cast

from torch import Tensor, nn

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.kernels.masks import Attendable
from primaldual.primal.decoding.incremental import Incremental, InTurn
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.token_inputs import Inputs, TokenInput, joined_needs
from primaldual.primal.training_sets import Kind, TrainingSet
from primaldual.primal.transforms import Transform


class Chain(Transform):
    """T(x) = T_n(... T_2(T_1(x))): transforms from left to right, each on the training keys that the one before gives.

    Masked keys stay masked throughout, so none of them reaches a later transform.

    Args:
        transforms: T_1, ..., T_n, at least one.

    Raises:
        ArgumentError: something that is not a Transform, or none at all.
        UnsupportedError: a transform that mixes queries, and is not the first; running statistics behind inputs per token.

    Example:
        >>> from primaldual import BatchNormalization, Convolution, PrimalProblem
        >>> PrimalProblem(transform=Chain(Convolution(3), BatchNormalization())).spec()
        'conv(3)+bn'
    """

    def __init__(self, *transforms: Transform) -> None:
        super().__init__()
        for transform in transforms:
            if not isinstance(transform, Transform):
                raise ArgumentError(f"transforms must be Transforms; got {type(transform).__name__}")
        if not transforms:
            raise ArgumentError("transforms must be one or more; got none")
        for transform in transforms[1:]:
            if transform.mixes_queries:
                raise UnsupportedError(
                    f"{transform.spec()} mixes the queries and must come first; got it after {transforms[0].spec()}"
                )
        for former, later in pairwise(transforms):
            if former.token_inputs and later.observes:
                raise UnsupportedError(
                    f"{later.spec()} keeps running statistics of what it gets, and {former.spec()} before it differs from "
                    "call to call; put it behind"
                )
        self.mixes_queries = transforms[0].mixes_queries
        self.repeatable = all(transform.repeatable for transform in transforms)
        self.neighbours = any(transform.neighbours for transform in transforms)
        self.of_positions = any(transform.of_positions for transform in transforms)
        self.two_dimensional = any(transform.two_dimensional for transform in transforms)
        self.transforms = nn.ModuleList(transforms)

    def _parts(self) -> list[Transform]:
        """T_1, ..., T_n."""
        return cast("list[Transform]", list(self.transforms))

    @property
    def uses_statistics(self) -> bool:  # type: ignore[override] # a step may change with the mode
        return any(step.uses_statistics for step in self._parts())

    @property
    def token_inputs(self) -> tuple[TokenInput, ...]:
        return joined_needs(self._parts())

    def with_inputs(self, inputs: Inputs) -> Transform:
        bound = [transform.with_inputs(inputs) for transform in self._parts()]
        alike = all(one is other for one, other in zip(bound, self._parts(), strict=True))
        return self if alike else self.knowing(transforms=nn.ModuleList(bound))

    def steps(self) -> list[Transform]:
        return [step for transform in self._parts() for step in transform.steps()]

    @property
    def layout(self) -> Layout:
        return next((step.layout for step in self._parts() if step.layout != SEQUENCE), SEQUENCE)

    @property
    def keeps_queries(self) -> bool:
        return all(step.keeps_queries for step in self._parts())

    def spec(self) -> str:
        return "+".join(filter(None, (transform.spec() for transform in self._parts())))

    def bind(self, heads: int, head_dim: int) -> Self:
        for transform in self._parts():
            transform.bind(heads, head_dim)
        return self

    def keep_heads(self, members: list[int], heads: int) -> None:
        for transform in self._parts():
            transform.keep_heads(members, heads)

    @property
    def observes(self) -> bool:
        return any(transform.observes for transform in self._parts())

    def observe(self, training: TrainingSet, heads: HeadSet) -> None:
        *former, last = self._parts()
        for transform in former:
            transform.observe(training, heads)
            training = _changed_keys(transform, training, heads)
        last.observe(training, heads)

    def operations(self, pairs: int, queries: int, head_dim: int) -> int:
        return sum(transform.operations(pairs, queries, head_dim) for transform in self._parts())

    def dense(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        for transform in self._parts():
            query, keys = transform.dense(query, keys, valid, heads)
        return query, keys

    def per_query(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        for transform in self._parts():
            query, keys = transform.per_query(query, keys, valid, heads)
        return query, keys

    def shared_refusal(self, kind: Kind) -> str | None:
        return _first_refusal(self._parts(), kind)

    def query_refusal(self, kind: Kind) -> str | None:
        *former, last = self._parts()
        return _first_refusal(former, kind) or last.query_refusal(kind)

    def scores_refusal(self, kind: Kind) -> str | None:
        former, last = self._before_scores(kind)
        return _first_refusal(former, kind) or last.scores_refusal(kind)

    def shared(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        for transform in self._parts():
            query, training = transform.shared(query, training, heads)
        return query, training

    def into_query(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        *former, last = self._parts()
        for transform in former:
            query, training = transform.shared(query, training, heads)
        return last.into_query(query, training, heads)

    def scored_refusal(self, kind: Kind) -> str | None:
        former, last = self._before_scores(kind)
        return _first_refusal(former, kind) or last.scored_refusal(kind)

    def into_scored(
        self, query: Tensor, training: TrainingSet, heads: HeadSet
    ) -> tuple[Tensor, TrainingSet, Tensor | None]:
        *former, last = self._parts()
        for transform in former:
            form = transform.into_scores if transform.shared_refusal(training.kind) else transform.shared
            query, training = form(query, training, heads)
        return last.into_scored(query, training, heads)

    def into_scores(self, query: Tensor, pairs: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        *former, last = self._parts()
        for transform in former:
            form = transform.into_scores if transform.shared_refusal(pairs.kind) else transform.shared
            query, pairs = form(query, pairs, heads)
        return last.into_scores(query, pairs, heads)

    @property
    def acts_on_queries(self) -> bool:  # type: ignore[override] # the last step decides
        return self._parts()[-1].acts_on_queries

    @property
    def variance_floor(self) -> float:  # type: ignore[override] # likewise
        return self._parts()[-1].variance_floor

    def _before_scores(self, kind: Kind) -> tuple[list[Transform], Transform]:
        """The steps that need one set of keys, and the last one: a filter right before a change of queries needs none."""
        *former, last = self._parts()
        if last.acts_on_queries and kind.pooled_late and former[-1].filters_pairs:
            former = former[:-1]
        return former, last

    def dense_queries(self, query: Tensor, allowed: Tensor | None, heads: HeadSet) -> Tensor:
        return self._parts()[0].dense_queries(query, allowed, heads)

    def mix_queries(self, query: Tensor, attendable: Attendable, heads: HeadSet) -> Tensor:
        return self._parts()[0].mix_queries(query, attendable, heads)

    def formula(self, style: str) -> list[str]:
        names = [f"T_{step}(" for step in range(1, len(self.transforms) + 1)]
        whole = "".join(reversed(names)) + "x" + ")" * len(names)
        each = [
            re.sub(r"(?<!\w)T\(", name, line)
            for transform, name in zip(self._parts(), names, strict=True)
            for line in transform.formula(style)
        ]
        if style == "latex":
            return [rf"T(x) = {whole},\quad \text{{each on what the one before gives}}", *each]
        return [f"T(x) = {whole}, each on what the one before gives", *each]

    @property
    def shift_equivariant(self) -> bool:
        return all(transform.shift_equivariant for transform in self._parts())

    def incremental(self, heads: HeadSet, exact: bool) -> Incremental | None:
        last = self._parts()[-1]
        steps = [transform.incremental(heads, exact or transform is not last) for transform in self._parts()]
        found = [step for step in steps if step is not None]
        return InTurn(found) if len(found) == len(steps) else None


def in_turn(transforms: Sequence[Transform]) -> Transform:
    """One transform that applies the given ones from left to right; a single one is returned as it is.

    Raises:
        ArgumentError: no transform.
    """
    return transforms[0] if len(transforms) == 1 else Chain(*transforms)


def _first_refusal(transforms: list[Transform], kind: Kind) -> str | None:
    return next(filter(None, (transform.shared_refusal(kind) for transform in transforms)), None)


def _changed_keys(transform: Transform, training: TrainingSet, heads: HeadSet) -> TrainingSet:
    """The training pairs of whole sequences after a transform, by its definition if it has no fast form."""
    batch, _, length, head_dim = training.key.shape
    members = len(heads.members)
    no_query = training.key.new_empty(batch, members, 0, head_dim)
    if transform.shared_refusal(training.kind) is None:
        return transform.shared(no_query, training, heads)[1]
    training = training.for_query_heads(members)
    valid = training.attendable.matrix(1, length, training.key.device).expand(batch, members, 1, length)
    return training.with_keys(
        transform.dense(no_query, training.key.unsqueeze(2), valid, heads)[1].squeeze(2)
    )
