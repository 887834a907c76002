"""The contract of every attention, as checks that you can run on your own parts."""

from collections.abc import Callable

from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem
from primaldual.testing.inputs import prepared
from primaldual.testing.modules import check_compile, check_export, check_module
from primaldual.testing.outputs import (
    check_dense,
    check_empty_rows,
    check_gradients,
    check_low_precision,
    check_map,
    check_padding,
    check_prefix_rule,
    check_samples,
)

__all__ = ["CHECKS", "check_attention"]

CHECKS: tuple[Callable[[PrimalProblem, int, int, int, bool], None], ...] = (
    check_dense,
    check_map,
    check_gradients,
    check_padding,
    check_empty_rows,
    check_prefix_rule,
    check_samples,
    check_low_precision,
    check_module,
    check_compile,
    check_export,
)
"""Every check of the contract; each takes (problem, heads, head_dim, length, fixed_length)."""


def check_attention(
    problem: PrimalProblem | str,
    *,
    heads: int = 4,
    head_dim: int = 6,
    length: int = 13,
    fixed_length: bool = False,
) -> None:
    """Run the whole contract on a problem; an AssertionError tells what does not hold.

    fast = dense in outputs and gradients, under every mask; gradients equal finite differences; padding
    changes nothing; a query without keys gives 0; the prefix rule; a sample alone equals the sample in its
    batch; bfloat16; train = eval, unless T keeps running statistics; copies; torch.compile and
    torch.export. All of it on a copy whose parameters have been moved at random. Transforms that mix
    queries are tried on as many queries as keys.

    Args:
        problem: a PrimalProblem or a spec.
        heads: query heads to try it with.
        head_dim: their dimension.
        length: positions; a pattern of fixed size needs its own.
        fixed_length: the problem accepts no other length (a fixed mask or grid).

    Example:
        >>> check_attention("bn+window(3)")
    """
    problem = prepared(preset(problem), heads, head_dim)
    for check in CHECKS:
        check(problem, heads, head_dim, length, fixed_length)
