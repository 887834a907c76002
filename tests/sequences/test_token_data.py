from __future__ import annotations

import numpy as np
import torch

from primaldual.sequences.token_data import TokenData
from primaldual.sequences.token_sets import TokenSet, bounds_of


def data(lengths):
    lengths = np.array(lengths)
    tokens = np.arange(lengths.sum(), dtype=np.uint8)
    labels = np.arange(len(lengths)) % 2
    return TokenData(TokenSet("few", ("a", "b"), 256, tokens, bounds_of(lengths), labels, "digest"))


def test_batches_are_cut_to_their_longest_sequence_and_padded():
    batches = list(data([2, 4, 4]).load([torch.tensor([1, 2]), torch.tensor([0, 1])], seed=0))
    tokens, padding = batches[0].inputs
    assert padding is None
    assert tokens.tolist() == [[2, 3, 4, 5], [6, 7, 8, 9]]
    tokens, padding = batches[1].inputs
    assert tokens.tolist() == [[0, 1, 0, 0], [2, 3, 4, 5]]
    assert padding.tolist() == [[False, False, True, True], [False] * 4]
    assert batches[1].targets.tolist() == [0, 1]


def test_both_sequences_of_a_pair_are_padded_by_themselves():
    found = data([[1, 3], [2, 1]])
    [batch] = found.load([torch.tensor([0, 1])], seed=0)
    first, _, second, _ = batch.inputs
    assert (first.shape, second.shape) == ((2, 2), (2, 3))
    assert second.tolist() == [[1, 2, 3], [6, 0, 0]]
    assert found.lengths.tolist() == [3, 2]


def test_cut_sequences_have_a_fingerprint_of_their_own():
    whole = data([2, 4])
    cut = TokenData(whole.cases.cut(3))
    assert cut.lengths.tolist() == [2, 3]
    assert cut.fingerprint() != whole.fingerprint()
