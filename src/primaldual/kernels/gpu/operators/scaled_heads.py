"""Softmax attention of heads to keys or their pools, batch-normalised or not, as an operator."""

from typing import Any

import torch
from torch import Tensor

from primaldual.kernels.gpu import scaled_heads as kernels
from primaldual.kernels.gpu.entering import Setting
from primaldual.kernels.gpu.launch import blocks
from primaldual.kernels.gpu.normalization import Normalization
from primaldual.kernels.gpu.operators.schemas import divided, joined, like_heads_last, present
from primaldual.kernels.gpu.prefix_states import BLOCK
from primaldual.kernels.gpu.strides import heads_last
from primaldual.kernels.layout import Layout
from primaldual.kernels.precision import own_precision

NUMBERS = (
    "float scale, int[]? scales, int[]? grid, int prefix, bool is_causal, bool normalizes, float number, float? eps, "
    "Tensor? beta, Tensor? gain"
)
"""A :class:`primaldual.kernels.gpu.entering.Setting` in the parts that a schema has types for."""


def scaled_heads(
    query: Tensor, key: Tensor, value: Tensor, setting: Setting, valid: Tensor | None = None
) -> Tensor:
    """:func:`primaldual.kernels.gpu.scaled_heads.scaled_heads` for graphs."""
    beta, eps, gain = setting.normalization or (0.0, None, None)
    learned, number = divided(beta)
    scales = None if setting.scales is None else list(setting.scales)
    grid, prefix = setting.layout.grid, setting.layout.prefix
    out: Tensor = forward(
        query, key, value, valid, setting.scale, scales, None if grid is None else list(grid), prefix, setting.is_causal,
        setting.normalization is not None, number, eps, learned, gain,
    )[0]  # fmt: skip
    return out


def _setting(
    scale: float,
    scales: list[int] | None,
    grid: list[int] | None,
    prefix: int,
    is_causal: bool,
    normalizes: bool,
    number: float,
    eps: float | None,
    beta: Tensor | None,
    gain: Tensor | None,
) -> Setting:
    normalization = Normalization(joined(beta, number), eps, gain) if normalizes else None
    layout = Layout(None if grid is None else (grid[0], grid[1]), prefix)
    return Setting(scale, None if scales is None else tuple(scales), normalization, is_causal, layout)


@torch.library.custom_op(
    "primaldual::scaled_heads",
    mutates_args=(),
    schema=f"(Tensor query, Tensor key, Tensor value, Tensor? valid, {NUMBERS}) -> (Tensor, Tensor, Tensor)",
)
def forward(
    query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None, *numbers: Any
) -> tuple[Tensor, ...]:
    """The parts of :class:`primaldual.kernels.gpu.scaled_heads.Outcome`; statistics are empty without normalisation."""
    out, logsumexp, statistics = kernels.forward(query, key, value, _setting(*numbers), valid)
    return out, logsumexp, present(statistics, logsumexp)


@forward.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, valid: Tensor | None, *numbers: Any) -> tuple[Tensor, ...]:
    del valid
    _, _, _, _, is_causal, normalizes, *_ = numbers
    batch, kv_heads, length, width = key.shape
    logsumexp = query.new_empty(query.shape[:3], dtype=torch.float32)
    prefixes = (blocks(length, BLOCK),) if is_causal else ()
    sizes = (batch, kv_heads, *prefixes, 2, width) if normalizes else (0,)
    return heads_last(query, value.shape[3]), logsumexp, logsumexp.new_empty(sizes)


@torch.library.custom_op(
    "primaldual::scaled_heads_backward",
    mutates_args=(),
    schema=f"(Tensor gradient, Tensor query, Tensor key, Tensor value, Tensor? valid, Tensor[] outcome, {NUMBERS}) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    valid: Tensor | None,
    outcome: list[Tensor],
    *numbers: Any,
) -> tuple[Tensor, ...]:
    """Gradients of query, key, value, beta and gain; those of the last two empty without them."""
    *_, beta, gain = numbers
    with own_precision(key.device):
        found = kernels.backward(
            gradient, (query, key, value), kernels.Outcome(*outcome), _setting(*numbers), valid
        )
    return (
        *found[:3],
        present(kernels.like(found.beta, beta), query),
        present(kernels.like(found.gain, gain), query),
    )


@backward.register_fake
def _(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    valid: Tensor | None,
    outcome: list[Tensor],
    *numbers: Any,
) -> tuple[Tensor, ...]:
    del gradient, valid, outcome
    learned = (query.new_empty(0) if each is None else torch.empty_like(each) for each in numbers[-2:])
    return *like_heads_last(query, key, value), *learned


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    tensors, (*numbers, beta, gain) = inputs[:4], inputs[4:]
    ctx.numbers = tuple(numbers)
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(*tensors, beta, gain, *output)


def _gradients(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, valid, beta, gain, *outcome = ctx.saved_tensors
    *found, of_beta, of_gain = backward(gradient, query, key, value, valid, outcome, *ctx.numbers, beta, gain)
    return (
        *found,
        None,
        *[None] * len(ctx.numbers),
        None if beta is None else of_beta,
        None if gain is None else of_gain,
    )


forward.register_autograd(_gradients, setup_context=_remember)
