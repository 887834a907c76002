"""Softmax attention piece by piece: which problems have it, and how their heads are cut."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from primaldual.kernels.flash import SoftmaxCall, flash_serves
from primaldual.kernels.masks import Attendable
from primaldual.kernels.pieces import Piece, attend_in_pieces, cut
from primaldual.kernels.precision import own_precision
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.sources import KeyValueSource, TensorSource
from primaldual.primal.training_sets import TrainingSet

if TYPE_CHECKING:
    from primaldual.primal.problem import PrimalProblem


def attend_piecewise(
    problem: PrimalProblem,
    sets: list[HeadSet],
    query: Tensor,
    source: KeyValueSource,
    attendable: Attendable,
) -> Tensor | None:
    """The attention of sets of heads without dropout, or None where other forms are due."""
    scale = problem.feature_map.score_scale(query.shape[-1])
    if scale is None or not _due(problem, sets, attendable, query.shape[2] == source.length):
        return None
    value_width = query.shape[-1] if source.tensors is None else source.tensors[1].shape[-1]
    if source.length == 0 or not flash_serves(query, value_width):
        return None
    work = _Work(problem, sets, query, source, attendable, scale)
    parameters = list(problem.transform.parameters())
    # What a transform holds may change before the backward: by a step, by eval(), by torch.func.functional_call.
    repeatable = not parameters and not any(True for _ in problem.transform.buffers())
    with own_precision(query.device):
        return attend_in_pieces(work.prepare, work.pieces(), query, work.pairs, parameters, repeatable)


def _due(problem: PrimalProblem, sets: list[HeadSet], attendable: Attendable, is_square: bool) -> bool:
    """Whether the problem has the form, and gains by it."""
    if torch.compiler.is_compiling() or attendable.pairs is not None:
        return False
    if not (
        problem.transform.piecewise and problem.subset.piecewise and problem.normalizer.cancels_query_factors
    ):
        return False
    if attendable.is_causal and not (is_square and problem.subset.has_causal_form):
        return False
    # One set of heads is one softmax; only its causal pooled form is none that is differentiated by itself.
    return len(sets) > 1 or (attendable.is_causal and sets[0].scale > 1)


class _Work:
    """A problem on its tensors, to be done piece by piece.

    Attributes:
        pairs: keys and values that the pieces take from: all of them where they are tensors already, those of each
            set of heads where they are still to be projected, which is then done at once.
    """

    def __init__(
        self,
        problem: PrimalProblem,
        sets: list[HeadSet],
        query: Tensor,
        source: KeyValueSource,
        attendable: Attendable,
        scale: float,
    ) -> None:
        self.problem = problem
        self.sets = sets
        self.query = query
        self.attendable = attendable
        self.scale = scale
        self.formed: list[TrainingSet] = []
        if source.tensors is not None:
            self.pairs = [source.tensors]
            return
        for heads in sets:
            training = problem.subset.training_set(source, attendable, heads, query.shape[2])
            assert training is not None
            self.formed.append(training)
        self.pairs = [(training.key, training.value) for training in self.formed]

    def pieces(self) -> list[Piece]:
        batch, heads, length, head_dim = self.query.shape
        found = []
        for number, group in enumerate(self.sets):
            source = number if self.formed else 0
            held = tuple(group.members) if self.formed else tuple(range(heads))
            kv_heads = self.pairs[source][0].shape[1]
            members, threads = tuple(group.members), torch.get_num_threads()
            found += cut(members, held, kv_heads, batch, length * head_dim, source, threads)
        return found

    def prepare(self, piece: Piece, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, SoftmaxCall]:
        first = piece.heads.start
        group = next(group for group in self.sets if first in group.members)
        heads = replace(group, members=list(range(first, piece.heads.stop)))
        attendable = self.attendable.of_sequences(piece.batch)
        training: TrainingSet | None
        if self.formed:
            local = group.members.index(first)
            held = slice(local, local + len(heads.members))
            training = self.formed[piece.source].part(piece.batch, held, key, value)
        else:
            source = TensorSource(key, value, len(heads.members), first)
            training = self.problem.subset.training_set(source, attendable, heads, query.shape[2])
        changed = training and self.problem.transform.into_query(query, training, heads)
        call = changed and changed[1].for_query_heads(len(heads.members)).softmax_call(self.scale)
        if not changed or not call:
            raise TypeError(f"{self.problem.spec()} says it is piecewise, and has no softmax of its own here")
        return changed[0], call
