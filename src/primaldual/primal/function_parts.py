"""Parts that are stated as a plain function of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, PrimalDualError, ShapeError
from primaldual.kernels.masks import keep_attendable
from primaldual.primal.decoding.incremental import Incremental, PointByPoint
from primaldual.primal.feature_maps import FeatureMap
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.normalizers import Normalizer
from primaldual.primal.parts import Part
from primaldual.primal.subsets import Subset
from primaldual.primal.training_sets import Kind, TrainingSet
from primaldual.primal.transforms import Transform

Function = Callable[..., Tensor]


class FunctionPart(Part):
    """What they share: the function, and a spec that names it without being readable.

    Attributes:
        kind: the word before the name in the spec.
    """

    kind: ClassVar[str]

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def spec(self) -> str:
        return f"{self.kind}({name_of(self.function)})"

    def called(self, rule: str, *tensors: Tensor) -> Tensor:
        """What the function makes of tensors.

        Args:
            rule: the shapes that it takes and gives.
            tensors: its arguments.

        Raises:
            ShapeError: it raised an error of torch or Python, as tensors that do not fit do.
        """
        try:
            return self.function(*tensors)
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            if isinstance(error, PrimalDualError | NotImplementedError | torch.OutOfMemoryError):
                raise
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
            reason = " ".join(str(error).split())[:200]
            raise ShapeError(
                f"{self.spec()} must be {rule}; given {shapes} it raised {type(error).__name__}: {reason}"
            ) from error

    def written(self, style: str) -> str:
        """The function's name in an equation."""
        name = name_of(self.function)
        return rf"\text{{{name.replace('_', ' ')}}}" if style == "latex" else name


class FeatureFunction(FunctionPart, FeatureMap):
    """Phi(x) = function(x), finite: (..., D) -> (..., F).

    Raises:
        ShapeError: when it is used, features of another shape.

    Example:
        >>> FeatureFunction(torch.square).feature_count(head_dim=6)
        6
    """

    kind = "feature_map"
    positive_semidefinite = True

    def __init__(self, function: Function) -> None:
        super().__init__(function)
        self.counts: dict[int, int] = {}

    def bind(self, heads: int, head_dim: int) -> Self:
        del heads
        self.counts[head_dim] = self._count(head_dim)
        return self

    def kernel(self, query: Tensor, key: Tensor) -> Tensor:
        return self.features(query) @ self.features(key).transpose(-2, -1)

    def features(self, inputs: Tensor) -> Tensor:
        rule = "(..., D) -> (..., F)"
        found = self.called(rule, inputs)
        _check(self.spec(), found, (*inputs.shape[:-1], None), rule)
        return found

    def feature_count(self, head_dim: int) -> int:
        return self.counts[head_dim] if head_dim in self.counts else self._count(head_dim)

    def _count(self, head_dim: int) -> int:
        return self.features(torch.zeros(1, 1, 2, head_dim)).shape[-1]

    def formula(self, style: str) -> list[str]:
        called = f"{self.written(style)}(x)"
        return [rf"\Phi(x) = {called}"] if style == "latex" else [f"Φ(x) = {called}"]


class KernelFunction(FunctionPart, FeatureMap):
    """kappa(x, y) = function(x, y) as a matrix: (..., M, D), (..., N, D) -> (..., M, N)."""

    kind = "kernel"

    def kernel(self, query: Tensor, key: Tensor) -> Tensor:
        rule = "(..., M, D), (..., N, D) -> (..., M, N)"
        found = self.called(rule, query, key)
        _check(self.spec(), found, (*query.shape[:-1], key.shape[-2]), rule)
        return found

    def formula(self, style: str) -> list[str]:
        called = f"{self.written(style)}(x, y)"
        return [rf"\Phi(x)\cdot\Phi(y) = {called}"] if style == "latex" else [f"Φ(x)·Φ(y) = {called}"]


