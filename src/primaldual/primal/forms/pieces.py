"""Softmax attention of several sets of heads by PyTorch's blockwise CPU kernel, piece by piece."""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from torch import Tensor

from primaldual.kernels import pieces
from primaldual.kernels.flash import CutCall
from primaldual.kernels.pieces import Piece, Span, attend_in_pieces, cut
from primaldual.kernels.precision import own_precision
from primaldual.kernels.statistics import row_blocks
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.forms.form import (
    Cost,
    Form,
    kernel_refusal,
    pairs_scored,
    shared_pairs_refusal,
    softmax_refusal,
    transform_operations,
)
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.question import Question
from primaldual.primal.sources import TensorSource
from primaldual.primal.training_sets import TrainingSet


class Pieces(Form):
    """A few sequences and heads at a time, in memory that stays in the cache; formed again in the backward."""

    name = "pieces"
    joint = True

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if refused := kernel_refusal(question):
            return refused
        if question.groups == 1 and not (
            question.is_causal and (heads.scale > 1 or choices.transform.uses_statistics)
        ):
            return "gains nothing where one call of a kernel does everything"
        numbers = question.batch * question.heads * question.query_length * question.head_dim
        if numbers <= pieces.PIECE_ELEMENTS // 2 and not question.is_causal:
            return "gains nothing on tensors that stay in the cache by themselves"
        if refused := softmax_refusal(choices, question):
            return refused
        if question.pairs or choices.subset.patterned:
            return "needs the same mask for every query"
        if not (choices.transform.repeatable and choices.subset.repeatable):
            return "needs parts that say that they may be computed again in the backward"
        if question.is_causal and not question.square:
            return "needs as many queries as keys under a causal mask"
        return shared_pairs_refusal(choices, heads, question)

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        scored, count = pairs_scored(choices, heads, question), question.batch * len(heads.members)
        operations = 2 * scored * (question.head_dim + question.value_dim) + transform_operations(
            choices, heads, question
        )
        return Cost(count * operations, 2 * heads.pairs(question.key_length) * question.head_dim)

    def run(self, call: Call, sets: list[HeadSet]) -> list[Tensor]:
        work, query, transform = _Work(call, sets), call.query, call.choices.transform
        parameters: list[Tensor] = list(transform.parameters())
        parameters += [buffer for buffer in transform.buffers() if buffer.requires_grad]
        alone = len(sets) == 1 and work.by_rows
        # What a transform holds may change before the backward: by a step, by eval(), by functional_call.
        repeatable = not parameters and not any(True for _ in transform.buffers()) and not alone
        with own_precision(query.device):
            return [attend_in_pieces(work.prepare, work.pieces, query, work.pairs, parameters, repeatable)]


class _Work:
    """A problem on its tensors, to be done piece by piece.

    Attributes:
        pairs: keys and values that the pieces take from: all of them where they are tensors already, those of each
            set of heads where they are still to be projected, which is then done at once.
        pieces: what is done at a time.
    """

    def __init__(self, call: Call, sets: list[HeadSet]) -> None:
        self.choices, self.attendable, self.scale, source = (
            call.choices,
            call.attendable,
            call.scale,
            call.source,
        )
        batch, heads, length, head_dim = call.query.shape
        self.set_of = {head: alike for alike in sets for head in alike.members}
        self.by_rows = self.attendable.is_causal and self.choices.transform.uses_statistics
        self.formed: list[TrainingSet] = []
        self.pairs = [] if source.tensors is None else [source.tensors]
        self.pieces: list[Piece] = []
        every = tuple(range(heads))
        # One set of heads with statistics gains nothing by pieces that fit a cache.
        threads = sys.maxsize if len(sets) == 1 and self.by_rows else torch.get_num_threads()
        for group in sets:
            members = held = tuple(group.members)
            if source.tensors is None:
                training = call.training_set(group)
                self.formed.append(training)
                self.pairs.append((training.key, training.value))
            else:
                held = every
            place = len(self.pairs) - 1
            kv_heads, spans = self.pairs[place][0].shape[1], self._spans(group.scale, batch, length)
            self.pieces += cut(members, held, kv_heads, spans, length, head_dim, place, threads)

    def _spans(self, scale: int, batch: int, length: int) -> tuple[Span, ...]:
        """Sequences by where their keys begin, which a causal sequence need not look behind, cut into rows."""
        if not self.by_rows:
            return (Span(0, batch),)
        spans: list[Span] = []
        for sequence, first in enumerate(self.attendable.begins(batch)):
            begin = first // scale * scale
            if spans and spans[-1].begin == begin:
                spans[-1] = spans[-1]._replace(stop=sequence + 1)
                continue
            blocks = row_blocks(length - begin, length - begin, scale)
            rows = tuple((begin + block.start, begin + block.stop) for block in blocks)
            spans.append(Span(sequence, sequence + 1, begin, rows))
        return tuple(spans)

    def prepare(self, piece: Piece, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, CutCall]:
        first, count = piece.heads.start, piece.heads.stop - piece.heads.start
        group = self.set_of[first]
        heads = group
        if count < len(group.members):
            heads = replace(group, members=list(range(first, first + count)))
        attendable = self.attendable.of_sequences(piece.batch).between(
            piece.begin, piece.begin + key.shape[2]
        )
        if self.by_rows and piece.first == 0:
            query, key, value = query.double(), key.double(), value.double()
        if self.formed:
            local = group.members.index(first)
            training = self.formed[piece.source].part(
                piece.batch, slice(local, local + count), piece.begin, key, value
            )
        else:
            source = TensorSource(key, value, count, first)
            training = self.choices.subset.training_set(source, attendable, heads, query.shape[2])
        if piece.first or self.formed:
            training = replace(training, query_length=query.shape[2], first=piece.first)
        changed, training = self.choices.transform.into_query(query, training, heads)
        return changed, training.for_query_heads(count).softmax_call(self.scale)
