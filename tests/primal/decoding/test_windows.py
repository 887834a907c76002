"""Windows of tokens against lists of their members."""

import pytest
import torch
from torch.testing import assert_close

from primaldual.primal.decoding.new_tokens import NewTokens
from primaldual.primal.decoding.windows import NewPairs, Windows


def members(windows, position):
    """The positions of the own window up to a position, one after the other."""
    window = [0]
    for now in range(1, position + 1):
        full = now <= windows.prefix or len(window) == windows.size
        window = [now] if full else [*window, now]
    return window


@pytest.mark.parametrize("windows", [Windows(), Windows(3), Windows(2, prefix=1), Windows(4, prefix=3)])
def test_numbers(windows):
    complete = 0
    for position in range(12):
        own = members(windows, position)
        assert windows.complete(position) == complete
        assert windows.offset(position) == len(own) - 1
        closes = position < windows.prefix or len(own) == windows.size
        assert windows.closes(position) == closes
        complete += closes


@pytest.mark.parametrize("windows", [Windows(), Windows(3), Windows(2, prefix=1), Windows(4, prefix=3)])
def test_means_of_new_tokens(windows):
    inputs = torch.randn(2, 1, 12, 3, dtype=torch.float64)
    starts, counts = [2, 5], [6, 4]
    tokens = NewTokens(starts, counts, 6, inputs.device)
    new = torch.stack([row[:, start : start + 6] for row, start in zip(inputs, starts, strict=True)])
    unfinished = [members(windows, start - 1) for start in starts]
    unfinished = [[] if windows.closes(own[-1]) else own for own in unfinished]
    partial = torch.stack([row[:, own].sum(1, True) for row, own in zip(inputs, unfinished, strict=True)])
    pairs = NewPairs(windows, tokens)
    means, _ = pairs.means(new, partial)
    for row, (start, count) in enumerate(zip(starts, counts, strict=True)):
        for index in range(count):
            own = members(windows, start + index)
            assert_close(means[row, :, index], inputs[row][:, own].mean(1))
            assert pairs.window[row, index] == windows.complete(start + index)
            assert pairs.offset[row, index] == windows.offset(start + index)
    kept = torch.ones(2, 6, dtype=torch.bool) if pairs.kept is None else pairs.kept
    wanted = [
        [index < count and windows.closes(start + index) for index in range(6)]
        for start, count in zip(starts, counts, strict=True)
    ]
    assert kept.tolist() == wanted


def test_pieces_of_new_tokens():
    tokens = NewTokens([3, 0, 1], [7, 2, 0], 7, torch.device("cpu"))
    piece = tokens.piece(4, 3)
    assert (piece.starts, piece.counts, piece.length) == ([7, 2, 1], [3, 0, 0], 3)
    assert tokens.ends == [10, 2, 1]
    assert not tokens.uniform
    assert NewTokens([3, 3], [2, 2], 2, torch.device("cpu")).uniform