class NormalizerFunction(FunctionPart, Normalizer):
    """h from the kernel matrix, in which masked entries are 0: (..., M, N) -> (..., M, 1)."""

    kind = "normalizer"

    def denominator(self, kernel_matrix: Tensor) -> Tensor:
        rule = "(..., M, N) -> (..., M, 1)"
        found = self.called(rule, kernel_matrix)
        _check(self.spec(), found, (*kernel_matrix.shape[:-1], 1), rule)
        return found

    def formula(self, style: str) -> list[str]:
        called = self.written(style)
        if style == "latex":
            return [rf"h(x_i) = {called}(K)_i,\quad K_{{ij}} = \Phi(T(x_i))\cdot\Phi(T(k_j))"]
        return [f"h(x_i) = {called}(K)_i,  K_ij = Φ(T(x_i))·Φ(T(k_j))"]


class TransformFunction(FunctionPart, Transform):
    """T(x) = function(x), point by point, of queries and keys alike: (..., D) -> (..., D).

    Masked keys are 0: the function and its gradient must be finite there.
    """

    kind = "transform"

    def dense(self, query: Tensor, keys: Tensor, valid: Tensor, heads: HeadSet) -> tuple[Tensor, Tensor]:
        return self.apply_to(query), self.apply_to(keys)

    def shared_refusal(self, kind: Kind) -> str | None:
        return f"{self.spec()} is a function of pooled keys" if kind.pooled_late else None

    def shared(self, query: Tensor, training: TrainingSet, heads: HeadSet) -> tuple[Tensor, TrainingSet]:
        keys = keep_attendable(self.apply_to(training.key), training.attendable.keys)
        return self.apply_to(query), training.with_keys(keys)

    def apply_to(self, inputs: Tensor) -> Tensor:
        rule = "(..., D) -> (..., D)"
        found = self.called(rule, inputs)
        _check(self.spec(), found, inputs.shape, rule)
        return found

    def formula(self, style: str) -> list[str]:
        return [f"T(x) = {self.written(style)}(x)"]

    @property
    def shift_equivariant(self) -> bool:
        return True

    def incremental(self, heads: HeadSet, exact: bool) -> Incremental:
        return PointByPoint(self.apply_to)


class SubsetFunction(FunctionPart, Subset):
    """Query i is fitted on the keys j where function(i, j) holds, on positions that broadcast.

    The positions are integer tensors (Nq, 1) and (1, Nk); the last query stands at the last key.
    """

    kind = "subset"

    def allowed(self, query_length: int, key_length: int, device: torch.device) -> Tensor:
        queries = torch.arange(query_length, device=device) + (key_length - query_length)
        positions = queries[:, None], torch.arange(key_length, device=device)[None]
        found = self.called("(Nq, 1), (1, Nk) -> (Nq, Nk)", *positions)
        if not isinstance(found, Tensor) or found.dtype != torch.bool:
            kind = found.dtype if isinstance(found, Tensor) else type(found).__name__
            raise ArgumentError(f"{self.spec()} must return a bool tensor, True = in the subset; got {kind}")
        shape = (query_length, key_length)
        fits = found.dim() == 2 and all(
            size in (1, wanted) for size, wanted in zip(found.shape, shape, strict=True)
        )
        if not fits:
            raise ShapeError(
                f"{self.spec()} must broadcast to (Nq, Nk) = {shape}; got shape {tuple(found.shape)}"
            )
        return found.expand(shape)

    def formula(self, style: str) -> list[str]:
        called = f"{self.written(style)}(i, j)"
        if style == "latex":
            return [rf"\text{{query }} i \text{{ is fitted on the keys }} j \text{{ with }} {called}"]
        return [f"query i is fitted on the keys j with {called}"]


def name_of(function: Function) -> str:
    """What a function is called.

    Example:
        >>> name_of(torch.square), name_of(lambda x: x)
        ('square', 'lambda')
    """
    name = getattr(function, "__name__", None) or getattr(getattr(function, "func", function), "__name__", "")
    return (name or type(function).__name__).strip("<>")


def _check(part: str, found: object, wanted: tuple[int | None, ...], rule: str) -> None:
    """Raise ShapeError unless ``found`` is a tensor of the shape; None in it stands for any size."""
    if not isinstance(found, Tensor):
        raise ShapeError(f"{part} must return a tensor, {rule}; got {type(found).__name__}")
    fits = found.dim() == len(wanted) and all(
        size in (None, given) for size, given in zip(wanted, found.shape, strict=True)
    )
    if not fits:
        shape = ", ".join("F" if size is None else str(size) for size in wanted)
        raise ShapeError(f"{part} must be {rule}, here ({shape}); got {tuple(found.shape)}")
