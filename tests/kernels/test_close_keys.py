"""Variances of close keys, far from 0."""

import torch
from torch.testing import assert_close

from primaldual.kernels.close_keys import summed_anew


def test_differences_of_mean_squares_are_exact_again():
    key = 1e3 + 1e-5 * torch.randn(2, 3, 6, 4, generator=torch.Generator().manual_seed(0)).double()
    member = (torch.rand(2, 1, 5, 6, generator=torch.Generator().manual_seed(1)) > 0.6).double()
    counts = member.sum(-1, keepdim=True)
    mean = member @ key / counts.clamp(min=1)
    rough = (member @ key.square() / counts.clamp(min=1) - mean.square()).clamp(min=0)
    wanted = torch.zeros_like(mean)
    for sequence, head, row in torch.cartesian_prod(*map(torch.arange, mean.shape[:3])).tolist():
        seen = key[sequence, head, member[sequence, 0, row] > 0]
        if len(seen):
            wanted[sequence, head, row] = seen.var(0, correction=0)
    assert_close(summed_anew(rough, mean, member, key, counts), wanted, rtol=1e-6, atol=0)
    assert float((rough - wanted).abs().max()) > 0.1 * float(wanted.max())


def test_what_lost_nothing_stays():
    key = torch.randn(1, 1, 6, 4, generator=torch.Generator().manual_seed(0)).double()
    member = torch.ones(6, 6).double()
    variance = key.var(2, keepdim=True, correction=0).expand(-1, -1, 6, -1)
    mean = key.mean(2, keepdim=True).expand_as(variance)
    assert summed_anew(variance, mean, member, key, member.sum(-1, keepdim=True)) is variance
