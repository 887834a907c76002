"""A problem whose inputs per token follow from its queries and keys, so that every check serves it as it is."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from primaldual.kernels.heads import for_query_heads
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.token_inputs import HEAD_DIM, KEYS, TokenInput

Method = TypeVar("Method", bound=Callable[..., Any])


def _fed(method: Method) -> Method:
    """The method, given inputs made of the query and key that it is called with where it is given none."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def wrapped(self: FedProblem, *arguments: Any, **options: Any) -> Any:
        bound = signature.bind(self, *arguments, **options)
        given = bound.arguments
        if given.get("inputs") is None:
            given["inputs"] = self.made(given["query"], given["key"], given.get("value", given["key"]))
        if self.solver.ordered and "is_causal" in signature.parameters:
            given["is_causal"] = True
        return method(*bound.args, **bound.kwargs)

    return cast(Method, wrapped)


class FedProblem(PrimalProblem):
    """The same problem, which makes its inputs of the query or key of each token itself, in float64.

        input = f(2 sin(x W) + b),  x the token's query or key, f and b those of the :class:`TokenInput`

    What is cut, padded, repeated, spoiled or decoded then has the inputs that belong to it, and gradients with respect
    to query and key cover those of the inputs. Where tokens have an order every call is causal.
    """

    attend = _fed(PrimalProblem.attend)
    dense = _fed(PrimalProblem.dense)
    weights = _fed(PrimalProblem.weights)
    attention_map = _fed(PrimalProblem.attention_map)
    step = _fed(PrimalProblem.step)

    def made(self, query: Tensor, key: Tensor, value: Tensor) -> dict[str, Tensor]:
        """The inputs of these tokens, by name."""
        tokens = {KEYS: for_query_heads(key, query.shape[1])}
        return {
            need.name: _made(need, tokens.get(need.tokens, query), value.shape[-1])
            for need in self.token_inputs
        }


def fed(problem: PrimalProblem) -> PrimalProblem:
    """The problem, or one that feeds itself where it needs more of every token than query, key and value."""
    return FedProblem(*problem.parts()).train(problem.training) if problem.token_inputs else problem


def _made(need: TokenInput, tokens: Tensor, value_dim: int) -> Tensor:
    """One input of tokens (batch, heads, N, D); NaN, as a constant, where a token is not finite.

    What has no gradient is a step function of the token, so that finite differences find none either.
    """
    tokens = tokens.double() if need.learned else tokens.detach().double().round(decimals=1)
    head_dim = tokens.shape[-1]
    width = 1 if need.width is None else head_dim if need.width == HEAD_DIM else value_dim
    weight = torch.linspace(0.3, 1.7, head_dim * width, dtype=torch.float64, device=tokens.device)
    finite = tokens.isfinite().all(-1, keepdim=True)
    numbers = 2 * (torch.where(finite, tokens, 0.0) @ weight.cos().view(head_dim, width)).sin() + need.first
    found = torch.where(finite, need.of_projection(numbers), torch.nan)
    return found.squeeze(-1) if need.width is None else found
