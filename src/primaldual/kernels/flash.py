"""Softmax attention that hands out what its backward needs, in place of keeping it.

PyTorch's blockwise CPU kernel behind scaled_dot_product_attention, called where a caller saves what the
backward needs itself: attention by pieces, and softmax over several sets of keys merged exactly.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from primaldual.kernels.modes import in_graph

Outcome = tuple[Tensor, Tensor]
Gradients = tuple[Tensor, Tensor, Tensor]


class SoftmaxCall(Protocol):
    """A softmax attention that is ready to run: everything but the query."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What it depends on beside the query: keys and values."""

    def forward(self, query: Tensor) -> Outcome:
        """The output (batch, heads, Nq, D), and log-sum-exps (batch, heads, Nq) that the backward needs."""

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> tuple[Tensor, ...]:
        """Gradients of the query and of the tensors."""


class CutCall(SoftmaxCall, Protocol):
    """One whose first queries may be there for the others' sake only."""

    def without_rows(self, logsumexp: Tensor, count: int) -> Tensor:
        """Log-sum-exps with which the first rows have no gradient; in place."""


class MergeableCall(SoftmaxCall, Protocol):
    """A softmax attention to some of the pairs of a query.

    With the output and the log-sum-exp of all pairs in ``outcome``, its backward gives what these pairs contribute.
    """

    def total(self, logsumexp: Tensor) -> Tensor:
        """What ``forward`` gives with minus infinity where a query has no pair."""


@dataclass(frozen=True)
class FlashCall:
    """sum_j softmax_j(scale q_i . k_j) v_j over the keys of a mask; rows without a key give 0.

    Attributes:
        key: (batch, heads, Nk, D).
        value: (batch, heads, Nk, D).
        scale: factor on the scores.
        key_mask: bool (batch or 1, heads or 1, 1 or Nq, Nk), or None.
        is_causal: query i attends the keys 0..i, counted from the first ones of both.
        bias: (batch or 1, heads or 1, 1, Nk), added to the scores and not differentiated; or None.
    """

    key: Tensor
    value: Tensor
    scale: float
    key_mask: Tensor | None = None
    is_causal: bool = False
    bias: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self.key, self.value

    def forward(self, query: Tensor) -> Outcome:
        bias = additive(self.key_mask, query, self.bias)
        return flash_forward(query, self.key, self.value, bias, self.is_causal, self.scale)

    def without_rows(self, logsumexp: Tensor, count: int) -> Tensor:
        logsumexp[..., :count] = torch.inf
        return logsumexp

    def total(self, logsumexp: Tensor) -> Tensor:
        if self.key_mask is None:
            return logsumexp
        if self.is_causal and self.key_mask.shape[2] == 1:
            seen = self.key_mask[..., 0, : logsumexp.shape[2]].cumsum(-1) > 0
        else:
            seen = self.key_mask.any(-1)
        return logsumexp.masked_fill(~seen, -torch.inf)

    def backward(self, gradient: Tensor, query: Tensor, outcome: Outcome) -> Gradients:
        bias = additive(self.key_mask, query, self.bias)
        return flash_backward(
            gradient, query, self.key, self.value, outcome, bias, self.is_causal, self.scale
        )


def flash_enabled() -> bool:
    """Whether the caller has left the kernel on (``torch.nn.attention.sdpa_kernel``)."""
    return torch.backends.cuda.flash_sdp_enabled()


def runs_alone(query: Tensor, value: Tensor) -> bool:
    """Whether the kernel may be called by itself: on the CPU, outside of graphs, for values as wide as queries."""
    return (
        query.device.type == "cpu"
        and not in_graph()
        and flash_enabled()
        and query.shape[-1] == value.shape[-1]
        and query.numel() > 0
        and value.numel() > 0
    )


def flash_forward(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, is_causal: bool, scale: float
) -> Outcome:
    """Output and log-sum-exp; ``bias`` (batch or 1, heads or 1, 1 or Nq, Nk) is added to the scores."""
    query, key, value = (_unit_stride(tensor) for tensor in (query, key, value))
    out, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, is_causal, attn_mask=bias, scale=scale
    )
    return out, logsumexp


def flash_backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    outcome: Outcome,
    bias: Tensor | None,
    is_causal: bool,
    scale: float,
) -> Gradients:
    """Gradients of query, key and value.

    With ``gradient`` times the share of these keys in a softmax over more keys, and the output of that one in
    ``outcome``, they are the gradients of that one.
    """
    tensors = (_unit_stride(tensor) for tensor in (gradient, query, key, value, outcome[0]))
    logsumexp = (
        outcome[1].transpose(1, 2).contiguous().transpose(1, 2)
    )  # heads last, as the kernel writes them
    gradients: Gradients = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        *tensors, logsumexp, 0.0, is_causal, attn_mask=bias, scale=scale
    )
    return gradients


def additive(key_mask: Tensor | None, query: Tensor, bias: Tensor | None = None) -> Tensor | None:
    """A bool mask as numbers to add: 0, or a bias, where it is True, minus infinity elsewhere."""
    if bias is not None:
        added = bias.to(query.dtype)
        return added if key_mask is None else added.masked_fill(~key_mask, -torch.inf)
    if key_mask is None:
        return None
    return torch.zeros(key_mask.shape, dtype=query.dtype, device=query.device).masked_fill_(
        ~key_mask, -torch.inf
    )


def _unit_stride(tensor: Tensor) -> Tensor:
    """The tensor with features side by side in memory, as the kernel reads them whatever the stride says."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()
