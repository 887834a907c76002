"""Decoding token by token: ours, and SDPA over a preallocated cache."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.performance.families import Family, matrices, rows
from benchmarks.performance.programs import Program
from benchmarks.performance.settings import DTYPES, Setting, strided
from primaldual.errors import UnsupportedError
from primaldual.primal.presets import preset

STEPS = 8
"""Tokens of one run; they stay in the cache, so that it grows by so many from run to run, on both sides."""

ROOM = 2048
"""Tokens that caches have room for beyond the prompt."""


def tokens(setting: Setting) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of ``length`` tokens in the cache and of those that come."""
    if setting.padding:
        raise UnsupportedError("decoding is compared without padding")
    longer = replace(setting, length=setting.length + STEPS)
    query, key, value = (strided(longer, seed) for seed in range(3))
    return query, key, value


def coming(setting: Setting) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The tokens that come, each (batch, heads, 1, D)."""
    parts = (tensor[:, :, setting.length :].split(1, 2) for tensor in tokens(setting))
    return [(query, key, value) for query, key, value in zip(*parts, strict=True)]


def ours(spec: str, setting: Setting) -> Program:
    """`PrimalProblem.step`."""
    dtype, length = DTYPES[setting.dtype], setting.length
    problem = preset(spec).bind(setting.heads, setting.head_dim).to(dtype)
    state = problem.init_state(
        setting.batch, setting.heads, setting.head_dim, capacity=length + ROOM, dtype=dtype
    )
    query, key, value = tokens(setting)
    problem.step(state, query[:, :, :length], key[:, :, :length], value[:, :, :length])
    steps, held = coming(setting), state.nbytes

    def function() -> Tensor:
        return torch.cat([problem.step(state, *token) for token in steps], 2)

    return Program(function, (), steps[0][0], state_bytes=held)


def definition(spec: str, setting: Setting) -> Program:
    """The last rows of the causal definition on all tokens."""
    problem = preset(spec).bind(setting.heads, setting.head_dim).to(DTYPES[setting.dtype])
    query, key, value = tokens(setting)

    def function() -> Tensor:
        return problem.dense(query[:, :, setting.length :], key, value, is_causal=True)

    return Program(function, (), query)


def sdpa_cache(spec: str, setting: Setting) -> Program:
    """SDPA over keys and values that are written into tensors made beforehand."""
    if spec != "softmax":
        raise UnsupportedError(f"scaled_dot_product_attention does not compute {spec}")
    _, key, value = tokens(setting)
    length = setting.length
    room = setting.batch, setting.heads, length + ROOM, setting.head_dim
    keys, values = key.new_zeros(room), value.new_zeros(room)
    keys[:, :, :length], values[:, :, :length] = key[:, :, :length], value[:, :, :length]
    steps, place = coming(setting), [length]

    def one(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        now = place[0]
        keys[:, :, now : now + 1], values[:, :, now : now + 1] = key, value
        place[0] = now + 1
        return scaled_dot_product_attention(query, keys[:, :, : now + 1], values[:, :, : now + 1])

    def function() -> Tensor:
        return torch.cat([one(*token) for token in steps], 2)

    return Program(function, (), steps[0][0], state_bytes=2 * setting.numbers * setting.itemsize)


FAMILIES = (
    Family("decoding", ours, rows(8), "decoding-definition", ours=True, backward=False),
    Family("decoding-definition", definition, matrices(4, 4), "decoding", ours=True, backward=False),
    Family("SDPA-cache", sdpa_cache, rows(8), "decoding", backward=False),
)
