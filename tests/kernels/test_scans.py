"""Scans against cumulative sums."""

import pytest
import torch
from torch.testing import assert_close

from primaldual.kernels.scans import prefix_sums_, suffix_sums_, whole_blocks


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 300])
def test_scans_are_cumulative_sums(length):
    rows = torch.randn(2, 3, length, 4, dtype=torch.float64)
    padded = torch.zeros(2, 3, whole_blocks(length), 4, dtype=torch.float64)
    padded[..., :length, :] = rows
    forward = prefix_sums_(padded.clone(), length)[..., :length, :]
    backward = suffix_sums_(padded.clone(), length)[..., :length, :]
    assert_close(forward, rows.cumsum(-2))
    assert_close(backward, rows.flip(-2).cumsum(-2).flip(-2))
