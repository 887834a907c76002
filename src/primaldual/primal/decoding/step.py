"""One step of decoding: new tokens of every sequence, and their outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from primaldual.errors import UnsupportedError
from primaldual.kernels.precision import autocasts, own_precision
from primaldual.kernels.sdpa_backends import plans_each_length, without_cudnn
from primaldual.primal.decoding.decodable import DecodableProblem
from primaldual.primal.decoding.head_decoders import HeadDecoder
from primaldual.primal.decoding.new_tokens import NewTokens
from primaldual.primal.decoding.sizes import check_step, check_valid
from primaldual.primal.decoding.state import DecodingState
from primaldual.primal.token_inputs import Inputs, check_inputs, with_values, with_width


def step(
    problem: DecodableProblem,
    state: DecodingState,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    valid: Tensor | None,
    inputs: Inputs | None = None,
) -> Tensor:
    """See :meth:`PrimalProblem.step`."""
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call] # public, not declared
        raise UnsupportedError(
            f"{problem.spec()}: torch.jit.trace would keep the lengths of this step for ever; accepted is step outside of "
            "traced functions, or attend inside"
        )
    decoders, device = state.decoders_for(problem), state.sizes.device
    check_step(state.sizes, query, key, value)
    if valid is None and inputs is None and query.shape[2] == 1:
        fixed = state.fixed_step()
        if fixed is not None:
            out = fixed(query, key, value)
            state.took()
            return out
    if torch.is_grad_enabled() or autocasts(device) or plans_each_length(device):
        with torch.no_grad(), own_precision(device), without_cudnn(device):
            return _step(problem, state, decoders, query, key, value, valid, inputs)
    return _step(problem, state, decoders, query, key, value, valid, inputs)


def _step(
    problem: DecodableProblem,
    state: DecodingState,
    decoders: list[HeadDecoder],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    valid: Tensor | None,
    inputs: Inputs | None,
) -> Tensor:
    """The same without gradients."""
    inputs = with_values(problem.token_inputs, inputs, query.shape[1], value)
    given = check_inputs(problem, problem.token_inputs, inputs, query, query.shape[2], value.shape[3])
    length = state.common
    if valid is None and length and query.shape[2] == 1 and not given:
        outputs = [
            heads.decoder.one(*heads.of(query, key, value), memory, length)
            for heads, memory in zip(decoders, state.memories, strict=True)
        ]
        state.common = length + 1
        return outputs[0] if len(outputs) == 1 else _joined(decoders, outputs)
    if valid is None:
        return _many(problem, state, query, key, value, [query.shape[2]] * state.sizes.batch, given)
    check_valid(valid, query)
    order = (~valid).to(torch.uint8).argsort(dim=-1, stable=True)
    ordered = valid.gather(1, order)
    query, key, value = (_reordered(tensor, order, ordered) for tensor in (query, key, value))
    given = {name: _reordered(tensor, order, ordered) for name, tensor in given.items()}
    out = _many(problem, state, query, key, value, valid.sum(1).tolist(), given)
    return _reordered(out, order.argsort(dim=-1), valid)


def _many(
    problem: DecodableProblem,
    state: DecodingState,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    counts: list[int],
    inputs: Inputs,
) -> Tensor:
    """The outputs of the first ``counts[b]`` of n tokens in every row; those of padding are arbitrary."""
    batch, heads, length, _ = query.shape
    if length == 0:
        return query.new_zeros(batch, heads, 0, value.shape[3])
    decoders = state.decoders_for(problem)
    tokens = NewTokens(
        state.lengths, counts, length, query.device, {name: with_width(inputs[name]) for name in inputs}
    )
    if length > 1 and not any(tokens.starts):
        out = problem.compute(query, key, value, is_causal=True, inputs=inputs)
        for part, memory in zip(decoders, state.memories, strict=True):
            part.decoder.absorb(*part.of(query, key, value), memory, tokens)
    else:
        size = min(part.decoder.most for part in decoders)
        pieces = []
        for first in range(0, length, size):
            new = tokens.piece(first, min(size, length - first))
            cut = slice(first, first + new.length)
            outputs = [
                part.decoder.many(*part.of(query[:, :, cut], key[:, :, cut], value[:, :, cut]), memory, new)
                for part, memory in zip(decoders, state.memories, strict=True)
            ]
            pieces.append(_joined(decoders, outputs))
        out = pieces[0] if len(pieces) == 1 else torch.cat(pieces, 2)
    state.lengths = tokens.ends
    return out


def _joined(decoders: list[HeadDecoder], outputs: list[Tensor]) -> Tensor:
    """The outputs of all heads, in order."""
    if len(outputs) == 1:
        return outputs[0]
    first = outputs[0]
    out = first.new_empty(first.shape[0], sum(part.shape[1] for part in outputs), *first.shape[2:])
    for heads, part in zip(decoders, outputs, strict=True):
        out[:, heads.members] = part
    return out


def _reordered(tensor: Tensor, order: Tensor, present: Tensor) -> Tensor:
    """Tokens (batch, heads, n, [D]) in another order within their rows, exactly 0 at padding."""
    if tensor.dim() == 3:
        return _reordered(tensor.unsqueeze(-1), order, present).squeeze(-1)
    moved = tensor.gather(2, order[:, None, :, None].expand(-1, tensor.shape[1], -1, tensor.shape[3]))
    return torch.where(present[:, None, :, None], moved, 0.0)
