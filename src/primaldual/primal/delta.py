"""Delta rules: every position adds the error that its own row makes on what is there so far."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from primaldual.errors import ArgumentError
from primaldual.kernels.arguments import finite
from primaldual.kernels.modes import in_graph, in_transform
from primaldual.primal.nested_solvers import NestedSolver, Rows, residual_word
from primaldual.primal.solvers import KEYS, QUERIES, RATE
from primaldual.primal.token_inputs import Inputs, TokenInput


def steps(projected: Tensor) -> Tensor:
    """2 / (1 + e^-x): from the numbers of a linear map to steps between 0 and 2."""
    return 2 * projected.sigmoid()


class Correcting(NestedSolver):
    """c_t = beta_t (v_t - sum_(j < t) S_tj c_j), or without the first beta: one triangular system.

    ``inputs={"beta": (batch, heads, Nk)}`` are steps of their own for every token and head, 0 or more and below 2; where
    they are not given all are ``rate``. A layer projects them from its tokens, with ``rate`` for all at first.
    """

    sequences = 1
    ordered = True
    triangular = True
    rated_targets: bool
    """Whether beta_t multiplies v_t too."""

    def __init__(self, rate: float = 1.0) -> None:
        super().__init__()
        self.rate = finite("rate", rate, 0, 2, above=True)
        if self.rate == 2:
            raise ArgumentError(f"rate must be above 0 and below 2, where the rule converges; got {rate}")

    def arguments(self) -> tuple[object, ...]:
        return (f"{self.rate:g}",)

    @property
    def token_inputs(self) -> tuple[TokenInput, ...]:
        first = math.log(self.rate / (2 - self.rate))
        meaning = "steps of the delta rule, 0 or more and below 2"
        return (TokenInput(RATE, meaning, self.rate, of_projection=steps, first=first, optional=True),)

    def check_inputs(self, inputs: Inputs) -> None:
        if in_graph() or in_transform() or inputs[RATE].is_meta or not inputs[RATE].numel():
            return
        least, most = (float(bound) for bound in inputs[RATE].detach().aminmax())
        if not (least >= 0 and most < 2):
            raise ArgumentError(
                f"{RATE} must be 0 or more and below 2, where the rule converges; got {least:g} to {most:g}"
            )

    def coefficients(self, value: Tensor, rows: Rows) -> list[Tensor]:
        early = rows.length - value.shape[2]
        rates = rows.inputs[RATE][..., early:, None].to(value.dtype)
        rated = rates * rows.weights()
        targets = rates * value if self.rated_targets else value
        if early:
            targets = targets - rated[..., :early] @ rows.former(0)
        return [self._solved(rated[..., early:], targets)]

    def expansion(self, products: Tensor, inputs: Inputs) -> Tensor:
        rates = inputs[RATE].unsqueeze(-1).to(products.dtype)
        identity = torch.eye(products.shape[-1], dtype=products.dtype, device=products.device)
        targets = identity * rates if self.rated_targets else identity.expand_as(products)
        return self._solved(products * rates, targets)

    @staticmethod
    def _solved(rated: Tensor, targets: Tensor) -> Tensor:
        """(I + tril(B S, -1))^-1 targets, in float32 or wider."""
        wide = torch.promote_types(targets.dtype, torch.float32)
        # Of the matrix nothing is read but what lies below the diagonal.
        found = torch.linalg.solve_triangular(
            rated.to(wide), targets.to(wide), upper=False, unitriangular=True
        )
        return found.to(targets.dtype)


class Delta(Correcting):
    """The delta rule: W_t = W_(t-1) + beta_t (v_t - W_(t-1) Phi(k_t)) Phi(k_t)', and the output W_t Phi(q_t).

    One step of gradient descent a token on 1/2 |v_t - W Phi(k_t)|^2; beta_t |Phi(k_t)|^2 below 2 shrinks the error at
    k_t. In coefficients c_t = beta_t (v_t - sum_(j < t) kappa(k_t, k_j) c_j). Tokens have an order, so a call is causal,
    or has one query, which reads all. Pair weights such as ``forget`` multiply kappa: W_(t-1) decays by f_t before the
    step, the gated delta rule. h is 1. Features are taken in chunks, O(N); other kernels by one triangular system, O(N^2).

    Args:
        rate: beta of all tokens where none are given, above 0 and below 2.

    Raises:
        ArgumentError: a rate or given steps outside these bounds; coefficients that leave the range of their type.
        UnsupportedError: a call without order in time, or training sets that have none.

    Reference: Schlag, Irie, Schmidhuber, "Linear Transformers Are Secretly Fast Weight Programmers", ICML 2021;
        Yang, Wang, Zhang, Shen, Kim, "Parallelizing Linear Transformers with the Delta Rule over Sequence Length",
        NeurIPS 2024; Yang, Kautz, Hatamizadeh, "Gated Delta Networks", ICLR 2025.

    Example:
        >>> from primaldual import preset
        >>> key, value = torch.eye(3).view(1, 1, 3, 3), torch.randn(1, 1, 3, 2)
        >>> bool(torch.allclose(preset("dot+delta(1)").attend(key, key, value, is_causal=True), value))
        True
    """

    name = "delta"
    summary = "the delta rule: each token corrects the error at its key"
    cost = "with features O(N)"
    examples = ("cosine+constant+delta(0.9)",)
    unnormalized = True
    residual = KEYS
    rated_targets = True
    delta_rule = True

    def coefficient(self, style: str) -> tuple[str, str]:
        if style == "latex":
            return "c_j", r"c_t = \beta_t \left(v_t - \sum_{j < t} \Phi(T(k_t))\cdot\Phi(T(k_j))\, c_j\right)"
        return "c_j", "c_t = β_t (v_t − Σ_(j < t) Φ(T(k_t))·Φ(T(k_j)) c_j)"

    def formula(self, style: str) -> list[str]:
        return [self.coefficient(style)[1]]

    def procedure(self) -> str:
        return f"{self.spec()}: every token corrects the error at its key"


class DeltaFormer(Correcting):
    """The delta rule under attention: u_t = v_t - beta_t sum_(j < t) a_tj u_j, and the output A u.

    a_t are the weights that row t gives to the positions before it, normalised over these. As released, the rows are the
    queries, which must be as many as the keys; ``residual=keys`` takes the keys. Tokens have an order, so a call is causal,
    or has one query. Takes one matrix of weights, O(N^2) numbers.

    Args:
        rate: beta of all tokens where none are given, above 0 and below 2.
        residual: "queries" or "keys", whose rows a_t are.

    Raises:
        ArgumentError: a rate or given steps outside these bounds, or another word.
        UnsupportedError: a call without order in time, or training sets that have none.

    Reference: "Understanding Transformer from the Perspective of Associative Memory", 2025 (arXiv 2505.19488).

    Example:
        >>> from primaldual import preset
        >>> query, key, value = torch.randn(3, 1, 2, 4, 8).unbind(0)
        >>> out = preset("deltaformer").attend(query, key, value, is_causal=True)
        >>> bool(torch.allclose(out[:, :, 0], value[:, :, 0]))
        True
    """

    name = "deltaformer"
    summary = "the delta rule under softmax attention"
    cost = "O(N²), numbers too"
    examples = ("deltaformer(0.8)",)
    rated_targets = False
    strict = True

    def __init__(self, rate: float = 1.0, *, residual: str = QUERIES) -> None:
        super().__init__(rate)
        self.residual = residual_word(residual)

    def formula(self, style: str) -> list[str]:
        x = "k" if self.residual == KEYS else "q"
        if style == "latex":
            return [rf"c_t = v_t - \beta_t \sum_{{j < t}} A_{{< t}}({x}_t, k_j)\, c_j"]
        return [f"c_t = v_t − β_t Σ_(j < t) A_(< t)({x}_t, k_j) c_j"]

    def procedure(self) -> str:
        return f"{self.spec()}: one triangular system of the weights at the {self.residual} gives the coefficients"
