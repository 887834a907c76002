"""Softmax attention on NVIDIA GPUs by kernels in Triton, where they are faster than a call of SDPA for each set of heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from primaldual.kernels.gpu import availability
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.layout import SEQUENCE
from primaldual.kernels.modes import in_graph
from primaldual.kernels.precision import own_precision
from primaldual.primal.call import Call
from primaldual.primal.choices import Choices
from primaldual.primal.forms.form import Cost, Form, Prepared, operator_refusal, softmax_cost, softmax_refusal
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.question import Question

if TYPE_CHECKING:
    from primaldual.kernels.gpu.entering import Setting

DTYPES = torch.bfloat16, torch.float16
"""Types that the kernels take for a form."""

WIDEST = 128
"""Most features of a head; wider ones leave the kernels too few registers."""

OWN_WINDOW = 64
"""Causal pools have lengths that divide this, so that a query's own window lies in one block."""


def refusal_of_kernels(choices: Choices, question: Question) -> str | None:
    """Why no kernel here serves a call."""
    if not availability.available(question.device):
        return "runs on NVIDIA GPUs, where Triton is installed"
    if question.dtype not in DTYPES:
        return "serves bfloat16 and float16"
    if refused := softmax_refusal(choices, question):
        return refused
    if refused := operator_refusal(question):
        return refused
    if question.dropout:
        return "drops no weights"
    if question.pairs:
        return "needs the same mask for every query"
    if max(question.head_dim, question.value_dim) > WIDEST:
        return f"serves heads of up to {WIDEST} features"
    if len({question.kv_heads, question.heads}) > 1 and question.groups > 1:
        return "needs heads that share keys to share a scale"
    return None


def refusal_of_prefix_statistics(question: Question) -> str | None:
    """Why no kernel here takes the statistics of what every query sees under a causal mask."""
    if question.key_mask:
        return (
            "needs every key to count under a causal mask, or the few keys of early queries could be anywhere"
        )
    if question.dtype == torch.float16:
        return "leaves the range of float16 under a causal mask"
    return None


def pools_of(choices: Choices, heads: HeadSet) -> int | None:
    """The length of windows, or the side of patches, whose means are the pairs of some heads; None = they are not that."""
    if choices.subset.patterned or len(choices.subset.with_heads(heads)) > 1:
        return None
    by_last_keys = heads.scale > 1 and heads.positions.suffix
    return heads.scale if choices.subset.means_of_windows(heads) and not by_last_keys else None


class OneCall(Form):
    """A form that takes queries, keys and values of all heads, and which keys count, the same for every query."""

    joint = True
    device = "cuda"

    def prepare(
        self, choices: Choices, sets: list[HeadSet], is_causal: bool, valid: Tensor | None = None
    ) -> Prepared:
        """What computes the attention from them.

        Args:
            choices: the parts.
            sets: all heads.
            is_causal: whether later keys are left out.
            valid: bool (batch, key heads, Nk), last stride 1: which keys count; None = all.
        """
        raise NotImplementedError

    def prepared(self, choices: Choices, sets: list[HeadSet], question: Question) -> Prepared:
        return self.prepare(choices, sets, question.is_causal)

    def run(self, call: Call, sets: list[HeadSet]) -> list[Tensor]:
        query, mask = call.query, call.attendable.keys
        key, value = call.source.tensors or call.source.take(list(range(query.shape[1])))
        valid = None
        if mask is not None:
            if mask.shape[1] > 1:  # a mask for every query head
                key, value = for_query_heads(key, query.shape[1]), for_query_heads(value, query.shape[1])
            valid = mask.squeeze(2).contiguous().expand(*key.shape[:2], -1)
        attend = self.prepare(call.choices, sets, call.attendable.is_causal, valid)
        with own_precision(query.device):
            return [attend(query, key.to(query.dtype), value.to(query.dtype))]


class NormalizedQueries(OneCall):
    """SDPA on queries and keys that one pass has normalised by the keys' statistics, prefix by prefix if causal."""

    name = "normalized by Triton"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if refused := refusal_of_kernels(choices, question):
            return refused
        found = choices.transform.standardization(heads)
        if found is None:
            return "needs a transform by the keys' mean and variance alone"
        if pools_of(choices, heads) != 1:
            return "needs heads that are fitted on all keys"
        if question.is_causal and not question.square:
            return "needs as many queries as keys under a causal mask"
        return refusal_of_prefix_statistics(question) if question.is_causal else None

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        return softmax_cost(choices, heads, question, question.key_length)

    def prepare(
        self, choices: Choices, sets: list[HeadSet], is_causal: bool, valid: Tensor | None = None
    ) -> Prepared:
        settings = _Settings(choices, sets[0], is_causal)

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return _normalized_or_pooled(query, key, value, settings(query.shape[3], None), valid)

        return attend


