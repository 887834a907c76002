"""Forgetting: how much a pair counts is learned from the tokens between it and the query."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from primaldual.kernels.statistics import widest
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.pair_weights import PairWeights
from primaldual.primal.sources import pick
from primaldual.primal.token_inputs import Inputs, TokenInput


def closing(projected: Tensor) -> Tensor:
    """min(x, 0): the numbers of a linear map as logarithms of gates, with slope 1 at 0, so that open gates learn."""
    return torch.where(projected > 0, 0.0, projected)


class Forget(PairWeights):
    """w_ij = f_(j+1) f_(j+2) ... f_i, with a gate 0 < f_t <= 1 for each token t and head: what is past is forgotten.

    ``inputs={"log_gate": (batch, heads, Nk)}`` are the natural logarithms log f_t, at most 0 (which is not checked), in any
    floating type; sums of them are taken in float64. Gates of keys that no query may attend count 1. A layer computes
    log f_t = min(w_h . x_t + b_h, 0) from each token x_t, with w = 0 and b = 0 at first: all gates are 1, as in softmax.

    The source defines causal attention. Beside it stand two readings of ours: keys j after the query count
    f_(i+1) ... f_j, the gates between in either direction, and a pooled pair counts the geometric mean of its members.

    Reference: Lin, Nikishin, He, Courville, "Forgetting Transformer: Softmax Attention with a Forget Gate", ICLR 2025.

    Example:
        >>> from primaldual import preset
        >>> key, log_gate = torch.zeros(1, 1, 3, 4), torch.tensor([[[0.5, 0.5, 0.25]]]).log()
        >>> preset("forget").weights(key, key, is_causal=True, inputs={"log_gate": log_gate})[0, 0, 2].mul(11).round()
        tensor([1., 2., 8.])
    """

    name = "forget"
    summary = "pairs count less the more the tokens since then forget, by a gate per token and head"
    cost = "that of softmax, about"
    uneven = True
    summed = True
    token_inputs = (TokenInput("log_gate", "natural logarithms of gates, at most 0", of_projection=closing),)

    def log_weights(
        self, heads: HeadSet, count: int, queries: Tensor, keys: Tensor, inputs: Inputs
    ) -> Tensor:
        sums = pad(_sums(heads, inputs), (1, 0))
        at_queries, at_keys = (sums[..., (places.long() + 1).clamp(min=0)] for places in (queries, keys))
        difference = at_queries.unsqueeze(-1) - at_keys.unsqueeze(-2)
        earlier = queries[:, None] >= keys
        return torch.where(earlier, difference, -difference).to(keys.dtype)

    def prefix_sums(self, heads: HeadSet, count: int, length: int, inputs: Inputs, like: Tensor) -> Tensor:
        return _sums(heads, inputs)[..., :length]

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [
                r"\Phi(T(x_i))\cdot\Phi(T(k_j)) \text{ times } \prod_{t = j + 1}^{i} f_t,\quad 0 < f_t \le 1"
            ]
        return ["Φ(T(x_i))·Φ(T(k_j)) times f_(j+1) ⋯ f_i,  0 < f_t ≤ 1"]


def _sums(heads: HeadSet, inputs: Inputs) -> Tensor:
    """log f_0 + ... + log f_t for every token t, (batch, heads of the set, Nk)."""
    gates = pick(inputs["log_gate"], heads.members)
    return gates.to(widest(gates.device)).cumsum(-1)
