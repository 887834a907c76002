"""What every attention offers, whether its heads solve one problem or several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NoReturn, Self

from torch import Tensor, nn

from primaldual.errors import UnsupportedError
from primaldual.kernels.masks import Attendable
from primaldual.primal.reading import read
from primaldual.primal.sources import KeyValueSource
from primaldual.primal.token_inputs import Inputs, TokenInput, neutral_inputs


class Attention(nn.Module, ABC):
    """An attention of several heads: of one problem, or of several that divide the heads among them."""

    @abstractmethod
    def spec(self) -> str:
        """The attention as text."""

    def __prepare_scriptable__(self) -> NoReturn:
        """Refuse ``torch.jit.script``, which calls this for every module of a model."""
        raise UnsupportedError(
            f"{self.spec()}: torch.jit.script reads the source of functions and cannot read this library's; accepted are "
            "torch.compile, torch.export and torch.jit.trace (docs/export.md)"
        )

    @abstractmethod
    def problems(self, heads: int) -> Iterable[tuple[Any, list[int]]]:
        """Every :class:`PrimalProblem` that is solved, with those of the ``heads`` heads that are its own."""

    @property
    @abstractmethod
    def token_inputs(self) -> tuple[TokenInput, ...]:
        """What the parts need of every token beside query, key and value: names and shapes of ``inputs``."""

    def neutral_inputs(self, query: Tensor, key: Tensor, value: Tensor) -> dict[str, Tensor]:
        """Inputs that change nothing, for tensors as :meth:`attend` takes them.

        Example:
            >>> from primaldual import preset
            >>> import torch
            >>> tensors = torch.randn(3, 1, 2, 5, 8).unbind(0)
            >>> preset("forget").neutral_inputs(*tensors)["log_gate"].shape
            torch.Size([1, 2, 5])
        """
        return neutral_inputs(self.token_inputs, query, key.shape[2], value.shape[3])

    @abstractmethod
    def keep_heads(self, members: list[int], heads: int) -> Attention:
        """Forget all of the ``heads`` query heads but these, in place; the attention of those that are left."""

    @abstractmethod
    def compute_source(
        self,
        query: Tensor,
        source: KeyValueSource,
        attendable: Attendable,
        dropout_p: float = 0.0,
        inputs: Inputs | None = None,
    ) -> Tensor:
        """The attention on keys and values that may still be unprojected, bypassing running statistics."""

    @abstractmethod
    def forward(
        self,
        query: Tensor,
        source: KeyValueSource,
        attendable: Attendable,
        dropout_p: float = 0.0,
        inputs: Inputs | None = None,
    ) -> Tensor:
        """The same, followed by running statistics: what every layer calls.

        Forward hooks therefore see the queries, keys, values and masks of any model that holds the attention,
        and may change what its heads give.

        Args:
            query: (batch, heads, Nq, D).
            source: keys and values, finite where nobody attends.
            attendable: the masks.
            dropout_p: as :meth:`attend`.
            inputs: as :meth:`attend`; given by position, as hooks see it.
        """

    @abstractmethod
    def attention_map(
        self,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        inputs: Inputs | None = None,
    ) -> Tensor:
        """Weights on the keys themselves, (batch, heads, Nq, Nk): a pooled pair's weight spread over its members.

        ``attention_map @ value`` is the output of the layer.
        """

    def bind(self, heads: int, head_dim: int) -> Self:
        """Tell the parts the sizes: creates learnable parts, draws random ones, refuses what does not fit.

        Raises:
            ArgumentError: for example scales that do not match the heads.
        """
        for problem, members in self.problems(heads):
            parts = problem.parts()
            width = parts.solver.kernel_dim(head_dim)
            for part in parts:
                part.bind(len(members), width)
        return self

    def attend(
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
        """The attention, fast: (batch, heads, Nq, Dv). A query without any key gets exactly 0.

        :meth:`PrimalProblem.explain` tells which form computes it. Under torch.func and forward-mode differentiation
        that is the definition; second derivatives of the other forms raise.

        Args:
            query: (batch, heads, Nq, D).
            key: (batch, kv heads, Nk, D).
            value: (batch, kv heads, Nk, Dv).
            mask: bool, True = may attend, broadcastable to (batch, heads, Nq, Nk).
            is_causal: query i attends no key behind position i + Nk - Nq.
            dropout_p: probability of dropping a weight.
            inputs: what the parts need of every token, by name, see :attr:`token_inputs`.

        Raises:
            ShapeError: tensors, mask or inputs do not fit together.
            ArgumentError: a mask that is not boolean, dropout_p outside [0, 1), or inputs that are missing or unknown.
        """
        if mask is None and inputs is None and not dropout_p:
            again = self.attend_again(query, key, value, is_causal)
            if again is not None:
                return again
        read_tensors = read(query, key, value, mask, is_causal, dropout_p)
        outputs: Tensor = self(query, *read_tensors, dropout_p, inputs)
        return outputs

    def attend_again(self, query: Tensor, key: Tensor, value: Tensor, is_causal: bool) -> Tensor | None:
        """The attention of tensors such as :meth:`attend` has served before; None = it is to check and choose."""
        del query, key, value, is_causal
        return None

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
        """The attention as :meth:`attend` gives it, bypassing forward hooks and running statistics."""
        read_tensors = read(query, key, value, mask, is_causal, dropout_p)
        return self.compute_source(query, *read_tensors, dropout_p, inputs)

    def extra_repr(self) -> str:
        return self.spec()
