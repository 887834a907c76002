"""DecodableProblem: what decoding asks of a problem."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor, nn

from primaldual.primal.choices import Choices
from primaldual.primal.token_inputs import Inputs, TokenInput


class DecodableProblem(Protocol):
    """A problem whose parts state how they decode: :class:`PrimalProblem` is one."""

    def parts(self) -> Choices:
        """The parts."""

    @property
    def token_inputs(self) -> tuple[TokenInput, ...]:
        """What they need of every token beside query, key and value."""

    def spec(self) -> str:
        """The problem in words; a state belongs to problems of one spec."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Its parameters, which know its device and type."""

    def compute(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        is_causal: bool = False,
        dropout_p: float = 0.0,
        *,
        inputs: Inputs | None = None,
    ) -> Tensor:
        """The attention, bypassing forward hooks and running statistics."""
