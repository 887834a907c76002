"""Problems, tensors and states that the tests of decoding share."""

import re

import torch
from tests.contract_specs import RUNNING

from primaldual import preset
from primaldual.testing.inputs import prepared

HEADS, HEAD_DIM, VALUE_DIM = 4, 6, 5

KINDS = ["softmax", "bn", "bn+sh(1,2,3,4)", "linear+sh(1,1,2,2)", "bn+window(3)", "conv(3,queries=true)", "linear+bn",
         "conv(3,causal=true)+bn"]  # fmt: skip
"""A spec for every way of decoding."""


def problem_of(spec):
    problem = prepared(preset(spec), HEADS, HEAD_DIM)
    if spec in RUNNING:
        problem.attend(*tensors(9, HEADS, 0, torch.float32))
    return problem.double().eval()


def width_of(spec):
    """Dv, other than D where the attention allows that."""
    return HEAD_DIM if re.search("elliptical|rpc", spec) else VALUE_DIM


def tensors(length, kv_heads, seed, dtype=torch.float64, batch=2, value_dim=VALUE_DIM):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(HEADS, HEAD_DIM), (kv_heads, HEAD_DIM), (kv_heads, value_dim)]
    drawn = [
        torch.randn(batch, heads, length, width, generator=generator, dtype=torch.float64)
        for heads, width in shapes
    ]
    drawn[1] = drawn[1] + 0.7
    return [tensor.to(dtype) for tensor in drawn]


def state_of(problem, batch=2, kv_heads=HEADS, dtype=torch.float64, value_dim=VALUE_DIM, **options):
    return problem.init_state(
        batch, HEADS, HEAD_DIM, kv_heads=kv_heads, value_dim=value_dim, dtype=dtype, **options
    )


def decode(problem, state, inputs, chunks):
    pieces = zip(*(tensor.split(chunks, 2) for tensor in inputs), strict=True)
    return torch.cat([problem.step(state, *piece) for piece in pieces], 2)


def started(spec, tokens=7, **options):
    problem, inputs = problem_of(spec), tensors(tokens + 6, 2, 0)
    state = state_of(problem, kv_heads=2, **options)
    decode(problem, state, [tensor[:, :, :tokens] for tensor in inputs], [tokens - 2, 1, 1])
    return problem, state, [tensor[:, :, tokens:] for tensor in inputs]
