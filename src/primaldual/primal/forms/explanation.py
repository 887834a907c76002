"""The table of forms read aloud: which one serves, what it costs, and why not the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from primaldual.errors import ShapeError
from primaldual.kernels.masks import read_mask
from primaldual.primal.choices import Choices
from primaldual.primal.forms.choice import FORMS, choose
from primaldual.primal.forms.form import Cost
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.question import Question
from primaldual.primal.token_inputs import TokenInput


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
    """

    spec: str
    served: list[Served]
    total_heads: int
    needs: tuple[TokenInput, ...] = ()

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
            yield (
                f"{title}  heads {listed(part.heads)} of {self.total_heads}{pooled}: form {part.form}, "
                f"{shown(part.cost.operations)} operations, {shown(part.bytes)}B"
            )
            if part.caution:
                yield f"  slow: {part.caution}"
            yield from (f"  not {name}: {reason}" for name, reason in part.refusals.items())
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
    sets = choices.subset.head_sets(heads)
    question = Question(
        batch, heads, key_shape[1], length, key_shape[2], head_dim, head_dim, len(sets),
        attendable.keys is not None, attendable.pairs is not None, is_causal and length > 1, False,
        dtype, torch.device(device).type,
    )  # fmt: skip
    chosen = choose(choices, sets, question)
    served = []
    for alike, form in zip(sets, chosen, strict=True):
        before = FORMS[: FORMS.index(form)]
        refusals = {other.name: other.refusal(choices, alike, question) for other in before}
        cost = form.cost(choices, alike, question)
        reasons = {name: reason or "serves some heads of the layer only" for name, reason in refusals.items()}
        caution = form.caution(choices, alike, question)
        served.append(_served(alike, form.name, cost, dtype, reasons, caution))
    return Explanation(choices.spec(), served, heads, choices.token_inputs)


def _served(
    heads: HeadSet, form: str, cost: Cost, dtype: torch.dtype, reasons: dict[str, str], caution: str | None
) -> Served:
    return Served(heads.members, heads.scale, form, cost, cost.numbers * dtype.itemsize, reasons, caution)


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
