"""The contract of every attention, as checks that you can run on your own parts."""

from typing import Literal, Protocol

from primaldual.errors import ArgumentError
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem
from primaldual.testing.decoding import check_decoding
from primaldual.testing.functional import check_second_derivatives, check_torch_func, check_tracing
from primaldual.testing.heads import check_keep_heads
from primaldual.testing.identity import check_identity
from primaldual.testing.inputs import prepared
from primaldual.testing.modules import check_compile, check_export, check_module
from primaldual.testing.outputs import (
    check_dense,
    check_empty_rows,
    check_gradients,
    check_map,
    check_padding,
    check_prefix_rule,
    check_samples,
)
from primaldual.testing.parameters import check_parameters
from primaldual.testing.precision import check_future, check_low_precision, check_rounding
from primaldual.testing.sizes import check_empty_inputs, check_memory_layout

__all__ = ["CHECKS", "check_attention"]


class Check(Protocol):
    """One statement of the contract, of a problem that :func:`prepared` made, on a device."""

    __name__: str

    def __call__(
        self,
        problem: PrimalProblem,
        heads: int,
        head_dim: int,
        length: int,
        fixed_length: bool,
        device: str = "cpu",
    ) -> None:
        """Raise an AssertionError unless it holds."""


_QUICK: tuple[Check, ...] = (
    check_identity,
    check_dense,
    check_map,
    check_gradients,
    check_parameters,
    check_padding,
    check_empty_rows,
    check_empty_inputs,
    check_prefix_rule,
    check_samples,
    check_low_precision,
    check_module,
    check_keep_heads,
)

CHECKS: tuple[Check, ...] = (
    *_QUICK,
    check_memory_layout,
    check_decoding,
    check_rounding,
    check_future,
    check_second_derivatives,
    check_torch_func,
    check_tracing,
    check_compile,
    check_export,
)
"""Every check of the contract; each takes (problem, heads, head_dim, length, fixed_length, device="cpu")."""


def check_attention(
    problem: PrimalProblem | str,
    *,
    heads: int = 4,
    head_dim: int = 6,
    length: int = 13,
    fixed_length: bool = False,
    level: Literal["full", "quick"] = "full",
    device: str = "cpu",
) -> None:
    """Run the whole contract on a problem; an AssertionError tells what does not hold.

    What it states, one line for each of :data:`CHECKS`:

    - a spec belongs to one problem, and rebuilds it where it can be read;
    - ``attend`` = ``dense`` in outputs and gradients, under every mask; ``attention_map @ value`` = ``attend``;
    - gradients equal finite differences; so do those of parameters and buffers, which ``dense`` shares;
    - padding changes nothing, even with NaN in it; a query without keys gives 0; sizes of 0 work, backward too;
    - the prefix rule; a sample alone equals the sample in its batch; bfloat16;
    - train = eval, unless T keeps running statistics; copies; ``keep_heads``;

    and at the level "full" also: memory layouts; decoding; float32, bfloat16 and float16 lose few times the digits
    that ``dense`` loses; a huge key in the future moves nothing in the past; second derivatives, ``torch.func`` and
    tracing are right or refused; ``torch.compile`` and ``torch.export``.

    All of it on a copy whose parameters have been moved at random. Transforms that mix queries are tried on as
    many queries as keys.

    On a GPU, what two runs of one computation give may differ by 1e-12, since kernels may add in any order. Everything else
    is as on the CPU, float32 without TensorFloat-32, which torch leaves off by default.

    Args:
        problem: a PrimalProblem or a spec.
        heads: query heads to try it with.
        head_dim: their dimension.
        length: positions; a pattern of fixed size needs its own.
        fixed_length: the problem accepts no other length (a fixed mask or grid).
        level: "full", some seconds, or "quick", about one second.
        device: where all of it runs, such as "cuda"; the numbers are drawn alike on every device.

    Raises:
        AssertionError: names the attention, the scene and what differs.
        ArgumentError: another level.

    Example:
        >>> check_attention("bn+window(3)", level="quick")
    """
    if level not in ("full", "quick"):
        raise ArgumentError(f"level must be 'full' or 'quick'; got {level!r}")
    moved = prepared(preset(problem), heads, head_dim, device=device)
    for check in CHECKS if level == "full" else _QUICK:
        try:
            check(moved, heads, head_dim, length, fixed_length, device)
        except AssertionError:
            raise
        except Exception as error:
            promise = (check.__doc__ or check.__name__).splitlines()[0]
            raise AssertionError(
                f"{moved.spec()}: {type(error).__name__}: {error}. Promised: {promise}"
            ) from error
