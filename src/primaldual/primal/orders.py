"""Orders of the local model: what f is near a query, a constant or an affine function."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from primaldual.kernels.arguments import finite
from primaldual.kernels.cholesky import cholesky
from primaldual.kernels.key_covariance import LARGEST_RIDGE, NAME, SMALLEST_SHARE
from primaldual.primal.head_sets import HeadSet
from primaldual.primal.parts import Part, overrides
from primaldual.primal.sources import pick
from primaldual.primal.token_inputs import HEAD_DIM, QUERIES, Inputs, TokenInput


class LocalFit(NamedTuple):
    """What a local model is fitted to.

    Attributes:
        query: (batch, heads, Nq, D), transformed.
        keys: (batch, heads, Nq or 1, Nt, D), transformed.
        weights: (batch, heads, Nq, Nt), rows adding up to 1, or to 0 where a query has no key.
        log_total: log of the sum of the kernels that the weights were divided by, (batch, heads, Nq, 1).
        dtype: the type of the call, float32 or wider; the tensors may be wider.
    """

    query: Tensor
    keys: Tensor
    weights: Tensor
    log_total: Tensor
    dtype: torch.dtype


class Order(Part):
    """The local model that is fitted at every query; the base class states: a constant.

    The weighted mean of the values minimises sum_j w_j |v_j - b|^2 over constants b, w_j the weights of the pairs. A
    linear order adds a slope: the output is sum_j w_j (1 - (k_j - kbar) . r) v_j, with kbar the weighted mean of the
    training keys and r the probe, one vector for each query.

    Example:
        >>> from primaldual import preset
        >>> [type(preset(spec).order).__name__ for spec in ("softmax", "lla(1)", "parallax")]
        ['Order', 'LocalLinear', 'Parallax']
    """

    choice = "order"
    name = ""
    linear: ClassVar[bool] = False
    """Whether there is a slope; a class that states ``dense_probe`` says so unless it states otherwise."""
    least_squares: ClassVar[bool] = False
    """The probe is that of least squares with a ridge, ``self.ridge``, see :class:`LocalLinear`."""
    ridge: float = 0.0
    """Of a probe by least squares: lambda."""
    given: ClassVar[bool] = False
    """The probe is an input, see ``given_probe``."""
    facts: ClassVar[dict[str, tuple[str, ...]]] = {
        "least_squares": ("dense_probe",),
        "given": ("dense_probe",),
    }

    def __init_subclass__(cls, **options: Any) -> None:
        """Never leave a stated probe out."""
        super().__init_subclass__(**options)
        if overrides(cls, "dense_probe", "linear"):
            cls.linear = True

    def dense_probe(self, fit: LocalFit, heads: HeadSet, inputs: Inputs) -> Tensor:
        """The definition of r, (batch, heads, Nq, D).

        Args:
            fit: queries, keys and weights.
            heads: which heads of the problem these are.
            inputs: what ``token_inputs`` names, of all heads of the problem and these queries.
        """
        raise NotImplementedError

    def given_probe(self, heads: HeadSet, inputs: Inputs) -> Tensor | None:
        """The same for all queries, where it is an input."""
        del heads, inputs
        return None

    def operations(self, pairs: int, queries: int, head_dim: int) -> int:
        """Operations for one head of one sequence beyond those of a constant."""
        del pairs, queries, head_dim
        return 0


class LocalLinear(Order):
    r"""An affine model fitted at every query: min over b, W of sum_j kappa_j |v_j - b - W (k_j - q)|^2 + lambda |W|^2.

    Its value at the query is vbar + C_vk (C_kk + lambda / omega I)^-1 (q - kbar), all moments under the attention
    weights, omega the sum of the kernels that these were divided by. As lambda grows it becomes the attention without a
    slope; with lambda = 0 it reproduces values that are affine functions of the keys, wherever these span the space. A
    lambda / omega below 1e-6 of the mean squared distance of the keys from the query (1e-9 in float64) counts as that much.

    Args:
        ridge: lambda, 0 or more.

    Raises:
        ArgumentError: a lambda that is negative or not finite; a covariance of keys without a Cholesky factor in the type
            of the call.

    Reference: local linear attention, arXiv 2510.01450.

    Example:
        >>> from primaldual import preset
        >>> query, key = torch.randn(2, 1, 1, 9, 2, dtype=torch.float64).unbind(0)
        >>> slope = torch.tensor([[2.0], [-1.0]], dtype=torch.float64)
        >>> torch.allclose(preset("lla(0)").attend(query, key, key @ slope + 3), query @ slope + 3)
        True
    """

    name = "lla"
    summary = "local linear attention: an affine model fitted at every query"
    cost = "O(N² D²), tens of times that of softmax"
    least_squares = True
    examples = ("lla(1)", "lla(0.1)")
    linear = True

    def __init__(self, ridge: float = 1.0) -> None:
        super().__init__()
        self.ridge = finite("ridge", ridge, least=0)

    def arguments(self) -> tuple[object, ...]:
        return (f"{self.ridge:g}",)

    def dense_probe(self, fit: LocalFit, heads: HeadSet, inputs: Inputs) -> Tensor:
        query, keys, weights, log_total, dtype = fit
        mean = (weights.unsqueeze(-2) @ keys).squeeze(-2)
        centred, distance = keys - mean.unsqueeze(-2), query - mean
        covariance = (weights.unsqueeze(-1) * centred).transpose(-2, -1) @ centred
        spread = (weights.detach() * (keys - query.unsqueeze(-2)).detach().square().sum(-1)).sum(
            -1, keepdim=True
        )
        least = SMALLEST_SHARE[dtype] * spread + torch.finfo(dtype).tiny ** 0.5
        ridge = (
            (self.ridge * torch.exp(torch.clamp(-log_total, max=80))).clamp(max=LARGEST_RIDGE).maximum(least)
        )
        identity = torch.eye(query.shape[-1], dtype=query.dtype, device=query.device)
        system = covariance + ridge.unsqueeze(-1) * identity
        cholesky(system.detach(), NAME)  # says what is wrong; solve is differentiated twice in less time
        return -torch.linalg.solve(system, distance)

    def operations(self, pairs: int, queries: int, head_dim: int) -> int:
        moments = queries * pairs * head_dim * (head_dim + 1)
        return 2 * queries * pairs * head_dim + moments + 2 * queries * head_dim**3 // 3

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [
                r"f(x) = b \text{ of } \min_{b, W} \textstyle\sum_j \kappa_j \|v_j - b - W (k_j - x)\|^2"
                rf" + {self.ridge:g} \|W\|^2"
            ]
        return [f"f(x) = b of min over b, W of Σ_j κ_j ‖v_j − b − W (k_j − x)‖² + {self.ridge:g} ‖W‖²"]


class Parallax(Order):
    """A slope along a learned probe r of every query: sum_j w_j (1 - (k_j - kbar) . r) v_j = vbar - Cov(v, k) r.

    ``inputs={"probe": (batch, heads, Nq, D)}`` is r; of zeros it is the attention without a slope, and
    r = -(C_kk + lambda / omega I)^-1 (q - kbar) gives :class:`LocalLinear`. It is that attention less its own directional
    derivative along r, but for the scale of the scores. A layer computes r from each token, 0 at first.

    Reference: Parallax, arXiv 2605.29157.

    Example:
        >>> from primaldual import preset
        >>> query, key, value = torch.randn(3, 1, 1, 5, 2).unbind(0)
        >>> flat = preset("parallax").attend(query, key, value, inputs={"probe": torch.zeros(1, 1, 5, 2)})
        >>> torch.allclose(flat, preset("softmax").attend(query, key, value), atol=1e-6)
        True
    """

    name = "parallax"
    summary = "a slope along a probe of every query, learned from the token"
    cost = "about three times that of softmax"
    linear = True
    given = True
    token_inputs = (
        TokenInput("probe", "the direction that the output is tilted along", tokens=QUERIES, width=HEAD_DIM),
    )

    def dense_probe(self, fit: LocalFit, heads: HeadSet, inputs: Inputs) -> Tensor:
        return pick(inputs["probe"], heads.members).to(fit.weights.dtype)

    def given_probe(self, heads: HeadSet, inputs: Inputs) -> Tensor:
        return pick(inputs["probe"], heads.members)

    def operations(self, pairs: int, queries: int, head_dim: int) -> int:
        return 2 * queries * pairs * head_dim

    def formula(self, style: str) -> list[str]:
        if style == "latex":
            return [r"f(x_i) = \bar v - \operatorname{Cov}(v, k)\, r_i,\quad r_i \text{ an input}"]
        return ["f(x_i) = v̄ − Cov(v, k) r_i,  r_i an input of the query"]
