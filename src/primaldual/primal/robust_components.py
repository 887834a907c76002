"""RPC-Attention: attention whose queries and keys are cleaned by robust principal components."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError
from primaldual.kernels.arguments import finite, shown, whole
from primaldual.kernels.heads import for_query_heads
from primaldual.kernels.statistics import accumulation_dtype
from primaldual.primal.clipping import clipped
from primaldual.primal.composed_solvers import Attentions, ComposedSolver, Maps
from primaldual.primal.token_inputs import OWN_VALUE

MOST_ROUNDS = 64
SMALLEST = 1e-9
"""Of the mean size of keys, so that thresholds of keys of 0 are numbers."""


STEPS = {"released": (1, -1), "textbook": (-1, 1)}
"""As in the code that was published, and as alternating directions have it: the power of mu in the threshold, and the sign
of Y / mu in what is attended."""


class RobustComponents(ComposedSolver):
    r"""RPC-Attention: x = L(x) + S(x), where S is sparse and L(x) = sum_j A(x - S(x), k_j - S(k_j)) v_j is an attention.

    n rounds for queries and keys alike, L = Y = 0 at first, out = L(q) of the last:

        S <- shrink(x - L + Y / mu, t),   shrink(u, t) = sign(u) max(|u| - t, 0)
        L <- A(x - S + s Y / mu, k - S + s Y / mu) v
        Y <- Y + mu (x - L - S)

    mu = 1 / (4 mean |k|), the mean over the features of the keys that a row may attend. With ``steps=released``
    t = lambda mu and s = -1, as in the code of the authors; with ``steps=textbook`` t = lambda / mu and s = 1, as in
    principal component pursuit by alternating directions, so that the threshold is in the unit of the keys. n = 1 is softmax
    of clipped queries and keys; lambda = 0 gives the mean of the values.

    Published with queries that are the keys; here queries are cleaned as keys are. Values must be as wide as keys. Under a
    causal mask whatever is computed of a key is computed on its prefix and final. Half precision is computed in float32:
    what clipping keeps has jumps in its derivative. ``weights`` and ``attention_map``, which get no values, need
    ``inputs={"value": ...}``. Decoding computes all rounds of all keys anew.

    Args:
        rounds: n, from 1 to 64.
        penalty: lambda, 0 or more.
        steps: "released" or "textbook".

    Raises:
        ArgumentError: other rounds, a negative penalty, or another word.
        ShapeError: values that are not as wide as keys.

    Reference: Teo, Nguyen, "Unveiling the Hidden Structure of Self-Attention via Kernel Principal Component Analysis",
        NeurIPS 2024 (arXiv 2406.13762), whose code counts the features of all heads of a layer in mu, so that our lambda is
        theirs times the number of heads; Candès, Li, Ma, Wright, "Robust Principal Component Analysis?", JACM 2011.

    Example:
        >>> from primaldual import preset
        >>> key, value = torch.randn(2, 1, 2, 5, 8).unbind(0)
        >>> means = preset("rpc(3,0)").attend(key, key, value)
        >>> torch.allclose(means, value.mean(2, keepdim=True).expand_as(means), atol=1e-6)
        True
    """

    name = "rpc"
    summary = "robust principal components: attention to keys without their sparse part, in n rounds"
    cost = "2 n − 1 times that of softmax"
    examples = ("rpc(2,4)", "rpc(3,0.2,steps=textbook)")
    at_keys = True
    attends_means = True
    magnifies = True
    token_inputs = (OWN_VALUE,)

    def __init__(self, rounds: int = 4, penalty: float = 4.0, *, steps: str = "released") -> None:
        super().__init__()
        self.rounds = whole("rounds", rounds, 1, MOST_ROUNDS)
        self.penalty = finite("penalty", penalty, 0)
        if steps not in tuple(STEPS):
            raise ArgumentError(f"steps must be one of {', '.join(STEPS)}; got {shown(steps)}")
        self.steps = steps

    def arguments(self) -> tuple[object, ...]:
        return self.rounds, f"{self.penalty:g}"

    @property
    def query_products(self) -> int:
        return self.rounds

    @property
    def key_products(self) -> int:
        return self.rounds - 1

    def call_refusal(self, query_length: int, key_length: int, is_causal: bool, by_query: bool) -> str | None:
        if by_query and query_length != key_length:
            return "cleans keys as queries, and a mask that differs by query says nothing of keys without one"
        return None

    def outputs(self, query: Tensor, key: Tensor, value: Tensor, attentions: Attentions) -> Tensor:
        self._check_widths(key, value)
        wide, heads = accumulation_dtype(query.dtype), query.shape[1]
        keys, values = for_query_heads(key, heads).to(wide), for_query_heads(value, heads)
        held = attentions.attended(attentions.inputs["value"]).to(wide)
        size, sign = keys.abs().mean(-1, keepdim=True), STEPS[self.steps][1]
        at_queries = _Cleaning(query.to(wide), self._limits(attentions.mean_at_queries(size)), sign)
        at_keys = _Cleaning(keys, self._limits(attentions.mean_at_keys(size)), sign)
        for _ in range(self.rounds - 1):
            rows, keys = at_queries.cleaned(), at_keys.cleaned()
            at_queries.fitted(attentions.at_queries(rows, keys, held))
            at_keys.fitted(attentions.at_keys(keys, keys, held))
        out = attentions.at_queries(at_queries.cleaned(), at_keys.cleaned(), values.to(wide))
        return out.to(query.dtype)

    def attention_map(self, query: Tensor, key: Tensor, maps: Maps) -> Tensor:
        value = maps.attended(maps.inputs["value"]).to(query.dtype)
        self._check_widths(key, value)
        size = key.abs().to(accumulation_dtype(key.dtype)).mean(-1, keepdim=True)
        limits = [
            self._limits((allowed.to(size.dtype) @ size) / allowed.sum(-1, keepdim=True).clamp(min=1)).to(
                key.dtype
            )
            for allowed in (maps.allowed_to_queries(), maps.allowed_to_keys())
        ]
        rows, sign = (query, key), STEPS[self.steps][1]
        fits = [torch.zeros_like(each) for each in rows]
        multipliers = [torch.zeros_like(each) for each in rows]
        for number in range(1, self.rounds + 1):
            past = [x - fit + y for x, fit, y in zip(rows, fits, multipliers, strict=True)]
            sparse = [u.sign() * (u.abs() - t).relu() for u, t in zip(past, limits, strict=True)]
            clean = [x - s + sign * y for x, s, y in zip(rows, sparse, multipliers, strict=True)]
            weights = maps.at_queries(*clean)
            if number < self.rounds:
                fits = [weights @ value, maps.at_keys(clean[1], clean[1]) @ value]
                given = zip(multipliers, rows, fits, sparse, strict=True)
                multipliers = [y + x - fit - s for y, x, fit, s in given]
        return weights

    def _limits(self, means: Tensor) -> Tensor:
        """The threshold t of every row, from mean |k|."""
        mu = 1 / (4 * means.clamp(min=SMALLEST))
        return self.penalty * mu ** STEPS[self.steps][0]

    def _check_widths(self, key: Tensor, value: Tensor) -> None:
        if key.shape[3] != value.shape[3]:
            raise ShapeError(
                f"{self.spec()} takes fits of the values from the keys, so both need one dimension; got head_dim "
                f"{key.shape[3]} and value_dim {value.shape[3]}"
            )

    def procedure(self) -> str:
        return f"{self.spec()}: {self.rounds} products at the queries, {self.rounds - 1} at the keys to clean both"

    def objective(self, style: str) -> str:
        if style == "latex":
            return r"\|L\|_* + \lambda \|S\|_1,\quad K = L + S"
        return "‖L‖_* + λ ‖S‖₁,  K = L + S"

    def formula(self, style: str) -> list[str]:
        power, sign = STEPS[self.steps]
        if style == "latex":
            bound, shift = (r"\lambda\mu" if power > 0 else r"\lambda/\mu"), "-" if sign < 0 else "+"
            return [
                rf"S = \operatorname{{shrink}}_t(x - L + Y/\mu),\quad t = {bound},\ \lambda = {self.penalty:g},\ "
                r"\mu = 1 / (4\operatorname{mean}|k|)",
                rf"L^+ = A(x - S {shift} Y/\mu,\ k - S {shift} Y/\mu)\, v,\quad Y^+ = Y + \mu (x - L^+ - S),"
                rf"\quad {self.rounds} \text{{ times for queries and keys}}",
            ]
        bound, shift = ("λ μ" if power > 0 else "λ / μ"), "−" if sign < 0 else "+"
        return [
            f"S ← shrink_t(x − L + Y / μ),  t = {bound},  λ = {self.penalty:g},  μ = 1 / (4 mean |k|)",
            f"L ← A(x − S {shift} Y / μ, k − S {shift} Y / μ) v,  Y ← Y + μ (x − L − S),  {self.rounds} times",
        ]

    def coefficient(self, style: str) -> tuple[str, str]:
        if style == "latex":
            return "v_j", r"\text{of the last } L"
        return "v_j", "of the last L"


class _Cleaning:
    """L and Y / mu of some rows, of which U = x - L + Y / mu is clipped: S is what goes beyond t.

    So x - S + s Y / mu = L + clip(U, -t, t) + (s - 1) Y / mu.
    """

    def __init__(self, rows: Tensor, limit: Tensor, sign: int) -> None:
        self.rows = rows
        self.limit = limit
        self.sign = sign
        self.fit = self.multiplier = self.clipped = torch.zeros_like(rows)

    def cleaned(self) -> Tensor:
        """The rows that attend next."""
        whole = self.rows - self.fit + self.multiplier
        # A number just at the threshold is kept, as in the definition: keys of few values often lie there.
        self.clipped = clipped(whole, self.limit)
        return self.fit + self.clipped + (self.sign - 1) * self.multiplier

    def fitted(self, fit: Tensor) -> None:
        """Take the outputs of the attention for L, and Y / mu + x - L - S for Y / mu."""
        self.multiplier = self.clipped + self.fit - fit
        self.fit = fit
