"""Clipping of queries and keys, entry by entry, as an input transform."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.kernels.arguments import finite
from primaldual.primal.decoding.incremental import Incremental, PointByPoint
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.training_sets import Kind, TrainingSet
from primaldual.primal.transforms import Transform


class Clip(Transform):
    """T(x) = min(max(x, -t), t), entry by entry: what is left of x when all that goes beyond t is taken for noise.

    It is the first step of robust principal component attention, where queries are the keys. An entry beyond t has no
    gradient, one at t has it.

    Args:
        threshold: t, above 0; same unit as queries and keys.

    Raises:
        ArgumentError: a threshold that is not above 0.

    Source: the first iteration of RPC-Attention, Teo, Nguyen, "Unveiling the Hidden Structure of Self-Attention via Kernel
    Principal Component Analysis", arXiv 2406.13762.

    Example:
        >>> from primaldual import preset
        >>> key = torch.tensor([[[[1.0], [100.0]]]])
        >>> preset("clip(1)").weights(key, key)[0, 0, 0]
        tensor([0.5000, 0.5000])
    """

    name = "clip"
    summary = "queries and keys clipped entry by entry, against outliers"
    cost = "that of softmax, about"
    examples = ("clip(1.5)",)
    repeatable = True
    shift_equivariant = True

    def __init__(self, threshold: float = 1.0) -> None:
        super().__init__()
        self.threshold = finite("threshold", threshold, 0, above=True)

    def arguments(self) -> tuple[object, ...]:
        return (f"{self.threshold:g}",)

    def dense(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        bound = self.threshold
        cut, cut_keys = (x.where(x.abs() <= bound, bound * x.sign()) for x in (query, keys))
        return cut, cut_keys

    def shared_refusal(self, kind: Kind) -> str | None:
        if kind.pooled_late:
            return f"{self.spec()} clips means that every query has for itself"
        return None

    def shared(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        return self._clipped(query), training.with_keys(self._clipped(training.key))

    def incremental(self, heads: HeadSet, exact: bool) -> Incremental:
        return PointByPoint(self._clipped)

    def _clipped(self, inputs: Tensor) -> Tensor:
        return clipped(inputs, self.threshold)

    def formula(self, style: str) -> list[str]:
        bound = f"{self.threshold:g}"
        if style == "latex":
            return [rf"T(x) = \min(\max(x, -{bound}), {bound})"]
        return [f"T(x) = min(max(x, −{bound}), {bound})"]


def clipped(inputs: Tensor, threshold: Tensor | float) -> Tensor:
    """min(max(x, -t), t), of slope 1 at t itself, where clamp() has 1 or 0, according to torch's version."""
    return torch.where(inputs.abs() > threshold, inputs.sign() * threshold, inputs)
