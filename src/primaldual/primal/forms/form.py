"""What a form of an attention is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from primaldual.kernels.flash import flash_enabled
from primaldual.kernels.modes import in_graph, in_transform
from primaldual.kernels.precision import once
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.question import EAGER, TRANSFORM, Question
from primaldual.primal.subsets import Subset
from primaldual.primal.training_sets import OWN, Kind, TrainingSet
from primaldual.primal.transforms import Transform


class Cost(NamedTuple):
    """What a form takes for a set of heads.

    Attributes:
        operations: 2 for each multiply-add of products of matrices and of convolutions.
        numbers: numbers of the largest intermediate results beyond queries, keys, values and output.
    """

    operations: int
    numbers: int


Prepared = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From queries, keys and values of all heads, of one type, their outputs (batch, heads, Nq, Dv)."""


class Form(ABC):
    """A way to compute attentions.

    Attributes:
        name: what it is called.
        joint: it runs all sets of heads together, or none.
        device: the type of device that it is made for, of which alone ``explain`` speaks; None = any.
    """

    name: ClassVar[str]
    joint: ClassVar[bool] = False
    device: ClassVar[str | None] = None

    @abstractmethod
    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        """Why the form does not serve these heads, in one sentence; None if it does."""

    @abstractmethod
    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        """What it takes for these heads."""

    def caution(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        """What a user should know before a long call, in one sentence; None = nothing."""
        del choices, heads, question
        return None

    def prepared(self, choices: Choices, sets: list[HeadSet], question: Question) -> Prepared | None:
        """What computes calls without masks and dropout of the same sizes from their tensors alone; None = :meth:`run`.

        Args:
            choices: the parts, which may change what they learn between calls.
            sets: all heads, which the form serves.
            question: the facts of such a call.
        """
        del choices, sets, question
        return None

    def run(self, call: Call, sets: list[HeadSet]) -> list[Tensor]:
        """The output of every set of heads, or one output of all heads of a form that is joint.

        Args:
            call: parts and tensors.
            sets: heads that pool alike, which the form serves.
        """
        return [self.attend(call, heads) for heads in sets]

    def attend(self, call: Call, heads: HeadSet) -> Tensor:
        """The output (batch, heads, Nq, Dv) of one set of heads."""
        raise NotImplementedError


def weighted_mean_refusal(choices: Choices) -> str | None:
    """Why the output is not a mean of the values by the weights alone."""
    if not choices.solver.amortized:
        return "takes the values for the coefficients"
    return "fits a constant at every query, not a slope" if choices.order.linear else None


def softmax_refusal(choices: Choices, question: Question) -> str | None:
    """Why no kernel of softmax attention serves, whatever the training pairs are."""
    if refused := weighted_mean_refusal(choices):
        return refused
    if choices.softmax_scale(question.head_dim) is None:
        return "needs the exponential kernel, normalised by its sum"
    if question.empty:
        return "needs a query and a key"
    if question.mode == TRANSFORM:
        return "has no rules for torch.func and forward-mode differentiation"
    return None


def kernel_refusal(question: Question) -> str | None:
    """Why PyTorch's blockwise CPU kernel cannot be called by itself."""
    if question.mode != EAGER or question.device != "cpu" or not flash_enabled():
        return "runs on the CPU by its blockwise kernel, outside of graphs"
    if question.dropout:
        return "drops no weights"
    if question.value_dim != question.head_dim:
        return "needs values as wide as keys"
    return None


def operator_refusal(question: Question) -> str | None:
    """Why operators of this library serve no graph that may run without it."""
    if question.portable:
        return "exported and traced programs would need the operators of this library where they run"
    return None


def softmax_cost(choices: Choices, heads: HeadSet, question: Question, pairs: int) -> Cost:
    """Scores and weighted sums of the pairs that are scored, and changed keys and values of ``pairs`` pairs."""
    scored, count = pairs_scored(choices, heads, question), question.batch * len(heads.members)
    widths = question.head_dim + question.value_dim
    operations = 2 * scored * widths + transform_operations(choices, heads, question)
    return Cost(count * operations, count * pairs * widths)


def shared_pairs_refusal(choices: Choices, heads: HeadSet, question: Question) -> str | None:
    """Why no one set of keys, under a mask, serves changed queries."""
    kind = choices.subset.training_kind(heads, question.pairs, question.is_causal)
    if isinstance(kind, str):
        return kind
    if kind == (OWN, True):
        return f"{choices.subset.spec()} pools for every query what it may attend"
    if statistics_apart(choices, heads, kind, question.pairs):
        return f"{choices.transform.spec()} takes statistics of every query's keys beside their scores"
    return choices.transform.query_refusal(kind)


def statistics_apart(choices: Choices, heads: HeadSet, kind: Kind, pairs: bool) -> bool:
    """Whether statistics of single keys that a mask gives each query are best taken together with the scores."""
    transform, subset = choices.transform, choices.subset
    if in_graph() or heads.scale > 1 or kind.seen != OWN or subset.by_feature:
        return False
    irregular = pairs or (subset.patterned and subset.reach is None)
    return irregular and transform.uses_statistics and transform.acts_on_queries


def row_pairs_refusal(choices: Choices) -> str | None:
    """Why no pairs follow from scores of single keys and weights of single values."""
    if choices.subset.by_feature:
        return f"{choices.subset.spec()} weighs every feature of the members of a pool by itself"
    return None


def over_row_blocks(
    query: Tensor,
    training: TrainingSet,
    transform: Transform,
    attend: Callable[[Tensor, TrainingSet, int], Tensor],
) -> Tensor:
    """The output by blocks of queries whose keys one centre serves, where T has statistics of a prefix; else at once.

    Args:
        query: (batch, heads, Nq, D).
        training: the pairs of all of them.
        transform: T.
        attend: from queries, their pairs and the number of the first query that counts, the outputs from that one on.
    """
    blocks = training.row_blocks() if transform.uses_statistics else []
    if not blocks:
        return attend(query, training, 0).to(query.dtype)
    parts = []
    for block in reversed(blocks):
        rows, seen = query[:, :, : block.stop], training.rows(block)
        if not block.start:
            rows, seen = rows.double(), seen.double()
        parts.append(attend(rows, seen, block.start).to(query.dtype))
    return torch.cat(parts, 2)


def pairs_scored(choices: Choices, heads: HeadSet, question: Question) -> int:
    """Pairs of query and training key that get a score, in one head of one sequence."""
    return sum(_scored(subset, own, question) for subset, own in choices.subset.with_heads(heads))


def _scored(subset: Subset, heads: HeadSet, question: Question) -> int:
    pairs, queries, reach = heads.pairs(question.key_length), question.query_length, subset.reach
    offset = question.key_length - queries
    if reach is None and not question.is_causal:
        return queries * pairs
    if reach is None:
        return sum(heads.pairs(max(0, row + offset + 1)) for row in range(queries))
    ahead = 0 if question.is_causal else reach
    return sum(
        max(0, min(question.key_length, row + offset + ahead + 1) - max(0, row + offset - reach))
        for row in range(queries)
    )


def transform_operations(choices: Choices, heads: HeadSet, question: Question) -> int:
    """Operations of the transform, in one head of one sequence."""
    pairs = heads.pairs(question.key_length)
    return choices.transform.operations(pairs, question.query_length, question.head_dim)


def differentiable(out: Tensor, choices: Choices) -> Tensor:
    """The output; with statistics, whose shared form leaves out the second derivatives of means, differentiated once."""
    if not out.requires_grad or not choices.transform.uses_statistics or in_graph() or in_transform():
        return out
    return once(out)
