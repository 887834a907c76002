"""One call of a sharded attention, after the processes have agreed on it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from primaldual.parallel.shards import Shards
from primaldual.primal.attention import Attention
from primaldual.primal.choices import Choices
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.token_inputs import Inputs
from primaldual.primal.transforms import Standardization


class ShardedCall(NamedTuple):
    """What a process has of a call, and what it knows of the whole.

    Attributes:
        attention: what one process would compute.
        query: (batch, heads, nq, D) of this process.
        key: (batch, kv heads, n, D), likewise, finite where masked.
        value: (batch, kv heads, n, Dv), likewise.
        mask: bool (batch or 1, heads or 1, 1, Nk), the attendable keys of all processes; None = all.
        is_causal: queries attend no later key.
        dropout_p: probability of dropping a weight.
        inputs: what the parts need of the tokens of this process.
        shards: how the sequence is split.
    """

    attention: Attention
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    is_causal: bool
    dropout_p: float
    inputs: Inputs
    shards: Shards

    @property
    def own_mask(self) -> Tensor | None:
        """The attendable keys of this process, (batch or 1, heads or 1, 1, n); None = all."""
        start, stop = self.shards.spans[self.shards.rank]
        return None if self.mask is None else self.mask[..., start:stop]


def shared_pairs(attention: Attention, heads: int, is_causal: bool) -> Choices | None:
    """The parts of an attention that is a weighted mean of all values, the same keys for all heads and queries; or None.

    T is the identity or a normalisation by mean and variance of the keys, so that what processes must know of each
    other's keys before is their moments.
    """
    problems = list(attention.problems(heads))
    hooked = attention._forward_hooks or attention._forward_pre_hooks
    if is_causal or hooked or len(problems) > 1:
        return None
    choices: Choices = problems[0][0].parts()
    subset, transform = choices.subset, choices.transform
    every = HeadSet(list(range(heads)), 1, subset.layout)
    sets = subset.head_sets(heads)
    windows = (
        subset.windows(every) if len(sets) == 1 and sets[0].scale == 1 and not subset.patterned else None
    )
    plain = choices.solver.amortized and not (choices.order.linear or choices.pair_weights.uneven)
    if windows is None or windows.size != 1 or not plain or transform.observes:
        return None
    return choices if choices.untransformed or standardization(choices, heads) else None


def standardization(choices: Choices, heads: int) -> Standardization | None:
    """T as the normalisation of all heads by mean and variance of the keys, if it is that."""
    every = HeadSet(list(range(heads)), 1, choices.subset.layout)
    return choices.transform.standardization(every)
