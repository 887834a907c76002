"""Convolutions worked by hand, and against torch's own."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv1d, conv2d, pad
from torch.testing import assert_close

from primaldual.kernels import dense
from primaldual.kernels.convolution import convolve, convolve_queries
from primaldual.kernels.layout import SEQUENCE, Layout
from primaldual.kernels.masks import Attendable


def row(*numbers):
    return torch.tensor(numbers, dtype=torch.float64).view(1, 1, -1, 1)


def test_three_taps_by_hand():
    """Taps 10, 1, 100 at j - 1, j, j + 1 on 1, 2, 4: 1 + 200, 10 + 2 + 400, 20 + 4."""
    taps = row(10.0, 1.0, 100.0).view(1, 1, 1, 3)
    assert convolve(row(1.0, 2.0, 4.0), taps, SEQUENCE).flatten().tolist() == [201.0, 412.0, 24.0]
    assert convolve(row(7.0, 1.0, 2.0, 4.0), taps, Layout(prefix=1)).flatten().tolist() == [7.0, 201, 412, 24]
    found = dense.convolution(row(7.0, 1.0, 2.0, 4.0).unsqueeze(2), taps, None, 1, False)
    assert found.flatten().tolist() == [7.0, 201.0, 412.0, 24.0]


def test_left_padded_taps_by_hand():
    """Taps 100, 10, 1 at j - 2, j - 1, j."""
    taps = row(100.0, 10.0, 1.0).view(1, 1, 1, 3)
    assert convolve(row(1.0, 2.0, 4.0), taps, SEQUENCE, True).flatten().tolist() == [1.0, 12.0, 124.0]


def test_an_image_by_hand():
    """2 x 2 image with a token in front; the filter sees itself and, tenfold, what is above."""
    taps = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    taps[..., 1, 1], taps[..., 0, 1] = 1, 10
    found = convolve(row(9.0, 1.0, 2.0, 3.0, 4.0), taps, Layout((2, 2), 1))
    assert found.flatten().tolist() == [9.0, 1.0, 2.0, 13.0, 24.0]


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 9), kernel=st.sampled_from([1, 3, 5]), prefix=st.integers(0, 3),
    left_padded=st.booleans(), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_sequences_match_conv1d(length, kernel, prefix, left_padded, seed):
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randn(2, 3, prefix + length, 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, 4, 1, kernel, generator=generator, dtype=torch.float64)
    signal = tensor[:, :, prefix:].transpose(-2, -1).flatten(1, 2)
    reach = (kernel - 1, 0) if left_padded else (kernel // 2, kernel // 2)
    oracle = conv1d(pad(signal, reach), weight.flatten(0, 1), groups=12)
    wanted = torch.cat([tensor[:, :, :prefix], oracle.view(2, 3, 4, length).mT], 2)
    assert_close(convolve(tensor, weight, Layout(prefix=prefix), left_padded), wanted)
    assert_close(dense.convolution(tensor.unsqueeze(2), weight, None, prefix, left_padded).squeeze(2), wanted)


@pytest.mark.parametrize("grid", [(3, 5), (1, 4), (4, 1), (1, 1)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("prefix", [0, 2])
def test_images_match_conv2d(grid, kernel, prefix):
    rows, columns = grid
    tensor = torch.randn(2, 3, prefix + rows * columns, 4, dtype=torch.float64)
    weight = torch.randn(3, 4, kernel, kernel, dtype=torch.float64)
    image = tensor[:, :, prefix:].mT.reshape(2, 12, rows, columns)
    oracle = conv2d(image, weight.flatten(0, 1).unsqueeze(1), padding=kernel // 2, groups=12)
    wanted = torch.cat([tensor[:, :, :prefix], oracle.view(2, 3, 4, -1).mT], 2)
    assert_close(convolve(tensor, weight, Layout(grid, prefix)), wanted)
    assert_close(dense.convolution(tensor.unsqueeze(2), weight, grid, prefix, False).squeeze(2), wanted)
    assert_close(convolve_queries(tensor, weight, Layout(grid, prefix), False, Attendable()), wanted)
    everyone = Attendable(pairs=torch.ones(1, 1, 1, 1, dtype=torch.bool).expand(-1, -1, 1, tensor.shape[2]))
    assert_close(convolve_queries(tensor, weight, Layout(grid, prefix), False, everyone), wanted)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("layout", [SEQUENCE, Layout((3, 4), 2)])
@pytest.mark.parametrize("is_causal", [False, True])
def test_queries_by_key_are_queries_by_pair(layout, is_causal, seed):
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(2, 3, 14, 4, generator=generator, dtype=torch.float64)
    rows = 1 if layout is SEQUENCE else 3
    weight = torch.randn(3, 4, rows, 3, generator=generator, dtype=torch.float64)
    keys = torch.rand(2, 1, 1, 14, generator=generator) > 0.4
    by_key = Attendable(keys=keys, is_causal=is_causal)
    by_pair = Attendable(pairs=keys.expand(-1, -1, 14, -1), is_causal=is_causal)
    assert_close(
        convolve_queries(query, weight, layout, False, by_key),
        convolve_queries(query, weight, layout, False, by_pair),
    )


@pytest.mark.parametrize("left_padded", [False, True])
def test_causal_queries_see_none_later(left_padded):
    query = torch.randn(2, 3, 7, 4, dtype=torch.float64)
    weight = torch.randn(3, 4, 1, 5, dtype=torch.float64)
    layout = Layout(prefix=2)
    found = convolve_queries(query, weight, layout, left_padded, Attendable(is_causal=True))
    for position in range(7):
        alone = convolve(query[:, :, : position + 1], weight, layout, left_padded)
        assert_close(found[:, :, position], alone[:, :, -1])


def test_queries_see_themselves_and_the_neighbours_they_may_attend():
    taps = row(10.0, 1.0, 100.0).view(1, 1, 1, 3)
    keys = torch.tensor([True, False, True]).view(1, 1, 1, 3)
    found = convolve_queries(row(1.0, math.nan, 4.0), taps, SEQUENCE, False, Attendable(keys=keys))
    assert found.flatten()[[0, 2]].tolist() == [1.0, 4.0]
    pairs = torch.tensor([[False, True, False], [True, False, False], [True, True, True]]).view(1, 1, 3, 3)
    found = convolve_queries(row(1.0, 2.0, 4.0), taps, SEQUENCE, False, Attendable(pairs=pairs))
    assert found.flatten().tolist() == [201.0, 12.0, 24.0]


@pytest.mark.parametrize("length", [0, 1, 2])
def test_sequences_within_the_prefix_stay(length):
    tensor, weight = torch.randn(1, 2, length, 4), torch.randn(2, 4, 1, 3)
    for found in (
        convolve(tensor, weight, Layout(prefix=2)),
        convolve_queries(tensor, weight, Layout(prefix=2), False, Attendable()),
        dense.convolution(tensor.unsqueeze(2), weight, None, 2, False).squeeze(2),
    ):
        assert torch.equal(found, tensor)


def test_half_precision_is_summed_in_float32():
    tensor, weight = torch.randn(1, 2, 9, 4).bfloat16(), torch.randn(2, 4, 1, 3)
    found = convolve(tensor, weight, SEQUENCE)
    assert found.dtype == torch.float32
    assert_close(found, convolve(tensor.double(), weight, SEQUENCE).float())
    assert convolve_queries(tensor, weight, SEQUENCE, False, Attendable()).dtype == torch.bfloat16


def test_gradients_of_filters():
    tensor = torch.randn(2, 2, 6, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, 1, 3, dtype=torch.float64, requires_grad=True)
    attendable = Attendable(is_causal=True)
    assert torch.autograd.gradcheck(lambda *inputs: convolve(*inputs, Layout(prefix=1)), (tensor, weight))
    assert torch.autograd.gradcheck(
        lambda *inputs: convolve_queries(*inputs, SEQUENCE, False, attendable), (tensor, weight)
    )
