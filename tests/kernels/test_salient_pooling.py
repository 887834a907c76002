"""Which pair each key belongs to, where the keys of the largest scores are pairs by themselves."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from primaldual.kernels import dense, salient_pooling
from primaldual.kernels.salient_pooling import most_pairs, salient_pools


def membership(pools):
    """Bool (batch, heads, R, Nt, N) of the pairs that a query may have."""
    return pools.pool.unsqueeze(-2) == torch.arange(pools.pools - 1)[:, None]


@settings(deadline=None, max_examples=50)
@given(
    length=st.integers(1, 17),
    scale=st.integers(2, 5),
    share=st.sampled_from([0.1, 0.34, 0.5, 0.75, 0.99]),
    min_length=st.integers(0, 8),
    density=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    levels=st.sampled_from([1, 3, 1000]),
    seed=st.integers(0, 99),
)
def test_pairs_of_every_query_are_those_of_the_definition(
    length, scale, share, min_length, density, levels, seed
):
    """Ties, rows without a key and causal rows among them."""
    torch.manual_seed(seed)
    scores = torch.randint(levels, (2, 3, length)).double() - levels / 2
    allowed = (torch.rand(2, 1, 6, length) < density) & torch.ones(6, length).tril(length - 6).bool()
    wanted = allowed.unsqueeze(-2) & dense.salient_membership(scores, allowed, scale, share, min_length)
    found = membership(salient_pools(scores.unsqueeze(2), allowed, scale, share, min_length))
    if min_length:  # the definition numbers lone keys by place, so that pairs are compared as sets
        together = [torch.einsum("...tj,...tk->...jk", *[part.double()] * 2) for part in (wanted, found)]
        assert torch.equal(*together)
    else:
        assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    "changed", [{"widest": lambda device: torch.float32}, {"SHORT": 10}], ids=["no float64", "long"]
)
def test_windows_are_exact_numbers_in_every_arithmetic(monkeypatch, changed):
    torch.manual_seed(0)
    scores, allowed = torch.randn(1, 2, 1, 3001), torch.rand(1, 1, 5, 3001) > 0.1
    wanted = salient_pools(scores, allowed, 3, 0.4)
    for name, value in changed.items():
        monkeypatch.setattr(salient_pooling, name, value)
    assert torch.equal(salient_pools(scores, allowed, 3, 0.4).pool, wanted.pool)


def test_windows_of_long_rows_are_floors():
    """Of the others, i times windows over others is a whole number at every window's first one."""
    scores, allowed = torch.zeros(1, 1, 1, 4096), torch.ones(1, 1, 1, 4096, dtype=torch.bool)
    for scale, share in ((2, 0.5), (3, 0.2), (4, 0.5), (7, 0.9)):
        pairs = most_pairs(4096, scale, 0)
        alone = min(int(share * pairs), pairs - 1)
        number = torch.arange(4096 - alone)
        wanted = alone + number * (pairs - alone) // (4096 - alone)
        found = salient_pools(scores, allowed, scale, share).pool.flatten()
        assert torch.equal(found[alone:], wanted)
        assert torch.equal(found[:alone], torch.arange(alone))
