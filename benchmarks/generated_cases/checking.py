"""Compare a case with the definition, in outputs, gradients and token by token."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from random import Random
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.generated_cases.case import LAYOUTS, Case
from primaldual.errors import ConvergenceError, PrimalDualError, UnsupportedError
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.transforms import Transform

Dense = Callable[[Transform, Tensor, Tensor, Tensor, HeadSet], tuple[Tensor, Tensor]]
"""What a transform states as its definition."""

TIMES = 1000.0
"""How often the error of the definition may be exceeded, of outputs and of gradients, in units of the type's rounding."""

FLOOR = 40.0
"""Roundings of the largest number that are always allowed."""

LEAST = 1e-12
"""Share of the largest number that is allowed in every type."""

WORTHLESS = 0.1
"""Error of the definition in float32, of the largest number, beyond which a case promises no digits: its kernels or its
normaliser leave the range of float32."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        refusal: why the library does not offer it; "" where it does.
        faults: what is wrong, in words.
        forms: the forms that computed it.
    """

    refusal: str = ""
    faults: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rounding:
    """How far rounding may go in a case.

    Attributes:
        eps: of the type that the attention is computed in.
        largest: the largest number among outputs and gradients.
    """

    eps: float
    largest: float

    def fault(
        self, name: str, found: Tensor, exact: Tensor, rounded: Tensor, coarse: Tensor, moved: Tensor
    ) -> str:
        """What is wrong with a result, "" where nothing is.

        Args:
            name: of the result.
            found: the result.
            exact: by the definition in float64.
            rounded: by the definition in float32.
            coarse: by the definition in the type of the case.
            moved: by the definition in float64, in a float64 case of what is off by its rounding, see :func:`_moved`.
        """
        if found.shape != exact.shape:
            return f"{name}: shape {tuple(found.shape)} instead of {tuple(exact.shape)}"
        if not found.numel() or not bool(coarse.isfinite().all() and exact.isfinite().all()):
            return ""
        error, usual, low = (float((one.double() - exact).abs().max()) for one in (found, rounded, coarse))
        if not usual < WORTHLESS * float(exact.abs().max()):
            return ""
        if not bool(found.isfinite().all()):
            return f"{name}: {int((~found.isfinite()).sum())} numbers are not finite"
        usual = max(usual * self.eps / torch.finfo(torch.float32).eps, low if self.eps > 1e-10 else 0.0)
        usual = max(usual, float((moved - exact).abs().max()))
        allowed = TIMES * usual + (FLOOR * self.eps + LEAST) * self.largest
        return "" if error <= allowed else f"{name}: off by {error:.3g}, allowed is {allowed:.3g}"


def check_case(case: Case) -> Outcome:
    """Compute a case by the fast forms and by the definition, and say what differs.

    The definition in float32 tells how far rounding goes in this case; the attention may be a few times as far off, in
    units of its own type's rounding.
    """
    try:
        exact = _computed(case.problem, case.inputs, case, "dense")
    except PrimalDualError as refused:
        return _refused_alike(case, refused)
    try:
        found = _computed(case.problem, _given(case), case, "attend")
    except UnsupportedError as refused:
        return Outcome(refusal=str(refused))
    except Exception as error:
        if isinstance(error, PrimalDualError) and _out_of_range(case, exact):
            return Outcome(refusal=str(error))
        return Outcome(faults=(f"{type(error).__name__}: {error}",))
    try:
        rounded = _defined(case, torch.float32)
        coarse = rounded if case.dtype == torch.float64 else _defined(case, case.dtype)
    except PrimalDualError as refused:
        return Outcome(refusal=str(refused))
    sizes = [float(one.abs().max()) for one in exact if one.numel()]
    largest = max(filter(math.isfinite, sizes), default=0.0)
    rounding = Rounding(torch.finfo(case.dtype).eps, largest)
    moved = _moved(case) if case.dtype == torch.float64 else exact
    faults = [
        fault
        for results in zip(_names(case), found, exact, rounded, coarse, moved, strict=True)
        if (fault := rounding.fault(*results))
    ]
    if case.mask is None and case.is_causal and case.inputs[0].shape[2] == case.inputs[1].shape[2]:
        faults += _decoded(case, exact[0], rounded[0], moved[0], rounding)
    shape = tuple(case.inputs[0].shape)
    return Outcome(
        "",
        tuple(faults),
        tuple(case.problem.explain(shape, is_causal=case.is_causal).forms) if all(shape) else (),
    )


def _defined(case: Case, dtype: torch.dtype) -> list[Tensor]:
    return _computed(case.problem, tuple(tensor.to(dtype) for tensor in case.inputs), case, "dense")


def _moved(case: Case) -> list[Tensor]:
    """By the definition in float64, of inputs that are off by its rounding, and so are the pairs that transforms are given.

    Parts that always compute in float64 lose as many digits in float32, whose results do not tell how many. Rounding is
    that of the largest number of a feature, for a sum over keys is no more exact than its largest term. Pairs move one by
    one, as pools round: where pairs that are nearly the same are divided by their deviation, that is the condition.
    """
    generator = torch.Generator().manual_seed(case.number)
    eps = torch.finfo(torch.float64).eps

    def off(tensor: Tensor) -> Tensor:
        if not tensor.numel():
            return tensor
        largest = tensor.detach().abs().amax(tuple(range(2, tensor.dim() - 1)), keepdim=True)
        return tensor + eps * largest * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)

    with ExitStack() as changed:
        for kind in {type(step) for step in case.problem.transform.steps()}:
            changed.enter_context(patch.object(kind, "dense", _of_moved(kind.dense, off)))
        return _computed(case.problem, tuple(map(off, case.inputs)), case, "dense")


