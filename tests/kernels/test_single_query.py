"""One query at a time gives what SDPA gives."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

from primaldual.kernels.single_query import LONG, attend_one


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 37, LONG + 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_it_equals_sdpa_on_views_into_a_cache(kv_heads, dtype, length):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, 4, 1, 8, generator=generator).to(dtype)
    key, value = (
        torch.randn(3, kv_heads, 1100, width, generator=generator).to(dtype)[:, :, :length]
        for width in (8, 5)
    )
    wanted = scaled_dot_product_attention(query, key, value, scale=0.7, enable_gqa=True)
    assert_close(attend_one(query, key, value, 0.7), wanted)


def test_large_scores_do_not_overflow():
    for length in (2, LONG):
        query, key = torch.full((1, 1, 1, 2), 1e4), torch.full((1, 1, length, 2), -1e4)
        value = torch.full((1, 1, length, 1), 5.0)
        key[:, :, 0], value[:, :, 0] = 1e4, 3.0
        assert attend_one(query, key, value, 1.0).item() == 3.0
