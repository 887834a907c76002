"""Queries normalised by the statistics of the keys up to each of them, or of pools of these, as many queries as keys."""

import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.block_sums import columns, parts_of, pools_before, pools_up_to, summed_up_to
from primaldual.kernels.gpu.keys import Pools
from primaldual.kernels.gpu.launch import launch
from primaldual.kernels.gpu.normalization import HeadNumbers, Normalization
from primaldual.kernels.gpu.prefix_states import BLOCK, prefix_states
from primaldual.kernels.gpu.strides import heads_last


@triton.jit
def up_to(
    key, states, block, eps, row, d, scale,
    D: tl.constexpr, DIVIDE: tl.constexpr, POOLED: tl.constexpr, BLOCK: tl.constexpr,
    PARTS: tl.constexpr,
):  # fmt: skip
    """Statistics of the keys up to every row of a block, or of their pools.

    Returns:
        Pools and the means of the own window so far, both the keys themselves without pools, less the mean before the
        block; that mean; the means up to every row less it; 1 / (variance + eps), 0 for a single key; and the numbers
        of keys.
    """
    mean = tl.load(states + block * 2 * D + d, mask=d < D, other=0.0)
    squares = tl.load(states + block * 2 * D + D + d, mask=d < D, other=0.0)
    shifted = key - mean[None, :]
    pools, own = shifted, shifted
    if POOLED:
        number = (block * (BLOCK // scale) + row // scale + 1).to(tl.float32)[:, None]
        pools, own = pools_up_to(row, shifted, scale, BLOCK, PARTS)
        moved = (pools_before(row, pools, scale, BLOCK, PARTS) + own) / number
    else:
        number = (block * BLOCK + row + 1).to(tl.float32)[:, None]
        moved = summed_up_to(row, shifted, BLOCK, PARTS) / number
    inverse = tl.full(key.shape, 1.0, tl.float32)
    if DIVIDE:
        if POOLED:
            squared = pools_before(row, pools * pools, scale, BLOCK, PARTS) + own * own
        else:
            squared = summed_up_to(row, shifted * shifted, BLOCK, PARTS)
        variance = (squares[None, :] + squared) / number - moved * moved
        inverse = 1 / (tl.maximum(variance, 0.0) + eps)
    return pools, own, mean, moved, tl.where(number > 1, inverse, 0.0), number


@triton.jit(do_not_specialize=["beta", "eps", "batches", "length", "chunks"])
def _normalize_rows(
    q, k, changed_q, changed_k, states, table, betas, gains, beta, eps, batches, groups, length, chunks,
    q_b, q_h, q_n, k_b, k_h, k_n, c_b, c_h, c_n, e_b, e_h, e_n,
    D: tl.constexpr, BD: tl.constexpr, BLOCK: tl.constexpr, LEARNED: tl.constexpr, GAINED: tl.constexpr,
    DIVIDE: tl.constexpr, POOLED: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1) // batches
    batch = (tl.program_id(1) % batches).to(tl.int64)
    kv = head // groups
    block = tl.program_id(0)
    d = tl.arange(0, BD)
    row = tl.arange(0, BLOCK)
    wide = (block * BLOCK + row)[:, None].to(tl.int64)
    mask = (wide < length) & (d < D)[None, :]
    k += batch * k_b + kv * k_h
    first = tl.load(k + d, mask=d < D, other=0.0).to(tl.float32)[None, :]
    raw = tl.load(k + wide * k_n + d[None, :], mask=mask, other=0.0).to(tl.float32)
    states += (batch * ((tl.num_programs(1) // batches) // groups) + kv) * chunks * 2 * D
    scale = 1
    if POOLED:
        scale = tl.load(table + kv * 3 + 2)
    _, _, mean, moved, inverse, _ = up_to(
        tl.where(mask, raw - first, 0.0), states, block, eps, row, d, scale, D, DIVIDE, POOLED, BLOCK, PARTS
    )
    factor = beta
    if LEARNED:
        factor = tl.load(betas + head).to(tl.float32)
    query = tl.load(q + batch * q_b + head * q_h + wide * q_n + d[None, :], mask=mask, other=0.0).to(
        tl.float32
    )
    query = (query - factor * (first + mean[None, :] + moved)) * inverse
    if GAINED:
        query *= tl.load(gains + head * D + d, mask=d < D, other=0.0)[None, :]
    if block == 0:
        query = tl.zeros(query.shape, tl.float32)
    place = changed_q + batch * c_b + head * c_h + wide * c_n + d[None, :]
    tl.store(place, query.to(changed_q.dtype.element_ty), mask=mask)
    if head % groups == 0:
        early = tl.minimum(1, chunks - 1) * 2 * D + d
        centre = first + tl.load(states + early, mask=d < D, other=0.0)[None, :]
        squares = tl.load(states + early + D, mask=d < D, other=0.0)[None, :]
        # nearer to 0 than they differ, keys lose less as they are than rounded again
        far = centre * centre * (BLOCK // scale) > squares
        place = changed_k + batch * e_b + kv * e_h + wide * e_n + d[None, :]
        tl.store(place, (raw - tl.where(far, centre, 0.0)).to(changed_k.dtype.element_ty), mask=mask)


def prefix_normalized(
    query: Tensor,
    key: Tensor,
    windows: Pools | None,
    normalization: Normalization,
    states: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """g (q_i - beta mu_i) / (sigma_i^2 + eps), keys less a constant: for scores of a causal softmax; and prefix states.

    mu_i and sigma_i^2 are those of the keys 0..i, or of the pools of these: the complete windows, and the mean of the
    last one so far. The constant is the mean of the first BLOCK keys in features where it is far from 0, as it is where
    these keys do not differ: what stands still has no part in scores. The first BLOCK queries are 0.

    Args:
        query: (batch, heads, N, D), bfloat16 or float32: numbers get as large as 1 / eps.
        key: (batch, kv heads, N, D), both with last stride 1.
        windows: the pools; None = the keys themselves.
        normalization: beta, eps and g.
        states: of the prefixes, as an earlier call gave them; None = they are taken.
    """
    if states is None:
        states = prefix_states(key, windows)
    (batch, heads, length, width), (kv_heads, chunks) = query.shape, states.shape[1:3]
    changed, keys = heads_last(query, width), heads_last(key, width)
    numbers, eps = HeadNumbers.of(normalization, query), normalization.eps
    launch(
        _normalize_rows, (chunks, batch * heads),
        (query, key, changed, keys, states, query if windows is None else windows.table, *numbers.tensors),
        (numbers.number, eps or 0.0, batch, heads // kv_heads, length, chunks,
         *query.stride()[:3], *key.stride()[:3], *changed.stride()[:3], *keys.stride()[:3]),
        (width, columns(width), BLOCK, numbers.learned, numbers.gained, eps is not None, windows is not None,
         parts_of(key.dtype)), 4, 1,
    )  # fmt: skip
    return changed, keys, states