def _of_moved(dense: Dense, off: Callable[[Tensor], Tensor]) -> Dense:
    """T, by its definition, of queries and keys that are off by rounding."""
    return lambda transform, query, keys, valid, heads: dense(transform, off(query), off(keys), valid, heads)


def _out_of_range(case: Case, exact: list[Tensor]) -> bool:
    """Whether the definition has no digits in the type of the case either, so that it may be refused."""
    try:
        coarse = _defined(case, case.dtype)
    except PrimalDualError:
        return True
    pairs = [(one.double(), other) for one, other in zip(coarse, exact, strict=True) if other.numel()]
    return not all(
        one.isfinite().all() and (one - other).abs().max() <= WORTHLESS * other.abs().max()
        for one, other in pairs
    )


def _refused_alike(case: Case, refused: PrimalDualError) -> Outcome:
    try:
        deepcopy(case.problem).to(case.dtype).attend(*_given(case), case.mask, case.is_causal)
    except PrimalDualError:
        return Outcome(refusal=str(refused))
    except Exception as error:
        return Outcome(
            faults=(f"the definition refuses ({refused}), attend raises {type(error).__name__}: {error}",)
        )
    if isinstance(refused, ConvergenceError):  # the last digits say whether a search ends
        return Outcome(refusal=str(refused))
    return Outcome(faults=(f"the definition refuses ({refused}), attend does not",))


def _given(case: Case) -> tuple[Tensor, ...]:
    """Query, key and value in their type and memory layouts, with garbage where no query may look."""
    query, key, value = (tensor.to(case.dtype) for tensor in case.inputs)
    if case.mask is not None and query.shape[2]:
        whole = case.mask.broadcast_to(*query.shape[:3], key.shape[2])
        groups = query.shape[1] // key.shape[1]
        seen = whole.any(2).unflatten(1, (key.shape[1], groups)).any(2).unsqueeze(-1)
        if "expanded" not in case.layouts[1:]:
            key, value = (tensor.masked_fill(~seen, case.garbage) for tensor in (key, value))
    return tuple(
        LAYOUTS[name](tensor) for name, tensor in zip(case.layouts, (query, key, value), strict=True)
    )


def _names(case: Case) -> list[str]:
    names = ["query", "key", "value", *(name for name, _ in case.problem.named_parameters())]
    return ["outputs", *(f"gradient of {name}" for name in names if case.with_gradients)]


def _computed(problem: PrimalProblem, inputs: tuple[Tensor, ...], case: Case, form: str) -> list[Tensor]:
    """Outputs, and gradients where they are wanted, with parameters of the type of the inputs."""
    problem = deepcopy(problem).to(inputs[0].dtype)
    call = getattr(problem, form)
    if not case.with_gradients:
        with torch.no_grad():
            return [call(*inputs, case.mask, case.is_causal)]
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    out = call(*leaves, case.mask, case.is_causal)
    seed = torch.randn(out.shape, generator=torch.Generator().manual_seed(case.number), dtype=torch.float64)
    wanted = [*leaves, *problem.parameters()]
    found = (
        torch.autograd.grad(out, wanted, seed.to(out.dtype), allow_unused=True)
        if out.requires_grad
        else [None] * len(wanted)
    )
    return [
        out.detach(),
        *(torch.zeros_like(leaf) if part is None else part for part, leaf in zip(found, wanted, strict=True)),
    ]


def _decoded(case: Case, exact: Tensor, rounded: Tensor, moved: Tensor, rounding: Rounding) -> list[str]:
    """The same token by token, in pieces of any size, with the last tokens forgotten and given again."""
    query, key, value = (tensor.to(case.dtype) for tensor in case.inputs)
    batch, heads, length, head_dim = query.shape
    if not batch or not length:
        return []
    random = Random(case.number)
    croppable = random.random() < 0.3
    try:
        problem = deepcopy(case.problem).to(case.dtype)
        state = problem.init_state(
            batch,
            heads,
            head_dim,
            kv_heads=key.shape[1],
            value_dim=value.shape[3],
            dtype=case.dtype,
            croppable=croppable,
        )
        outputs = query.new_zeros(exact.shape)
        done = 0
        while done < length:
            size = random.choice([1, 1, 2, 5, length])
            piece = slice(done, min(done + size, length))
            outputs[:, :, piece] = problem.step(
                state, query[:, :, piece], key[:, :, piece], value[:, :, piece]
            )
            done = piece.stop
            if croppable and random.random() < 0.3:
                done = random.randint(max(done - 3, 0), done)
                state.crop(done)
    except UnsupportedError:
        return []
    except Exception as error:
        return [f"decoding: {type(error).__name__}: {error}"]
    fault = rounding.fault("decoding", outputs, exact, rounded, rounded.to(case.dtype), moved)
    return [fault] if fault else []
