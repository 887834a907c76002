"""Elliptical attention: a diagonal metric of how much the values changed since the layer before."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, pad

from primaldual.errors import ShapeError
from primaldual.kernels.modes import in_graph, in_transform
from primaldual.kernels.scans import prefix_sums_, whole_blocks
from primaldual.kernels.statistics import widest
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.sources import pick
from primaldual.primal.token_inputs import OWN_VALUE, VALUE_DIM, Inputs, TokenInput
from primaldual.primal.training_sets import ALL, PREFIX, Band, Kind, TrainingSet, last
from primaldual.primal.transforms import Transform

SMALLER = 2.0**-64
"""What float64 values are multiplied by, so that sums of their differences stay finite; m is the same."""


class Elliptical(Transform):
    r"""T(x) = sqrt(m) * x, m_d = mean_j |v_jd - p_jd| / max_e mean_j |v_je - p_je|, j over the query's training keys.

    The scores become sum_d m_d q_d k_d: the metric stretches along the features in which the values changed most since the
    previous layer, whose values p come as ``inputs={"previous_value": p}``, shaped as the values, with Dv = D. m has no
    gradient. Where nothing changed m is 1, which is plain softmax; so it is in a first layer, whose previous values are
    NaN. Under a causal mask every query has the mean over its own prefix.

    ``weights`` and ``attention_map``, which get no values, need ``inputs={"value": ...}`` too. The library's encoders and
    decoders hand the values of each block to the next, and so do models that :func:`primaldual.convert` has converted;
    :class:`primaldual.MultiheadAttention` takes them by ``inputs``.

    Raises:
        ShapeError: values that are not as wide as the keys.

    Reference: Nielsen, Abdullaev, Teo, Nguyen, "Elliptical Attention", NeurIPS 2024 (arXiv 2406.13770). The released code
        takes the mean over all positions, also under a causal mask and over padding; the mean over a query's keys is ours.

    Example:
        >>> from primaldual import preset
        >>> query, key, value = torch.randn(3, 1, 2, 5, 8).unbind(0)
        >>> same = preset("elliptical").attend(query, key, value, inputs={"previous_value": value})
        >>> torch.allclose(same, preset("softmax").attend(query, key, value), atol=1e-6)
        True
    """

    name = "elliptical"
    summary = "scores weighted by how much each feature of the values changed since the previous layer"
    cost = "that of softmax, about"
    of_positions = True
    token_inputs = (
        TokenInput(
            "previous_value", "values of the previous layer, NaN = none", torch.nan, width=VALUE_DIM, learned=False,
            of_previous=True,
        ),
        OWN_VALUE,
    )  # fmt: skip
    changes_of_values: Tensor | None = None
    """|v - p| of every position times one power of two, (batch, heads, Nk, D); known during a call."""

    def with_inputs(self, inputs: Inputs) -> Self:
        value, previous = (inputs[name].detach() for name in ("value", "previous_value"))
        wide = widest(value.device)  # differences and sums of large values overflow in their own type
        size = SMALLER if value.dtype == wide else 1.0
        change = (value.to(wide) * size - previous.to(wide) * size).abs_()
        return self.knowing(changes_of_values=change.nan_to_num_(0.0, posinf=torch.inf))

    def dense(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        change = self._changes(heads, query).unsqueeze(2)
        total = torch.where(valid.unsqueeze(-1), change, 0.0).sum(-2)
        root = torch.sqrt(_relative_(total)).to(query.dtype)
        return query * root, keys * root.unsqueeze(-2)

    def shared_refusal(self, kind: Kind) -> str | None:
        if kind.seen != ALL:
            return f"{self.spec()} takes the mean over a query's keys, which differs from query to query"
        return None

    def query_refusal(self, kind: Kind) -> str | None:
        return f"{self.spec()} needs pairs that are positions" if kind.pooled_late else None

    def scored_refusal(self, kind: Kind) -> str | None:
        return self.query_refusal(kind)

    def shared(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        root = self._metric(query, training, heads).sqrt()
        training = training.for_query_heads(query.shape[1])
        return query * root, training.with_keys(training.key * root)

    def into_query(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        """(sqrt(m) q) . (sqrt(m) k) = (m q) . k: the keys stay as they are."""
        return query * self._metric(query, training, heads), training

    def into_scored(
        self, query: Tensor, training: TrainingSet, heads: HeadSet
    ) -> tuple[Tensor, TrainingSet, Tensor | None]:
        return *self.into_query(query, training, heads), None

    @property
    def shift_equivariant(self) -> bool:
        return True

    def _metric(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> Tensor:
        """m of every query, (batch, heads, Nq or 1, D), in the type of the query."""
        change, mask = self._changes(heads, query), training.attendable.keys
        if mask is not None:
            change = torch.where(mask.transpose(-2, -1), change, 0.0)
        return _relative_(_sums(change, training)).to(query.dtype)

    def _changes(self, heads: HeadSet, query: Tensor) -> Tensor:
        """|v - p| of some heads, (batch, heads, Nk, D), times one power of two, in float64 where there is one."""
        changes = self.changes_of_values
        assert changes is not None
        if changes.shape[-1] != query.shape[-1]:
            raise ShapeError(
                f"{self.spec()} weights feature d of the keys by feature d of the values, so both need one dimension; got "
                f"head_dim {query.shape[-1]} and value_dim {changes.shape[-1]}"
            )
        return pick(changes, heads.members)

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [
                r"T(x) = \sqrt{m} \odot x,\quad m = \frac{\mu}{\max_d \mu_d},\quad "
                r"\mu = \operatorname{mean}_j |v_j - v_j^{\text{previous layer}}|"
            ]
        return ["T(x) = √m ⊙ x,  m = μ / max_d μ_d,  μ = mean_j |v_j − v_j of the previous layer|"]


def _sums(change: Tensor, training: TrainingSet) -> Tensor:
    """The sum of non-negative numbers (batch, heads, Nk, D) over the keys of every query, without cancellation."""
    count, kind = training.query_length, training.kind
    if kind.seen == ALL:
        return change.sum(-2, keepdim=True)
    if kind.seen == PREFIX:
        return last(_prefix_sums(change), count)
    if isinstance(training, Band):
        radius, (batch, heads, length, width) = training.radius, change.shape
        after = 0 if training.attendable.is_causal else radius
        before = radius + max(0, count - length)
        padded = pad(change.transpose(-2, -1).flatten(0, 1), (before, after))
        means = avg_pool1d(padded, radius + after + 1, stride=1).view(batch, heads, width, -1)
        return last(means.transpose(-2, -1), count)
    allowed = training.attendable.matrix(count, change.shape[2], change.device)
    return allowed.to(change.dtype) @ change


def _prefix_sums(change: Tensor) -> Tensor:
    """Row i: the sum of the rows 0..i."""
    length = change.shape[-2]
    if in_graph() or in_transform() or not change.numel():
        return change.cumsum(-2)
    filler = whole_blocks(length) - length
    rows = pad(change, (0, 0, 0, filler)) if filler else change.clone()
    return prefix_sums_(rows, length)[..., :length, :]


def _relative_(total: Tensor) -> Tensor:
    """Numbers over their largest along the last axis, 1 where all are 0; in place."""
    largest = total.amax(-1, keepdim=True) if total.shape[-1] else total
    unchanged = (largest == 0).to(total.dtype)
    return total.div_(largest + unchanged).add_(unchanged)
