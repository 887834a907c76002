"""The flow of tokens on a sphere under self-attention with layer normalisation, in continuous depth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError
from primaldual.primal.problem import PrimalProblem


@dataclass(frozen=True)
class TokenFlow:
    """The path of tokens on the unit sphere.

    Attributes:
        times: (steps + 1,), from 0 on; a unit of time is a layer that adds its whole output.
        tokens: (steps + 1, tokens, features), of length 1, float64.
        energies: E at each time, (steps + 1,).
    """

    times: Tensor
    tokens: Tensor
    energies: Tensor

    def clusters(self, cosine: float = 0.99, step: int = -1) -> Tensor:
        """Integers (tokens,) from 0 on, the same for tokens joined by a chain of cosines above ``cosine``.

        Args:
            cosine: of two tokens that count as neighbours, -1 to 1.
            step: at which time; default the last.

        Raises:
            ArgumentError: a cosine outside [-1, 1].
        """
        if not -1 <= cosine <= 1:
            raise ArgumentError(f"cosine must be from -1 to 1; got {cosine}")
        tokens = self.tokens[step]
        reached = (tokens @ tokens.T >= cosine) | torch.eye(len(tokens), dtype=torch.bool)
        for _ in range(len(tokens).bit_length()):
            reached = (reached.double() @ reached.double()) > 0
        return torch.unique(reached.int().argmax(1), return_inverse=True)[1]


def token_flow(
    tokens: Tensor, matrix: Tensor, *, time: float = 10.0, steps: int = 200, sign: float = 1.0
) -> TokenFlow:
    r"""Move tokens on the unit sphere as attention layers with layer normalisation do when every layer adds little.

        x_i' = s P_i sum_j softmax_j(x_i^T D x_j) D x_j,      P_i = I - x_i x_i^T
        E = 1/2 sum_i h(x_i),      h(x) = sum_j exp(x^T D x_j), the normaliser of softmax attention

    For symmetric D the gradient of E in x_i is h(x_i) sum_j softmax_j(x_i^T D x_j) D x_j, so that

        dE/dt = s sum_i |P_i grad_i E|^2 / h(x_i),

    which is never negative for s > 0: tokens flow uphill, and a positive definite D gathers them at the two unit
    eigenvectors of its largest eigenvalue, those that start on one side at one of them. For s < 0 they disperse.
    Steps are those of Runge and Kutta, of order 4, each followed by division by the length.

    Args:
        tokens: (tokens, features), not 0; they start at their directions.
        matrix: D = W_q^T W_k = W_v, (features, features).
        time: how long they flow.
        steps: into how many steps it is divided.
        sign: s, the factor on every velocity.

    Raises:
        ShapeError: a matrix that does not fit the tokens.
        ArgumentError: numbers that are not finite, a token of length 0, a time or steps that are not above 0.

    Reference:
        Mean-field dynamics of transformers on the sphere, arXiv 2501.03096, whose D and energy these are.

    Example:
        >>> flow = token_flow(torch.randn(6, 3), torch.eye(3))
        >>> bool((flow.energies.diff() > -1e-9).all()), flow.tokens.shape
        (True, torch.Size([201, 6, 3]))
    """
    _check(tokens, matrix, time, steps)
    matrix = matrix.detach().to("cpu", torch.float64)
    place = torch.nn.functional.normalize(tokens.detach().to("cpu", torch.float64), dim=1)
    path, step = [place], time / steps
    for _ in range(steps):
        first = sign * velocity(place, matrix)
        second = sign * velocity(place + step / 2 * first, matrix)
        third = sign * velocity(place + step / 2 * second, matrix)
        fourth = sign * velocity(place + step * third, matrix)
        moved = place + step / 6 * (first + 2 * second + 2 * third + fourth)
        place = torch.nn.functional.normalize(moved, dim=1)
        path.append(place)
    times = torch.linspace(0, time, steps + 1, dtype=torch.float64)
    return TokenFlow(times, torch.stack(path), torch.stack([energy(place, matrix) for place in path]))


def velocity(tokens: Tensor, matrix: Tensor) -> Tensor:
    """P_i sum_j softmax_j(x_i^T D x_j) D x_j of every token, (tokens, features), at the directions of the tokens.

    Args:
        tokens: (tokens, features).
        matrix: D, (features, features).
    """
    places = torch.nn.functional.normalize(tokens, dim=1)
    mixed = PrimalProblem().attend(*_attention_of(places, matrix), (places @ matrix.T)[None, None])[0, 0]
    return mixed - (mixed * places).sum(1, keepdim=True) * places


def energy(tokens: Tensor, matrix: Tensor) -> Tensor:
    """E = 1/2 sum_i sum_j exp(x_i^T D x_j), half the sum of softmax attention's normaliser.

    Args:
        tokens: (tokens, features).
        matrix: D, (features, features).
    """
    problem = PrimalProblem()
    kernel = problem.feature_map.kernel(*_attention_of(tokens, matrix))
    return problem.normalizer.denominator(kernel).sum() / 2


def _attention_of(tokens: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys (1, 1, tokens, features) whose scaled scores are x_i^T D x_j."""
    return (tokens @ matrix * tokens.shape[1] ** 0.5)[None, None], tokens[None, None]


def _check(tokens: Tensor, matrix: Tensor, time: float, steps: int) -> None:
    if tokens.dim() != 2 or matrix.shape != (tokens.shape[1], tokens.shape[1]):
        raise ShapeError(
            "tokens must be (tokens, features) and matrix (features, features); got shapes "
            f"{tuple(tokens.shape)} and {tuple(matrix.shape)}"
        )
    if not (tokens.isfinite().all() and matrix.isfinite().all()) or not (tokens != 0).any(1).all():
        raise ArgumentError("tokens and matrix must be finite, and no token 0")
    if not (0 < time < float("inf") and steps > 0):
        raise ArgumentError(f"time and steps must be above 0; got {time} and {steps}")
