import pytest
import torch
from torch.testing import assert_close

from primaldual.kernels.layout import Layout
from primaldual.kernels.pooling import window_index
from primaldual.parallel.window_shares import WindowShares
from primaldual.primal.decoding.windows import Windows


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("prefix", [0, 1, 4])
@pytest.mark.parametrize("cut", [1, 3, 6, 9])
def test_a_sequence_of_shares_has_the_means_of_the_windows(size, prefix, cut):
    rows, mask = torch.randn(2, 3, 11, 4).double(), torch.rand(2, 1, 1, 11) > 0.4
    index = window_index(11, size, Layout(prefix=prefix))

    def window_means(sequence):
        kept = torch.where(mask.mT, sequence, 0.0)
        member = torch.nn.functional.one_hot(index).T.double()
        return member @ kept / (member @ mask.mT.double()).clamp(min=1)

    shares = WindowShares(Windows(size, prefix), cut, 11)
    means = shares.means(rows[:, :, cut:], mask[..., cut:])
    assert means.shape[2] == shares.count == len(index[cut:].unique())
    with_means = torch.cat([rows[:, :, :cut], shares.spread(means)], 2)
    assert_close(window_means(with_means), window_means(rows))


def test_nothing_that_is_masked_is_in_a_mean():
    rows = torch.tensor([1.0, 5.0, 7.0, 9.0]).view(1, 1, 4, 1)
    mask = torch.tensor([True, False, False, False]).view(1, 1, 1, 4)
    assert WindowShares(Windows(2), 0, 4).means(rows, mask).flatten().tolist() == [1.0, 0.0]
