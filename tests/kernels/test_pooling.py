"""Pooling against loops over windows; layouts, masks, prefixes, errors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import avg_pool2d
from torch.testing import assert_close

from primaldual.kernels.layout import Layout
from primaldual.kernels.pooling import pool, prefix_means, window_index


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 20), scale=st.integers(1, 6), prefix=st.integers(0, 3), masked=st.booleans(),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_sequence_matches_a_loop(length, scale, prefix, masked, seed):
    generator = torch.Generator().manual_seed(seed)
    length += prefix
    tensor = torch.randn(2, length, 3, generator=generator, dtype=torch.float64)
    mask = torch.rand(2, 1, length, generator=generator) > 0.5 if masked else None
    pooled, kept = pool(tensor, scale, mask, Layout(prefix=prefix))
    windows = [[row] for row in range(prefix)]
    windows += [list(range(start, min(start + scale, length))) for start in range(prefix, length, scale)]
    assert pooled.shape == (2, len(windows), 3)
    for sample in range(2):
        for number, window in enumerate(windows):
            members = [row for row in window if mask is None or mask[sample, 0, row]]
            if mask is not None:
                assert bool(kept[sample, 0, number]) == bool(members)
            if members:
                assert_close(pooled[sample, number], tensor[sample, members].mean(0))


def test_grid_matches_average_pooling():
    image = torch.randn(2, 5, 6, 8, dtype=torch.float64)
    flat = image.flatten(2).transpose(1, 2)
    tokens = torch.randn(2, 2, 5, dtype=torch.float64)
    pooled, mask = pool(torch.cat([tokens, flat], 1), 2, None, Layout((6, 8), prefix=2))
    assert mask is None
    assert_close(pooled[:, :2], tokens)
    assert_close(pooled[:, 2:], avg_pool2d(image, 2).flatten(2).transpose(1, 2))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_ragged_masked_grid_matches_its_window_index(scale):
    layout = Layout((5, 7), prefix=1)
    tensor = torch.randn(1, 36, 2, dtype=torch.float64)
    mask = torch.rand(1, 1, 36, generator=torch.Generator().manual_seed(scale)) > 0.5
    index = window_index(36, scale, layout)
    pooled, kept = pool(tensor, scale, mask, layout)
    assert pooled.shape[1] == layout.windows(36, scale) == int(index.max()) + 1
    for window in range(pooled.shape[1]):
        members = (index == window) & mask[0, 0]
        assert bool(kept[0, 0, window]) == bool(members.any())
        if members.any():
            assert_close(pooled[0, window], tensor[0, members].mean(0))


def test_prefix_means_hand_worked():
    tensor = torch.tensor([[2.0], [4.0], [6.0], [10.0]])
    mask = torch.tensor([[False, True, True, True]])
    means, present = prefix_means(tensor, 3, mask)
    assert means.flatten().tolist() == [0.0, 4.0, 5.0, 10.0]
    assert present.flatten().tolist() == [False, True, True, True]