class AllScales(OneCall):
    """Pools of all heads from one read of keys and values, and their softmaxes in one launch."""

    name = "all scales by Triton"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if refused := refusal_of_kernels(choices, question):
            return refused
        found = choices.transform.standardization(heads)
        if not choices.untransformed and found is None:
            return "needs no transform, or one by the keys' mean and variance"
        size = pools_of(choices, heads)
        if size is None:
            return "needs pairs that are means over windows, each counted once, without a suffix"
        if question.groups == 1 and size == 1:
            return "gains nothing where one call of SDPA does everything"
        if not question.is_causal:
            return None
        if heads.positions != SEQUENCE:
            return "needs windows from the first position on, of a sequence, under a causal mask"
        if question.key_mask:
            return "needs every key to count under a causal mask, as members of a query's own window"
        if not question.square or OWN_WINDOW % size:
            return f"needs as many queries as keys and windows whose length divides {OWN_WINDOW} under a causal mask"
        return refusal_of_prefix_statistics(question) if found else None

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        return softmax_cost(choices, heads, question, heads.pairs(question.key_length))

    def prepare(
        self, choices: Choices, sets: list[HeadSet], is_causal: bool, valid: Tensor | None = None
    ) -> Prepared:
        scale_of = {head: alike.scale for alike in sets for head in alike.members}
        settings = _Settings(choices, HeadSet(sorted(scale_of), 1, sets[0].positions), is_causal)

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            heads, masks = len(scale_of), valid
            if len(sets) > 1 and heads != key.shape[1]:
                key, value = for_query_heads(key, heads), for_query_heads(value, heads)
                masks = None if valid is None else valid.repeat_interleave(heads // valid.shape[1], 1)
            scales = tuple([scale_of[head] for head in range(0, heads, heads // key.shape[1])])
            return _normalized_or_pooled(query, key, value, settings(query.shape[3], scales), masks)

        return attend


class _Settings:
    """What calls of some parts are beside their tensors, found once where nothing is learned."""

    def __init__(self, choices: Choices, heads: HeadSet, is_causal: bool) -> None:
        self.choices, self.heads, self.is_causal = choices, heads, is_causal
        self.learned = any(True for _ in choices.transform.parameters())
        self.known: dict[tuple[int, tuple[int, ...] | None], Setting] = {}

    def __call__(self, head_dim: int, scales: tuple[int, ...] | None) -> Setting:
        """That of heads of so many features whose key heads have windows of these lengths, None = keys themselves."""
        if self.learned:
            return self._found(head_dim, scales)
        found = self.known.get((head_dim, scales))
        if found is None:
            found = self.known[head_dim, scales] = self._found(head_dim, scales)
        return found

    def _found(self, head_dim: int, scales: tuple[int, ...] | None) -> Setting:
        from primaldual.kernels.gpu.entering import Setting
        from primaldual.kernels.gpu.normalization import Normalization

        scale = self.choices.softmax_scale(head_dim)
        assert scale is not None
        statistics = self.choices.transform.standardization(self.heads)
        normalization = None if statistics is None else Normalization(*statistics)
        layout = SEQUENCE if scales is None else self.heads.positions
        return Setting(scale, scales, normalization, self.is_causal, layout)


def _normalized_or_pooled(
    query: Tensor, key: Tensor, value: Tensor, setting: Setting, valid: Tensor | None
) -> Tensor:
    if in_graph():
        from primaldual.kernels.gpu.operators.scaled_heads import scaled_heads
    else:
        from primaldual.kernels.gpu.scaled_heads import scaled_heads

    setting.layout.check(key.shape[2])
    return scaled_heads(query, key, value, setting, valid)


class Windowed(OneCall):
    """Windows around every query in blocks that reach no further."""

    name = "window by Triton"

    def refusal(self, choices: Choices, heads: HeadSet, question: Question) -> str | None:
        if refused := refusal_of_kernels(choices, question):
            return refused
        if not choices.untransformed:
            return "needs no transform"
        if choices.subset.reach is None or len(choices.subset.with_heads(heads)) > 1 or question.groups > 1:
            return "needs a window, alike for all heads"
        return None

    def cost(self, choices: Choices, heads: HeadSet, question: Question) -> Cost:
        return softmax_cost(choices, heads, question, question.key_length)

    def prepare(
        self, choices: Choices, sets: list[HeadSet], is_causal: bool, valid: Tensor | None = None
    ) -> Prepared:
        from primaldual.kernels.gpu.softmax import Shape

        if in_graph():
            from primaldual.kernels.gpu.operators.window import softmax_attention
        else:
            from primaldual.kernels.gpu.attention import softmax_attention

        del sets
        reach = choices.subset.reach
        assert reach is not None

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            scale = choices.softmax_scale(query.shape[3])
            assert scale is not None
            return softmax_attention(
                query, key, value, Shape(scale, is_causal, (reach, 0 if is_causal else reach)), valid
            )

        return attend
