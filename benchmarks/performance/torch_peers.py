"""Peers that come with PyTorch, and the formulas typed out."""

from __future__ import annotations

import re
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.performance.families import Family, matrices, rows, states
from benchmarks.performance.literal import cumulative_sums, formula
from benchmarks.performance.ours import (
    attention_flops,
    features,
    features_flops,
    rounded_parameters,
    sequence,
    whole_layer_flops,
)
from benchmarks.performance.programs import Program
from benchmarks.performance.settings import DTYPES, Setting, key_mask, leaves, strided
from primaldual.errors import UnsupportedError


def literal(spec: str, setting: Setting) -> Program:
    """The formula typed out, softmax matrices materialised."""
    if setting.is_causal and spec != "softmax":
        raise UnsupportedError(f"the formula of {spec} is not typed out for a causal mask")
    function = partial(formula, spec, valid=key_mask(setting), is_causal=setting.is_causal)
    return Program(function, leaves(setting), strided(setting, 3))


def compiled(spec: str, setting: Setting) -> Program:
    """The same under `torch.compile`."""
    plain = literal(spec, setting)
    return Program(torch.compile(plain.function), plain.leaves, plain.seed)


def band(length: int, radius: int) -> Tensor:
    """Which keys are at most ``radius`` positions away, bool (N, N).

    Example:
        >>> band(3, 1).int().tolist()
        [[1, 1, 0], [1, 1, 1], [0, 1, 1]]
    """
    places = torch.arange(length)
    return (places - places.unsqueeze(-1)).abs() <= radius


def sdpa(spec: str, setting: Setting) -> Program:
    """`scaled_dot_product_attention`; a window is a mask."""
    mask, is_causal = key_mask(setting), setting.is_causal
    if match := re.fullmatch(r"window\((\d+)\)", spec):
        near = band(setting.length, int(match[1]))
        mask = near if mask is None else near & mask
    elif spec != "softmax":
        raise UnsupportedError(f"scaled_dot_product_attention does not compute {spec}")
    if mask is not None and is_causal:
        mask, is_causal = mask & torch.ones(setting.length, setting.length, dtype=torch.bool).tril(), False
    function = partial(scaled_dot_product_attention, attn_mask=mask, is_causal=is_causal)
    return Program(function, leaves(setting), strided(setting, 3))


def sdpa_needs(setting: Setting, backward: bool) -> int:
    """Beside the rows, masks: up to three (N, N), or one for every sequence when padded."""
    masks = 3 * (setting.batch if setting.padding else 1) * setting.length**2 * setting.itemsize
    return rows(4)(setting, backward) + masks * (setting.padding or setting.length <= 8192)


def flex(spec: str, setting: Setting) -> Program:
    """FlexAttention, compiled; on a CPU without gradients."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    if spec != "softmax":
        raise UnsupportedError(f"FlexAttention is compared on softmax only; got {spec}")
    if setting.padding:
        raise UnsupportedError("FlexAttention is compared without padding")
    mask = None
    if setting.is_causal:
        length = setting.length
        mask = create_block_mask(lambda b, h, row, column: row >= column, None, None, length, length, "cpu")
    run = torch.compile(flex_attention)

    def function(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = run(query, key, value, block_mask=mask)
        assert isinstance(out, Tensor)
        return out

    inputs = tuple(tensor.detach() for tensor in leaves(setting))
    return Program(function, inputs, strided(setting, 3))


def torch_layer(spec: str, setting: Setting) -> Program:
    """`nn.MultiheadAttention` in training mode, without weights returned."""
    if spec != "softmax":
        raise UnsupportedError(f"nn.MultiheadAttention does not compute {spec}")
    if setting.is_causal or setting.padding:
        raise UnsupportedError("whole layers are compared without masks")
    layer = nn.MultiheadAttention(setting.heads * setting.head_dim, setting.heads, batch_first=True)
    rounded_parameters(layer)
    layer.to(DTYPES[setting.dtype])

    def function(inputs: Tensor) -> Tensor:
        return layer(inputs, inputs, inputs, need_weights=False)[0]

    inputs = sequence(setting).requires_grad_()
    return Program(function, (inputs,), sequence(setting, 3), tuple(layer.parameters()))


def sums(spec: str, setting: Setting) -> Program:
    """Causal linear attention by cumulative sums."""
    if not setting.is_causal or spec != "elu":
        raise UnsupportedError("cumulative sums are a causal form on elu features")
    return Program(cumulative_sums, features(setting), strided(setting, 3))


FAMILIES = (
    Family("SDPA", sdpa, sdpa_needs, "primaldual", flops=attention_flops),
    Family("literal", literal, matrices(3, 6), "primaldual", flops=attention_flops),
    Family("compiled", compiled, matrices(3, 6), "primaldual", flops=attention_flops, compiled=True),
    Family(
        "FlexAttention",
        flex,
        rows(4),
        "primaldual",
        flops=attention_flops,
        backward=False,
        compiled=True,
    ),
    Family("nn.MultiheadAttention", torch_layer, rows(10), "layer", flops=whole_layer_flops),
    Family("cumulative-sums", sums, states(2, 6), "factored", spec="elu", flops=features_flops),
)
