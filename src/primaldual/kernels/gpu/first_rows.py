"""Causal batch-normalised attention of the first queries, whose few keys leave small variances, in float32 throughout."""

import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.block_sums import columns, pools_before, pools_up_to, summed_up_to
from primaldual.kernels.gpu.keys import Pools
from primaldual.kernels.gpu.launch import launch
from primaldual.kernels.gpu.normalization import HeadNumbers, Normalization

ROWS = 64
"""So many queries; the gradients of those behind lose nothing to cancellation."""


@triton.jit
def rows_of(x, x_n, row, d, inside, D: tl.constexpr):
    """The first rows of a head, float32."""
    return tl.load(
        x + row[:, None] * x_n + d[None, :], mask=inside[:, None] & (d < D)[None, :], other=0.0
    ).to(tl.float32)


@triton.jit
def weights_of(
    key, query, first_key, factor, gain, eps, scale, row, window,
    DIVIDE: tl.constexpr, POOLED: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Weights of all pairs, of a query's own window, changed queries without gain, and what changed them.

    Keys count from the first one. With pools every member of a complete window has its share of the window's weight.
    """
    pools, own = key, key
    other = row[None, :]
    if POOLED:
        number = (row // window + 1).to(tl.float32)[:, None]
        pools, own = pools_up_to(row, key, window, ROWS)
        mean = (pools_before(row, pools, window, ROWS) + own) / number
        allowed = other // window < row[:, None] // window
    else:
        number = (row + 1).to(tl.float32)[:, None]
        mean = summed_up_to(row, key, ROWS) / number
        allowed = other <= row[:, None]
    inverse = tl.full(key.shape, 1.0, tl.float32)
    if DIVIDE:
        if POOLED:
            squares = pools_before(row, pools * pools, window, ROWS) + own * own
        else:
            squares = summed_up_to(row, key * key, ROWS)
        inverse = 1 / (tl.maximum(squares / number - mean * mean, 0.0) + eps)
    inverse = tl.where(number > 1, inverse, 0.0)  # one key has all the weight whatever the scores are
    changed = (query - factor * (first_key[None, :] + mean)) * inverse
    scores = tl.dot(changed * gain[None, :], tl.trans(pools), input_precision="tf32x3") * scale
    scores = tl.where(allowed, scores, float("-inf"))
    peak = tl.max(scores, 1)
    of_own = tl.zeros(peak.shape, tl.float32)
    if POOLED:
        alone = tl.sum(changed * gain[None, :] * own, 1) * scale
        peak = tl.maximum(peak, alone)
        of_own = tl.exp(alone - peak)
    weights = tl.exp(scores - peak[:, None])
    if POOLED:
        weights = weights / window.to(tl.float32)
    total = tl.sum(weights, 1) + of_own
    return weights / total[:, None], of_own / total, changed, inverse, pools, own, mean, number


@triton.jit(do_not_specialize=["beta", "eps", "scale", "batches", "length"])
def _first_rows(
    q, k, v, out, logsumexp, table, betas, gains, beta, eps, scale, batches, groups, length,
    q_b, q_h, q_n, k_b, k_h, k_n, v_b, v_h, v_n, o_b, o_h, o_n,
    D: tl.constexpr, DV: tl.constexpr, BD: tl.constexpr, BDV: tl.constexpr, ROWS: tl.constexpr,
    LEARNED: tl.constexpr, GAINED: tl.constexpr, DIVIDE: tl.constexpr, POOLED: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0) // batches
    batch = (tl.program_id(0) % batches).to(tl.int64)
    kv = head // groups
    d = tl.arange(0, BD)
    dv = tl.arange(0, BDV)
    row = tl.arange(0, ROWS)
    inside = row < length
    k += batch * k_b + kv * k_h
    first_key = tl.load(k + d, mask=d < D, other=0.0).to(tl.float32)
    key = rows_of(k, k_n, row, d, inside, D)
    key = tl.where(inside[:, None], key - first_key[None, :], 0.0)
    query = rows_of(q + batch * q_b + head * q_h, q_n, row, d, inside, D)
    value = rows_of(v + batch * v_b + kv * v_h, v_n, row, dv, inside, DV)
    factor = beta
    if LEARNED:
        factor = tl.load(betas + head).to(tl.float32)
    gain = tl.full([BD], 1.0, tl.float32)
    if GAINED:
        gain = tl.load(gains + head * D + d, mask=d < D, other=0.0)
    window = 1
    if POOLED:
        window = tl.load(table + kv * 3 + 2)
    weights, of_own, _, _, _, _, _, _ = weights_of(
        key, query, first_key, factor, gain, eps, scale, row, window, DIVIDE, POOLED, ROWS
    )
    if POOLED:
        value, own_value = pools_up_to(row, value, window, ROWS)
    result = tl.dot(weights, value, input_precision="tf32x3")
    if POOLED:
        result += of_own[:, None] * own_value
    tl.store(
        out + batch * o_b + head * o_h + row[:, None] * o_n + dv[None, :],
        result.to(out.dtype.element_ty),
        mask=inside[:, None] & (dv < DV)[None, :],
    )
    heads = tl.num_programs(0) // batches
    tl.store(
        logsumexp + (batch * heads + head) * length + row,
        tl.full([ROWS], float("inf"), tl.float32),
        mask=inside,
    )


def first_rows(
    tensors: tuple[Tensor, Tensor, Tensor],
    windows: Pools | None,
    normalization: Normalization,
    scale: float,
    outcome: tuple[Tensor, Tensor],
) -> None:
    """Write the outputs of the first ROWS queries, and plus infinity for their log-sum-exps.

    A backward that takes these log-sum-exps gives the queries no weight.

    Args:
        tensors: queries, keys and values.
        windows: the pools that queries attend, of lengths that divide ROWS; None = the keys themselves.
        normalization: beta, eps and g.
        scale: factor on the scores.
        outcome: outputs (batch, heads, N, Dv) and contiguous log-sum-exps (batch, heads, N).
    """
    query, key, value = tensors
    (batch, heads, length, width), wide = query.shape, value.shape[-1]
    out, logsumexp = outcome
    numbers, eps = HeadNumbers.of(normalization, query), normalization.eps
    launch(
        _first_rows, (batch * heads, 1),
        (query, key, value, out, logsumexp, query if windows is None else windows.table, *numbers.tensors),
        (numbers.number, eps or 0.0, scale, batch, heads // key.shape[1], length,
         *query.stride()[:3], *key.stride()[:3], *value.stride()[:3], *out.stride()[:3]),
        (width, wide, columns(width), columns(wide), ROWS, numbers.learned, numbers.gained, eps is not None,
         windows is not None), 8, 1,
    )  # fmt: skip
