"""Linear attention of every query to all keys, from the states and totals of chunks of keys."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.launch import launch
from primaldual.kernels.gpu.linear_blocks import (
    added_sums,
    features,
    load_rows,
    no_zeros,
    of_head,
    product_with_sums,
    row_mask,
    store_rows,
)
from primaldual.kernels.gpu.linear_launch import Chunks, Launch, Launches, Setting
from primaldual.kernels.gpu.strides import heads_last

OUTPUTS = Launches(
    narrow=Launch(64, 4, 3),
    wide=Launch(64, 8, 2),
    exact=Launch(32, 4, 2),
    exact_wide=Launch(16, 8, 1),
)


@triton.jit(do_not_specialize=["length", "chunk", "parts"])
def outputs(
    query,
    sums,
    out,
    query_batch,
    query_head,
    query_row,
    heads,
    group,
    length,
    chunk,
    parts,
    D: tl.constexpr,
    DV: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_DV: tl.constexpr,
    FEATURES: tl.constexpr,
    BFLOAT16: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    """phi(q) S / (phi(q) . z) for every query head (axis 0) and chunk (axis 1)."""
    head, place = tl.program_id(0), tl.program_id(1)
    query = of_head(query, head, heads, query_batch, query_head)
    out = of_head(out, head, heads, tl.cast(length, tl.int64) * heads * DV, DV)
    first = sums + tl.cast(head // group, tl.int64) * parts * (D * DV + D)
    state, total = added_sums(first, 0, parts, D, DV, BLOCK_D, BLOCK_DV)
    for start in tl.range(place * chunk, tl.minimum(place * chunk + chunk, length), BLOCK, num_stages=STAGES):
        inside = row_mask(start, length, D, BLOCK, BLOCK_D)
        queries = features(
            load_rows(query, start, query_row, inside, BLOCK, BLOCK_D), inside, FEATURES, BFLOAT16
        )
        kernels = no_zeros(tl.sum(queries.to(tl.float32) * total[None, :], 1))
        rows = product_with_sums(queries, state, BFLOAT16, PRECISION) / kernels[:, None]
        of_value = row_mask(start, length, DV, BLOCK, BLOCK_DV)
        store_rows(out, start, heads * DV, rows, of_value, BLOCK, BLOCK_DV)


def run_outputs(query: Tensor, sums: Tensor, kv_heads: int, cut: Chunks, setting: Setting) -> Tensor:
    """The outputs (batch, heads, Nq, Dv), heads last in memory, from the states and totals of all keys."""
    batch, heads, length, _ = query.shape
    out = heads_last(query, setting.value_dim)
    how = OUTPUTS.of(setting)
    launch(
        outputs, (batch * heads, cut.number), (query, sums, out),
        (*query.stride()[:3], heads, heads // kv_heads, length, cut.size, sums.shape[1]),
        (*setting.constants, how.block, how.stages), how.warps, how.stages,
    )  # fmt: skip
    return out
