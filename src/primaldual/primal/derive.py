"""An attention derived from functions, words and parts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

from primaldual.errors import ArgumentError, SpecError
from primaldual.primal.feature_maps import FeatureMap
from primaldual.primal.function_parts import (
    FeatureFunction,
    Function,
    KernelFunction,
    NormalizerFunction,
    SubsetFunction,
    TransformFunction,
    name_of,
)
from primaldual.primal.normalizers import Normalizer
from primaldual.primal.parts import Part
from primaldual.primal.presets import read_parts
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.subsets import Subset
from primaldual.primal.transforms import Transform


def derive(
    feature_map: FeatureMap | str | Function | None = None,
    normalizer: Normalizer | str | Function | None = None,
    transform: Transform | str | Function | None = None,
    subset: Subset | str | Function | None = None,
) -> PrimalProblem:
    """State a primal, get its attention.

        f(x) = W Phi(T(x)) / h(x) + b,  fitted on the training pairs of each query

    Each choice is a part, a word of a spec such as ``"bn(beta=0.8)"``, a plain function of tensors, or
    left out for softmax's choice. Functions know nothing of masks and heads. One with parameters is
    better a part of its own; a lambda cannot be pickled.

    Args:
        feature_map: f(x), (..., D) -> (..., F), is a finite Phi, and the attention factored: O(N). It is
            called once on zeros to learn F. f(query, key), (..., M, D), (..., N, D) -> (..., M, N), is the
            kernel Phi . Phi: O(N^2), and up to you to be positive definite.
        normalizer: h from the kernel matrix with 0 where masked, (..., M, N) -> (..., M, 1).
        transform: T, (..., D) -> (..., D), point by point, of queries and keys alike; finite, with its
            gradient, at 0, which stands where keys are masked.
        subset: f(query_positions, key_positions) -> bool, on integers (Nq, 1) and (1, Nk), True = in the
            subset. The last query stands at the last key.

    Raises:
        ArgumentError: something else, or a function with another number of arguments.
        SpecError: a word that cannot be read, or that makes another choice.

    Example:
        >>> import torch
        >>> def squares(x):
        ...     return x * x
        >>> def every_other(query, key):
        ...     return (query - key) % 2 == 0
        >>> problem = derive(squares, transform="bn", subset=every_other)
        >>> problem.spec()
        'feature_map(squares)+bn+subset(every_other)'
        >>> problem.attend(*torch.randn(3, 1, 2, 9, 4).unbind(0)).shape
        torch.Size([1, 2, 9, 4])
    """
    return PrimalProblem(
        _choose("feature_map", feature_map, FeatureMap, {1: FeatureFunction, 2: KernelFunction}),
        _choose("normalizer", normalizer, Normalizer, {1: NormalizerFunction}),
        _choose("transform", transform, Transform, {1: TransformFunction}),
        _choose("subset", subset, Subset, {2: SubsetFunction}),
    )


P = TypeVar("P", bound=Part)


def _choose(
    name: str, given: object, kind: type[P], by_arguments: Mapping[int, Callable[[Any], P]]
) -> P | None:
    """The part that was given, read or made of a function with as many arguments as named."""
    if given is None or isinstance(given, kind):
        return given
    if isinstance(given, str):
        return _read(name, given)
    if isinstance(given, type | nn.Module) or not callable(given):
        shown = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise ArgumentError(f"{name} must be a {kind.__name__}, a word of a spec or a function; got {shown}")
    count = _required_arguments(given)
    if count is None:
        count = min(by_arguments)
    if count not in by_arguments:
        accepted = " or ".join(map(str, by_arguments))
        raise ArgumentError(
            f"{name} must be a function of {accepted} argument{'s' if accepted != '1' else ''}; "
            f"got {name_of(given)}, which needs {count}"
        )
    return by_arguments[count](given)


def _read(name: str, spec: str) -> Any:
    parts = read_parts(spec)
    others = sorted(set(parts) - {name})
    if others:
        raise SpecError(
            f"{name} must be a word for the {name}; got {spec!r}, which is one for the {others[0]}"
        )
    return parts[name]


def _required_arguments(function: Callable[..., object]) -> int | None:
    """Positional arguments without a default; None for a built-in that does not tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in positional and each.default is each.empty for each in parameters)
