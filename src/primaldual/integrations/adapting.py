"""Attention for classes that are not known here: a module in place of their function on (batch, length, heads, dim)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn

from primaldual.errors import ArgumentError, UnsupportedError
from primaldual.integrations.attention_sites import AttentionSite, check_projected
from primaldual.integrations.position_dependence import PositionDependence, check_lengths
from primaldual.kernels.masks import from_torch_mask
from primaldual.primal.attention import Attention
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem


class AdaptedAttention(nn.Module):
    """Mixes values between projections that belong to a class of another library; see :func:`adapt`.

    Attributes:
        problem: the attention of the heads.
        heads: H.
        head_dim: D.
        is_causal: whether queries attend no later key.
        dropout: probability of dropping an attention weight in training.
    """

    problem: Attention

    def __init__(
        self, problem: PrimalProblem, heads: int, head_dim: int, is_causal: bool, dropout: float
    ) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.is_causal, self.dropout = is_causal, dropout
        self.problem = problem

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        attn_mask: object = None,
        tau: Tensor | None = None,
        delta: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """Attend.

        Args:
            queries: (batch, Nq, heads, D).
            keys: (batch, Nk, heads, D).
            values: (batch, Nk, heads, Dv).
            attn_mask: broadcastable to (batch, heads, Nq, Nk), bool True = blocked, or float 0 / -inf; or an object
                with such a ``mask``.
            tau: must be None: it rescales the scores.
            delta: must be None: it shifts the scores.

        Returns:
            (batch, Nq, heads, Dv), contiguous, and None in place of the map, which
            :func:`primaldual.capture_attention` gives.

        Raises:
            UnsupportedError: tau or delta, or a window between two sequences of different lengths.
            ShapeError: tensors or a mask that do not fit.
        """
        if tau is not None or delta is not None:
            raise UnsupportedError("tau and delta must be None, because they change the scores; got some")
        blocked = getattr(attn_mask, "mask", attn_mask)
        if blocked is not None and not isinstance(blocked, Tensor):
            raise ArgumentError(
                f"attn_mask must be a tensor or hold one as mask; got {type(attn_mask).__name__}"
            )
        mask = None if blocked is None else from_torch_mask(blocked, "attn_mask")
        if queries.shape[1] != keys.shape[1]:
            positions = PositionDependence.of(self.problem, self.heads)
            check_lengths(self.problem, positions, queries.shape[1], keys.shape[1], self.is_causal)
        query, key, value = (tensor.transpose(1, 2) for tensor in (queries, keys, values))
        dropout_p = self.dropout if self.training else 0.0
        mixed = self.problem.attend(query, key, value, mask, self.is_causal, dropout_p)
        return mixed.transpose(1, 2).contiguous(), None

    def extra_repr(self) -> str:
        return f"heads={self.heads}, head_dim={self.head_dim}, is_causal={self.is_causal}"


def adapt(
    attention: str | PrimalProblem,
    heads: int,
    head_dim: int,
    *,
    is_causal: bool = False,
    dropout: float = 0.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> AdaptedAttention:
    """An attention for a class that has its own projections, and calls something on (batch, length, heads, dim).

    That is how the AttentionLayer of Time-Series-Library calls its ``inner_attention``. Once it is in a model,
    ``convert``, ``capture_attention`` and ``head_report`` know it.

    Args:
        attention: a spec such as ``"bn+sh(1,1,2,4)"``, or a PrimalProblem, of which the module keeps a copy.
        heads: H.
        head_dim: D.
        is_causal: queries attend no later key, as well as what a mask says.
        dropout: probability of dropping an attention weight in training.
        device: of what the attention learns.
        dtype: likewise.

    Raises:
        ArgumentError: an attention that does not fit the heads, or a dropout outside [0, 1).
        UnsupportedError: one that needs more of every token than query, key and value.

    Example:
        >>> inner_attention = adapt("bn+sh(1,1,2,4)", heads=4, head_dim=8)
        >>> queries, keys, values = torch.randn(3, 2, 10, 4, 8).unbind(0)
        >>> inner_attention(queries, keys, values, attn_mask=None)[0].shape
        torch.Size([2, 10, 4, 8])
    """
    if not 0 <= dropout < 1:
        raise ArgumentError(f"dropout must be at least 0 and below 1; got {dropout}")
    problem = deepcopy(preset(attention)).bind(heads, head_dim).to(device=device, dtype=dtype)
    check_projected(problem)
    return AdaptedAttention(problem, heads, head_dim, is_causal, dropout)


def find(model: nn.Module) -> list[AttentionSite]:
    """Every module that :func:`adapt` made."""
    return [
        AdaptedSite(model, path)
        for path, module in model.named_modules()
        if isinstance(module, AdaptedAttention)
    ]


class AdaptedSite(AttentionSite):
    """An adapted attention; its projections are not known, so no head can be cut out."""

    @property
    def layer(self) -> AdaptedAttention:
        """The module as it is now."""
        return cast("AdaptedAttention", self.module)

    @property
    def heads(self) -> int:
        return self.layer.heads

    @property
    def kv_heads(self) -> int:
        return self.layer.heads

    @property
    def head_dim(self) -> int:
        return self.layer.head_dim

    @property
    def problem(self) -> Attention | None:
        return self.layer.problem

    @property
    def is_causal(self) -> bool | None:
        return self.layer.is_causal or None

    def convert(self, problem: Attention) -> None:
        layer = self.layer
        vars(layer).setdefault("problem_before", layer.problem)
        layer.problem = problem.train(layer.training)

    def revert(self) -> None:
        if "problem_before" in vars(self.layer):
            self.layer.problem = vars(self.layer).pop("problem_before")

    def prune(self, keep: Sequence[int]) -> None:
        raise UnsupportedError(
            f"the projections around an adapted attention are not known; got heads {list(keep)} to keep"
        )
