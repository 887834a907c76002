"""sum_j phi(k_j) v_j^T and sum_j phi(k_j) over chunks of keys: what the outputs of all queries need of them."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from primaldual.kernels.gpu.linear_blocks import (
    attended,
    features,
    load_rows,
    of_head,
    product,
    row_mask,
    store_sums,
)
from primaldual.kernels.gpu.linear_launch import Chunks, Launch, Launches, Setting, mask_strides

KEY_SUMS = Launches(
    narrow=Launch(64, 4, 3),
    wide=Launch(64, 8, 3),
    exact=Launch(32, 4, 2),
    exact_wide=Launch(16, 8, 2),
)


@triton.jit(do_not_specialize=["length", "chunk"])
def key_sums(
    key,
    value,
    mask,
    sums,
    key_batch,
    key_head,
    key_row,
    value_batch,
    value_head,
    value_row,
    mask_batch,
    mask_head,
    heads,
    length,
    chunk,
    D: tl.constexpr,
    DV: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_DV: tl.constexpr,
    FEATURES: tl.constexpr,
    OPERAND: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):
    """A state and a total for every key head (axis 0) and chunk (axis 1)."""
    head, part = tl.program_id(0), tl.program_id(1)
    key = of_head(key, head, heads, key_batch, key_head)
    value = of_head(value, head, heads, value_batch, value_head)
    if mask is not None:
        mask = of_head(mask, head, heads, mask_batch, mask_head)
    state = tl.zeros((BLOCK_D, BLOCK_DV), tl.float32)
    total = tl.zeros((BLOCK, BLOCK_D), tl.float32)
    for start in tl.range(part * chunk, tl.minimum(part * chunk + chunk, length), BLOCK, num_stages=STAGES):
        inside = attended(mask, start, length, row_mask(start, length, D, BLOCK, BLOCK_D), BLOCK)
        of_value = attended(mask, start, length, row_mask(start, length, DV, BLOCK, BLOCK_DV), BLOCK)
        keys = features(load_rows(key, start, key_row, inside, BLOCK, BLOCK_D), inside, FEATURES, OPERAND)
        values = load_rows(value, start, value_row, of_value, BLOCK, BLOCK_DV).to(OPERAND)
        state += product(tl.trans(keys), values, PRECISION)
        total += keys.to(tl.float32)
    place = tl.cast(head, tl.int64) * tl.num_programs(1) + part
    store_sums(sums + place * (D * DV + D), state, tl.sum(total, 0), D, DV, BLOCK_D, BLOCK_DV)


def run_key_sums(key: Tensor, value: Tensor, mask: Tensor | None, cut: Chunks, setting: Setting) -> Tensor:
    """States and totals of chunks of keys, float32: (batch * kv heads, chunks, D * Dv + D).

    Args:
        key: (batch, kv heads, Nk, D), of last stride 1.
        value: (batch, kv heads, Nk, Dv), of last stride 1.
        mask: bool (batch or 1, kv heads or 1, Nk), of last stride 1; None = all keys.
        cut: the chunks.
        setting: what is compiled in.
    """
    batch, heads, length, _ = key.shape
    sums = torch.empty((batch * heads, cut.number, setting.sums), dtype=torch.float32, device=key.device)
    launch = KEY_SUMS.of(setting)
    key_sums[batch * heads, cut.number](
        key, value, mask, sums, *key.stride()[:3], *value.stride()[:3], *mask_strides(mask), heads, length, cut.size,
        *setting.constants, launch.block, launch.stages,
        num_warps=launch.warps,
    )  # fmt: skip
    return sums
