"""One query at a time gives what SDPA gives."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

from primaldual.kernels.single_query import attend_one


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_it_equals_sdpa_on_views_into_a_cache(kv_heads, dtype):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(3, 4, 1, 8, generator=generator).to(dtype)
    key, value = (
        torch.randn(3, kv_heads, 50, width, generator=generator).to(dtype)[:, :, :37] for width in (8, 5)
    )
    wanted = scaled_dot_product_attention(query, key, value, scale=0.7, enable_gqa=True)
    assert_close(attend_one(query, key, value, 0.7), wanted)


def test_large_scores_do_not_overflow():
    query, key = torch.full((1, 1, 1, 2), 1e4), torch.tensor([1e4, -1e4]).view(1, 1, 2, 1).expand(1, 1, 2, 2)
    value = torch.tensor([3.0, 5.0]).view(1, 1, 2, 1)
    assert attend_one(query, key, value, 1.0).item() == 3.0
