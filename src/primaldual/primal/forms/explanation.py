"""The table of forms read aloud: which one serves, what it costs, and why not the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from primaldual.errors import ShapeError
from primaldual.kernels.masks import read_mask
from primaldual.primal.choices import Choices
from primaldual.primal.composed_solvers import ComposedSolver
from primaldual.primal.forms.choice import FORMS, choose
from primaldual.primal.forms.delta import ChunkedDelta
from primaldual.primal.forms.form import Cost
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.question import Question
from primaldual.primal.solvers import QUERIES
from primaldual.primal.token_inputs import TokenInput

CHUNKED = ChunkedDelta()


@dataclass(frozen=True)
class Served:
    """Heads that one form computes.

    Attributes:
        heads: their numbers.
        scale: window length of their pooled pairs; 1 = not pooled.
        form: name of the form.
        cost: operations, and numbers of its largest intermediates.
        bytes: memory of these.
        refusals: reasons of the forms that would have come before, by name.
        caution: what is slow about it; None = nothing.
    """

    heads: list[int]
    scale: int
    form: str
    cost: Cost
    bytes: int
    refusals: dict[str, str]
    caution: str | None = None


@dataclass(frozen=True)
class Explanation:
    """Which forms compute an attention; printed, a few lines of text.

    Attributes:
        spec: of the problem.
        served: sets of heads with their forms.
        total_heads: query heads.
        needs: what it needs of every token beside query, key and value.
        solver: what a solver does with these forms, in one sentence; None = they give the outputs.
    """

    spec: str
    served: list[Served]
    total_heads: int
    needs: tuple[TokenInput, ...] = ()
    solver: str | None = None

    @property
    def forms(self) -> list[str]:
        """Names of the forms in use."""
        return list(dict.fromkeys(part.form for part in self.served))

    @property
    def operations(self) -> int:
        """Of all heads."""
        return sum(part.cost.operations for part in self.served)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for place, part in enumerate(self.served):
            title = self.spec if place == 0 else " " * len(self.spec)
            pooled = f" pooled by {part.scale}" if part.scale > 1 else ""
            noun = "head" if len(part.heads) == 1 else "heads"
            yield (
                f"{title}  {noun} {listed(part.heads)} of {self.total_heads}{pooled}: form {part.form}, "
                f"{shown(part.cost.operations)} operations, {shown(part.bytes)}B"
            )
            if part.caution:
                yield f"  slow: {part.caution}"
            yield from (f"  not {name}: {reason}" for name, reason in part.refusals.items())
        if self.solver:
            yield f"  solver {self.solver}"
        yield from (f"  needs {need}" for need in self.needs)


def explain(
    choices: Choices,
    query_shape: tuple[int, ...],
    key_shape: tuple[int, ...],
    mask: Tensor | None,
    is_causal: bool,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Explanation:
    """See :meth:`PrimalProblem.explain`."""
    if len(query_shape) != 4 or len(key_shape) != 4:
        raise ShapeError(
            f"query_shape and key_shape must be (batch, heads, length, head_dim); got {query_shape} and {key_shape}"
        )
    batch, heads, length, head_dim = query_shape
    attendable = read_mask(mask, is_causal, batch, heads, length, key_shape[2])
    spec, choices = choices.spec(), choices.for_length(key_shape[2])
    sets = choices.subset.head_sets(heads)
    question = Question(
        batch, heads, key_shape[1], length, key_shape[2], head_dim, head_dim, len(sets),
        attendable.keys is not None, attendable.pairs is not None, is_causal and length > 1, False,
        dtype, torch.device(device).type,
    )  # fmt: skip
    solver = choices.solver
    width = solver.kernel_dim(head_dim)
    each = question._replace(head_dim=width)
    served = _served(choices.amortized() if solver.composed else choices, sets, each)
    if len(sets) == 1 and CHUNKED.refusal(choices, sets[0], question) is None:
        cost = CHUNKED.cost(choices, sets[0], question)
        served = [Served(sets[0].members, 1, CHUNKED.name, cost, cost.numbers * dtype.itemsize, {})]
    elif isinstance(solver, ComposedSolver):
        served = _with_products(choices, solver, sets, each, served)
    return Explanation(spec, served, heads, choices.token_inputs, choices.solver.procedure())


def _served(choices: Choices, sets: list[HeadSet], question: Question) -> list[Served]:
    """The form of every set of heads."""
    found = []
    for alike, form in zip(sets, choose(choices, sets, question), strict=True):
        before = [other for other in FORMS[: FORMS.index(form)] if other.device in (None, question.device)]
        refusals = {other.name: other.refusal(choices, alike, question) for other in before}
        cost = form.cost(choices, alike, question)
        reasons = {name: reason or "serves some heads of the layer only" for name, reason in refusals.items()}
        caution = form.caution(choices, alike, question)
        memory = cost.numbers * question.dtype.itemsize
        found.append(Served(alike.members, alike.scale, form.name, cost, memory, reasons, caution))
    return found


def _with_products(
    choices: Choices, solver: ComposedSolver, sets: list[HeadSet], question: Question, served: list[Served]
) -> list[Served]:
    """The same forms, their operations with those of the products, or of the system, that give the coefficients."""
    length = question.key_length
    if solver.triangular:
        each = length * length * (2 * question.head_dim + question.value_dim)
        return [
            _with(
                part,
                question.batch * len(part.heads) * each,
                question.batch * len(part.heads) * length**2,
                question,
            )
            for part in served
        ]
    rows = question if solver.residual == QUERIES else question._replace(query_length=length)
    products = _served(choices.amortized(), sets, rows)
    more, count = solver.query_products - 1, solver.key_products
    return [
        _with(part, more * part.cost.operations + count * each.cost.operations, 0, question)
        for part, each in zip(served, products, strict=True)
    ]


def _with(part: Served, operations: int, numbers: int, question: Question) -> Served:
    """The same with more operations, and at least this number of intermediate numbers."""
    cost = Cost(part.cost.operations + operations, max(part.cost.numbers, numbers))
    return replace(part, cost=cost, bytes=cost.numbers * question.dtype.itemsize)


def listed(heads: list[int]) -> str:
    """Consecutive numbers as a range, others one by one."""
    if heads == list(range(heads[0], heads[-1] + 1)) and len(heads) > 1:
        return f"{heads[0]}-{heads[-1]}"
    return ", ".join(map(str, heads))


def shown(number: float) -> str:
    """Three digits and a prefix of the SI, with a space before the unit.

    Example:
        >>> shown(2097152), shown(537_100_000), shown(12)
        ('2.10 M', '537 M', '12 ')
    """
    for power, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= power:
            return f"{f'{number / power:#.3g}'.rstrip('.')} {prefix}"
    return f"{number} "
