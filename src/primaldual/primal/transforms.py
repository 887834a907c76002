"""Input transforms T: what happens to queries and training keys before the feature map."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from primaldual.kernels.masks import Attendable
from primaldual.primal.decoding.incremental import Incremental
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.parts import Part

if TYPE_CHECKING:
    from primaldual.primal.training_sets import TrainingSet


class Transform(Part):
    """An input transform; a subclass states ``dense``, and the fast forms that it has.

    Attributes:
        mixes_queries: whether T of a query depends on the other queries too, which must then all be given. A
            subclass that says so states ``dense_queries`` and ``mix_queries``, which come before the other forms.
    """

    mixes_queries: bool = False
    piecewise: bool = False
    """Whether ``into_query`` always has an answer, for some sequences and heads at a time and repeatedly."""

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

    def dense(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        """The definition: T of the queries and of every query's training keys.

        Args:
            query: (batch, heads, Nq, D).
            keys: (batch, heads, Nq or 1, Nt, D).
            valid: bool (batch, heads, Nq or 1, Nt), which of them are training keys.
            heads: which heads of the problem these are, their scale and the layout of their pairs.
        """
        raise NotImplementedError

    def into_query(
        self, query: Tensor, training: TrainingSet, heads: HeadSet
    ) -> tuple[Tensor, TrainingSet] | None:
        """A change of the queries that gives the same x . k up to a constant in j, or None.

        The keys may be replaced by keys that differ from them in one constant vector.
        """
        del query, training, heads
        return None

    def shared(
        self, query: Tensor, training: TrainingSet, heads: HeadSet
    ) -> tuple[Tensor, TrainingSet] | None:
        """T of queries and keys where one set of transformed keys serves all queries, else None."""
        del query, training, heads
        return None

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
    }

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
    """T(x) = x."""

    piecewise = True

    def dense(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        return query, keys

    def into_query(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        return query, training

    def shared(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        return query, training

    def formula(self, style: str) -> list[str]:
        del style
        return ["T(x) = x"]

    @property
    def shift_equivariant(self) -> bool:
        return True

    def incremental(self, heads: HeadSet, exact: bool) -> Incremental:
        return Incremental()
