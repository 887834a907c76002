"""Input transforms T: what happens to queries and training keys before the feature map."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor

from primaldual.errors import UnsupportedError
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.kernels.masks import Attendable
from primaldual.kernels.statistics import KeyStatistics
from primaldual.primal.decoding.incremental import Incremental
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.parts import Part
from primaldual.primal.token_inputs import Inputs
from primaldual.primal.training_sets import Kind, TrainingSet


class AffineMap(NamedTuple):
    """x -> (x - offset) * factor, for each query head.

    Attributes:
        offset: (heads, D), float64.
        factor: (heads, D), float64.
        gain: another factor on queries alone, (heads, D or 1), float64; None = 1.
    """

    offset: Tensor
    factor: Tensor
    gain: Tensor | None = None

    def of_queries(self, factor: Tensor) -> AffineMap:
        """The map of the queries, with a given factor beside the gain."""
        return AffineMap(self.offset, factor if self.gain is None else factor * self.gain)


class Standardization(NamedTuple):
    """g (q - beta mu) / sqrt(sigma^2 + eps) and (k - beta mu) / sqrt(sigma^2 + eps) by the moments of the training keys.

    Attributes:
        beta: a number, or (heads,).
        eps: added to the variance; None = no division.
        gain: g of the queries, (heads, D or 1); None = 1.
    """

    beta: float | Tensor
    eps: float | None
    gain: Tensor | None


class Transform(Part):
    """An input transform; a subclass states ``dense``, which is enough, and how T is computed faster.

    Attributes:
        mixes_queries: T of a query depends on the other queries too, which must then all be given. A subclass
            that says so defines ``dense_queries`` and ``mix_queries``, which come before everything else.
        uses_statistics: T depends on the mean or variance of a query's training keys.
        repeatable: T follows from its arguments, parameters and buffers alone, so that it may be computed for some
            sequences and heads at a time, and again in the backward.
        neighbours: T of a key depends on the keys beside it, so the layout of the positions matters.
        two_dimensional: T takes the positions for an image.
        of_positions: T depends on numbers of the positions beside their keys, so every pair must be a position.
        filters_pairs: T gives pairs of every query a filter, which makes sums of them, see :meth:`into_scores`.
        acts_on_queries: with the scores T(x) . T(k) it changes the queries alone, whatever the pairs are sums of.

    Example:
        >>> import torch
        >>> from primaldual import Constant, Dot, PrimalProblem
        >>> class Halved(Transform):
        ...     name = "halved"
        ...     def dense(self, query, keys, valid, heads):
        ...         return query / 2, keys / 2
        >>> key = torch.ones(1, 1, 1, 4)
        >>> PrimalProblem(Dot(), Constant(), Halved()).weights(key, key)
        tensor([[[[1.]]]])
    """

    choice = "transform"
    mixes_queries: bool = False
    uses_statistics: bool = False
    repeatable: bool = False
    neighbours: bool = False
    two_dimensional: bool = False
    of_positions: bool = False
    filters_pairs: bool = False
    acts_on_queries: bool = False
    variance_floor: float = 0.0
    """What is added to variances, where :meth:`of_statistics` divides by them."""

    def steps(self) -> list[Transform]:
        """The transforms that T applies one after the other; of most, T alone."""
        return [self]

    def with_inputs(self, inputs: Inputs) -> Transform:
        """The transform of one call, given what ``token_inputs`` names, of all heads and keys; of most, T alone."""
        del inputs
        return self

    @property
    def layout(self) -> Layout:
        """How positions lie, as far as the transform itself says."""
        return SEQUENCE

    @property
    def observes(self) -> bool:
        """Whether the transform is to be shown the training pairs of every sequence now, by ``observe``."""
        return False

    def observe(self, training: TrainingSet, heads: HeadSet) -> None:
        """Take note of the training pairs of whole sequences; called once per forward pass, without gradients.

        Args:
            training: pairs that all queries share, as the transform would get them.
            heads: which heads of the problem these are.
        """
        del training, heads

    def formula(self, style: str) -> list[str]:
        name = self.spec() or type(self).__name__
        return [rf"T(x) = \text{{{name}}}(x)" if style == "latex" else f"T(x) = {name}(x)"]

    def operations(self, pairs: int, queries: int, head_dim: int) -> int:
        """Operations of the products of matrices and convolutions in T, for one head of one sequence."""
        del pairs, queries, head_dim
        return 0

    def dense(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        """The definition: T of the queries and of every query's training keys.

        Args:
            query: (batch, heads, Nq, D).
            keys: (batch, heads, Nq or 1, Nt, D).
            valid: bool (batch, heads, Nq or 1, Nt), which of them are training keys.
            heads: which heads of the problem these are, their scale and the layout of their pairs.
        """
        raise NotImplementedError(f"{type(self).__name__} must define dense")

    def per_query(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        """The same, fast; keys that are not training keys are finite, and may come out as anything finite."""
        return self.dense(query, keys, valid, heads)

    def by_statistics(
        self, query: Tensor, keys: Tensor, found: KeyStatistics, heads: HeadSet
    ) -> tuple[Tensor, Tensor]:
        """The same from statistics of the training keys, where :meth:`standardization` says that T is made of these."""
        raise NotImplementedError

    def shared_refusal(self, kind: Kind) -> str | None:
        """Why one set of transformed keys cannot serve all queries, None where :meth:`shared` gives it."""
        del kind
        return f"{self.spec() or type(self).__name__} defines T by its dense form alone"

    def query_refusal(self, kind: Kind) -> str | None:
        """Why the queries cannot take over what T does to keys, None where :meth:`into_query` does it."""
        return self.shared_refusal(kind)

    def shared(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        """T of queries and keys, one set of keys for all queries."""
        raise NotImplementedError

    def into_query(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        """Queries and keys whose products are T(x) . T(k) up to a constant in k, which softmax ignores."""
        return self.shared(query, training, heads)

    def scored_refusal(self, kind: Kind) -> str | None:
        """Why the scores T(x) . T(k) themselves are not known, None where :meth:`into_scored` gives them."""
        return self.shared_refusal(kind)

    def into_scored(
        self, query: Tensor, training: TrainingSet, heads: HeadSet
    ) -> tuple[Tensor, TrainingSet, Tensor | None]:
        """As :meth:`into_query`, with the constant that the products lack: (batch, heads, Nq), None = 0."""
        return *self.shared(query, training, heads), None

    @property
    def unsettled_keys(self) -> int | None:
        """How many of the last keys up to a query T changes otherwise than for later queries; None = any of them.

        For the others :meth:`shared` gives T, for these :meth:`unsettled`.
        """
        return None

    def unsettled(self, training: TrainingSet, heads: HeadSet) -> list[Tensor]:
        """T of every key as the query e positions later has it, for e from 0 on: each (batch, heads, N, D)."""
        raise NotImplementedError

    def scores_refusal(self, kind: Kind) -> str | None:
        """Why T does not follow from scores of the keys themselves, None where :meth:`into_scores` says how.

        Args:
            kind: of pairs that every query forms anew.
        """
        return self.query_refusal(kind)

    def into_scores(self, query: Tensor, pairs: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        """Queries and pairs whose scores are T(x) . T(k) up to a constant in k."""
        return self.into_query(query, pairs, heads)

    def of_statistics(self, query: Tensor, found: KeyStatistics, heads: HeadSet) -> tuple[Tensor, Tensor]:
        """From what :meth:`into_scores` gives, the queries of T where it uses statistics, and the constant that scores lack.

        Args:
            query: (batch, heads, Nq, D).
            found: statistics of every query's pairs, before the transform; their ``shift`` was taken off the keys.
            heads: which heads of the problem these are.
        """
        raise NotImplementedError

    def dense_queries(self, query: Tensor, allowed: Tensor | None, heads: HeadSet) -> Tensor:
        """The definition of what queries take from one another.

        Args:
            query: (batch, heads, Nq, D).
            allowed: bool broadcastable to (batch, heads, Nq, Nk), which keys each may attend, before
                pooling; None where queries and keys are two sequences.
            heads: which heads of the problem these are.
        """
        del allowed, heads
        return query

    def mix_queries(self, query: Tensor, attendable: Attendable, heads: HeadSet) -> Tensor:
        """The same, fast; ``attendable`` has no condition where queries and keys are two sequences."""
        del attendable, heads
        return query

    facts: ClassVar[dict[str, tuple[str, ...]]] = {
        "incremental": ("dense", "dense_queries"),
        "shift_equivariant": ("dense", "dense_queries"),
        "shared_refusal": ("dense",),
        "query_refusal": ("dense",),
        "scored_refusal": ("dense",),
        "scores_refusal": ("dense",),
        "per_query": ("dense",),
        "unsettled_keys": ("dense",),
        "steps": ("dense", "dense_queries"),
        "standardization": ("dense", "dense_queries"),
        "keeps_queries": ("dense", "dense_queries"),
        "fixed_at_inference": ("dense", "dense_queries"),
    }

    @property
    def keeps_queries(self) -> bool:
        """Whether T leaves the queries as they are."""
        return False

    def standardization(self, heads: HeadSet) -> Standardization | None:
        """T as the normalisation of queries and keys by mean and variance of these heads' training keys, if it is that."""
        del heads
        return None

    @property
    def fixed_at_inference(self) -> bool:
        """Whether T is an affine map at inference that depends on no input, the one that :meth:`affine` gives."""
        return False

    def affine(self, heads: int) -> AffineMap:
        """The affine map that T is at inference, so that projections can take it up.

        Args:
            heads: query heads.

        Raises:
            ArgumentError: it is not known yet.
        """
        raise UnsupportedError(f"{self.spec()} is not a fixed affine map at inference")

    @property
    def shift_equivariant(self) -> bool:
        """Whether T depends on positions only through their distances to the query."""
        return False

    def incremental(self, heads: HeadSet, exact: bool) -> Incremental | None:
        """T on training pairs that arrive one after the other; None = decoding keeps all tokens.

        Args:
            heads: which heads of the problem these are.
            exact: T itself is needed; otherwise T(q) . T(k) up to what does not depend on k is enough.
        """
        del heads, exact
        return None


class Identity(Transform):
    """T(x) = x.

    Example:
        >>> from primaldual import preset
        >>> type(preset("softmax").transform).__name__
        'Identity'
    """

    name = ""
    repeatable = True

    def dense(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        return query, keys

    def shared_refusal(self, kind: Kind) -> None:
        del kind

    def shared(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        return query, training

    def formula(self, style: str) -> list[str]:
        del style
        return ["T(x) = x"]

    @property
    def shift_equivariant(self) -> bool:
        return True

    @property
    def keeps_queries(self) -> bool:
        return True

    def incremental(self, heads: HeadSet, exact: bool) -> Incremental:
        return Incremental()
