"""Pools of patches of a grid and behind kept tokens, by kernels, against means over positions listed one by one."""

import pytest
import torch
from tests.kernels.gpu.test_scaled_heads import assert_same, attended, standardized

from primaldual.errors import ShapeError
from primaldual.kernels.gpu.entering import Setting
from primaldual.kernels.gpu.keys import pools
from primaldual.kernels.gpu.normalization import Normalization
from primaldual.kernels.gpu.scaled_heads import scaled_heads
from primaldual.kernels.layout import Layout

SEQUENCE_OF = 11
"""Positions of a layout without a grid."""


def listed(layout, scale):
    """The members of every pool."""
    length = SEQUENCE_OF if layout.grid is None else layout.prefix + layout.grid[0] * layout.grid[1]
    found = {}
    for position in range(length):
        body = position - layout.prefix
        if scale == 1 or body < 0:
            place = (-1, position)
        elif layout.grid is None:
            place = (0, body // scale)
        else:
            row, column = divmod(body, layout.grid[1])
            place = (row // scale, column // scale)
        found.setdefault(place, []).append(position)
    return [found[place] for place in sorted(found)]


def definition(query, key, value, setting, valid):
    """Head by head of every sequence, on the members that count of the pools that have any."""
    out = torch.zeros(*query.shape[:3], value.shape[3], dtype=query.dtype, device=query.device)
    for batch, head in [(batch, head) for batch in range(query.shape[0]) for head in range(query.shape[1])]:
        kv = head * key.shape[1] // query.shape[1]
        members = [
            [each for each in pool if valid is None or valid[batch, kv, each]]
            for pool in listed(setting.layout, setting.scales[kv])
        ]
        rows = query[batch, head]
        keys, values = (
            torch.stack([each[batch, kv, pool].mean(0) for pool in members if pool]) for each in (key, value)
        )
        if setting.normalization:
            beta, eps, gain = setting.normalization
            rows, keys = standardized(rows, keys, beta[head], eps)
            rows = rows * gain[head]
        out[batch, head] = attended(rows, keys, values, setting.scale)
    return out


@pytest.mark.parametrize(
    ("layout", "scales", "normalized", "masked"),
    [
        (Layout((3, 5)), (1, 2), False, False),
        (Layout((3, 5), 1), (2, 2), True, False),
        (Layout((4, 3), 2), (2, 3), True, True),
        (Layout((3, 5), 1), (4, 5), False, True),
        (Layout(prefix=1), (1, 4), True, False),
        (Layout(prefix=2), (3, 3), False, True),
    ],
)
def test_pools_of_patches_and_kept_tokens_are_those_of_the_definition(
    layout, scales, normalized, masked, device
):
    torch.manual_seed(0)
    length = sum(map(len, listed(layout, 1)))
    groups = 2 if normalized else 1
    leaves = [torch.randn(1, heads, length, 6, device=device) for heads in (2 * groups, 2, 2)]
    leaves[1] += 1
    if normalized:
        leaves += [torch.rand(4, device=device), torch.randn(4, 6, device=device)]
    leaves = [tensor.requires_grad_() for tensor in leaves]
    wide = [tensor.detach().double().requires_grad_() for tensor in leaves]
    valid = None
    if masked:
        valid = torch.rand(1, 2, length, device=device) > 0.4
        valid[0, 0, :3] = False
        valid[..., -1] = True

    def setting(learned):
        return Setting(
            0.3, scales, Normalization(learned[0], 1e-2, learned[1]) if learned else None, False, layout
        )

    out = scaled_heads(*leaves[:3], setting(leaves[3:]), valid)
    wanted = definition(*wide[:3], setting(wide[3:]), valid)
    assert_same(out, leaves, wanted, wide, 5e-6)


def test_a_sequence_that_does_not_fill_the_grid_has_no_pools():
    with pytest.raises(ShapeError, match="grid 3x5 with prefix 1 needs 16 positions; got 15"):
        pools((1, 2), 15, torch.device("cpu"), Layout((3, 5), 1))
