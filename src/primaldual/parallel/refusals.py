"""Which attentions a process cannot compute from its own queries and the keys of all: decided without communication."""

import torch
from torch import Tensor

from primaldual.errors import ShapeError, UnsupportedError
from primaldual.kernels.masks import Attendable
from primaldual.parallel.shards import DTYPES
from primaldual.primal.attention import Attention
from primaldual.primal.choices import Choices
from primaldual.primal.solvers import QUERIES
from primaldual.primal.subsets import Subset


def check_shardable(attention: Attention, query: Tensor, attendable: Attendable) -> None:
    """Raise UnsupportedError for an attention, or a mask, that needs more than the queries of one process.

    Every process that calls with the same attention and kind of mask gets the same answer.
    """
    if attendable.pairs is not None:
        raise UnsupportedError(
            "a mask that differs from query to query has no place in a sharded attention; accepted are is_causal and masks "
            "of the keys, (batch or 1, heads or 1, 1, keys of this process)"
        )
    if query.dtype not in DTYPES:
        raise UnsupportedError(f"sharded attention takes {DTYPES}; got {query.dtype}")
    for problem, _ in attention.problems(query.shape[1]):
        if reason := refusal(problem.parts(), attendable.is_causal):
            raise UnsupportedError(f"{problem.spec()} cannot be sharded: {reason}")


def refusal(choices: Choices, is_causal: bool) -> str | None:
    """Why an attention cannot be sharded, None if it can.

    Example:
        >>> from primaldual import preset
        >>> refusal(preset("bn+sh(1,2)").parts(), is_causal=True)
        >>> refusal(preset("window(3)").parts(), is_causal=False)
        'window(3) counts positions from the query, and the queries of a process are not the last ones; it can be causal'
    """
    solver, subset, transform = choices.solver, choices.subset, choices.transform
    if transform.mixes_queries:
        return f"{transform.spec()} mixes each query with its neighbours, which other processes hold"
    if solver.at_keys and solver.residual == QUERIES:
        return f"{solver.spec()} takes residuals at all queries, which other processes hold"
    if subset.patterned and _of_one_length(subset):
        return f"{subset.spec()} is a pattern of one length, and a process has queries of its own"
    return _prefix_refusal(choices) if is_causal else _place_refusal(choices)


def _prefix_refusal(choices: Choices) -> str | None:
    """Why the keys up to the last query of a process do not serve its queries."""
    if choices.layout.grid is not None:
        return "the prefixes of a grid are not grids, and a process forms those of its queries"
    if choices.transform.observes:
        return f"{choices.transform.spec()} keeps running statistics of whole sequences, and processes see prefixes"
    return None


def _place_refusal(choices: Choices) -> str | None:
    """Why it matters where among the keys a query stands."""
    counting = (
        (choices.subset, choices.subset.placed),
        (choices.pair_weights, choices.pair_weights.uneven),
        (choices.solver, choices.solver.ordered),
    )
    for part, counts in counting:
        if counts:
            return (
                f"{part.spec()} counts positions from the query, and the queries of a process are not the last ones; "
                "it can be causal"
            )
    return None


def _of_one_length(subset: Subset) -> bool:
    try:
        for length in (1, 2):
            subset.allowed(length, length, torch.device("cpu"))
    except ShapeError:
        return True
    return False
