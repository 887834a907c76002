"""Check of decoding: init_state and step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from primaldual.primal.problem import PrimalProblem
from primaldual.testing.comparing import close
from primaldual.testing.families import draw
from primaldual.testing.inputs import tensors
from primaldual.testing.rounding import BARS, FLOORS, relative_error

STEPS = 3
"""How many times the bar of ``attend`` steps may reach: a state sums features token by token."""


def check_decoding(
    problem: PrimalProblem, heads: int, head_dim: int, length: int, fixed_length: bool, device: str = "cpu"
) -> None:
    """Steps, token by token or in pieces, padded or not, give the rows of the causal form, or init_state refuses."""
    for kv_heads in [heads] + ([heads // 2] if heads % 2 == 0 else []):
        inputs = [
            tensor.detach() for tensor in tensors(heads, head_dim, length, kv_heads=kv_heads, device=device)
        ]
        query, key, value = inputs
        wanted = problem.attend(query, key, value, is_causal=True).detach()
        for pieces in ([1] * length, [length], [3, 1, length - 4], [1, length - 1]):
            try:
                found = _steps(problem, inputs, [piece for piece in pieces if piece > 0])
            except NotImplementedError:
                return
            scene = f"{problem.spec()}, {kv_heads} key heads, decoded in pieces of {pieces}"
            close(found, wanted, scene)
    _check_padding(problem, inputs, length)
    if not fixed_length:
        _check_rounding(problem, heads, head_dim, length, device)


def _steps(problem: PrimalProblem, inputs: list[Tensor], pieces: list[int]) -> Tensor:
    query, key, value = inputs
    state = problem.init_state(
        query.shape[0],
        query.shape[1],
        query.shape[3],
        kv_heads=key.shape[1],
        dtype=query.dtype,
        device=query.device,
        capacity=4,
    )
    tokens = zip(query.split(pieces, 2), key.split(pieces, 2), value.split(pieces, 2), strict=True)
    return torch.cat([problem.step(state, *token) for token in tokens], 2)


def _check_padding(problem: PrimalProblem, inputs: list[Tensor], length: int) -> None:
    """Padding within pieces, with NaN in it, is skipped: each sequence gives what it gives alone."""
    batch, heads, _, head_dim = inputs[0].shape
    valid = torch.rand(batch, length, generator=torch.Generator().manual_seed(4)) > 0.3
    valid[0], valid[:, 0] = True, True
    valid[-1, :2] = False
    valid[-1, -1] = True
    valid = valid.to(inputs[0].device)
    spoiled = [torch.where(valid[:, None, :, None], tensor, math.nan) for tensor in inputs]
    kv_heads, dtype, device = inputs[1].shape[1], inputs[0].dtype, inputs[0].device
    state = problem.init_state(batch, heads, head_dim, kv_heads=kv_heads, dtype=dtype, device=device)
    pieces = [2, length // 2, length - length // 2 - 2]
    tokens = zip(*(tensor.split(pieces, 2) for tensor in spoiled), valid.split(pieces, 1), strict=True)
    found = torch.cat([problem.step(state, *token) for token in tokens], 2)
    scene = f"{problem.spec()}, decoded in pieces of {pieces} with padding"
    assert (found.transpose(1, 2)[~valid] == 0).all(), f"{scene}: outputs of padding must be exactly 0"
    for row in range(batch):
        query, key, value = (tensor[row : row + 1, :, valid[row]] for tensor in inputs)
        wanted = problem.attend(query, key, value, is_causal=True).detach()
        close(found[row : row + 1, :, valid[row]], wanted, f"{scene}, sequence {row}")


def _check_rounding(problem: PrimalProblem, heads: int, head_dim: int, length: int, device: str) -> None:
    """Steps lose few times the digits that the definition loses, in every dtype."""
    for dtype, bar in BARS.items():
        for family in ("random", "constant, then N(5, 1)"):
            inputs = draw(family, (2, heads, length, head_dim), device=device).rounded(dtype)
            query, key, value = low = [tensor.detach() for tensor in inputs[:3]]
            exact = problem.dense(query.double(), key.double(), value.double(), is_causal=True)
            defined = problem.dense(query, key, value, is_causal=True)
            if (
                not defined.isfinite().all()
            ):  # the exact outputs, or kernels without logarithms, are beyond the dtype
                continue
            stepped = _steps(problem, low, [1] * length)
            errors = [relative_error(out, exact, value) for out in (stepped, defined)]
            limit = STEPS * bar * max(FLOORS[dtype], errors[1])
            assert errors[0] <= limit, (
                f"{problem.spec()}, decoded in {dtype}, keys {family}: relative error {errors[0]:.2g}; accepted is "
                f"{limit:.2g}, {STEPS * bar:g} times that of the definition"
            )
