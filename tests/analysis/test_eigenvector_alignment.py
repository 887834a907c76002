"""Alignment of values with eigenvectors of the centred kernel matrix, against numpy."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import primaldual as pdl
from primaldual.analysis import eigenvector_alignment, value_alignment
from primaldual.errors import UnsupportedError
from primaldual.models import TimeSeriesTransformer


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def centred_kernel(key):
    """The matrix of softmax attention and its normaliser, for one head, by numpy."""
    scores = np.exp(key @ key.T / np.sqrt(key.shape[1]))
    h = scores.sum(1)
    centring = np.eye(len(key)) - 1 / len(key)
    return centring @ (scores / np.outer(h, h)) @ centring, h


def test_values_of_kernel_components_are_aligned():
    key = torch.randn(1, 1, 15, 3, dtype=torch.float64)
    matrix, h = centred_kernel(key[0, 0].numpy())
    vectors = np.linalg.eigh(matrix)[1][:, -2:]
    value = torch.from_numpy(vectors / h[:, None] + 7.0)[None, None]
    found = eigenvector_alignment("softmax", key, value)
    assert_close(found.cosines, torch.ones(1, 1, 2, dtype=torch.float64))
    assert_close(found.captured, torch.ones(1, 1, dtype=torch.float64))
    assert float(found.chance_captured) == 2 / 14 < float(found.chance_cosine) < 1


def test_the_measures_are_those_of_numpy():
    key, value = torch.randn(2, 2, 3, 12, 4, dtype=torch.float64).unbind(0)
    found = eigenvector_alignment("softmax", key, value)
    for case in np.ndindex(2, 3):
        matrix, h = centred_kernel(key[case].numpy())
        v = value[case].numpy()
        a = h[:, None] * (v - h @ v / h.sum())
        assert np.abs(a.sum(0)).max() < 1e-12 * np.abs(a).sum()
        image = matrix @ a
        cosines = (a * image).sum(0) / np.linalg.norm(a, axis=0) / np.linalg.norm(image, axis=0)
        assert_close(found.cosines[case], torch.from_numpy(cosines))
        leading = np.linalg.eigh(matrix)[1][:, -4:]
        unit = a / np.abs(a).max(0)
        share = ((leading.T @ unit) ** 2).sum() / (unit**2).sum()
        assert float(found.captured[case]) == pytest.approx(share)


def test_random_values_reach_chance_and_no_more():
    key, value = torch.randn(2, 20, 4, 60, 4, dtype=torch.float64).unbind(0)
    found = eigenvector_alignment(pdl.preset("linear"), key, value)
    assert float(found.captured.mean()) == pytest.approx(4 / 59, rel=0.6)


def test_padding_changes_nothing():
    key, value = torch.randn(2, 1, 2, 9, 4, dtype=torch.float64).unbind(0)
    mask = torch.arange(9) < 6
    padded = eigenvector_alignment("bn", key, value, mask=mask.expand(1, 2, -1))
    alone = eigenvector_alignment("bn", key[:, :, :6], value[:, :, :6])
    for found, wanted in zip(vars(padded).values(), vars(alone).values(), strict=True):
        assert_close(found, wanted)


def test_constant_values_are_no_direction():
    key = torch.randn(1, 1, 5, 2, dtype=torch.float64)
    found = eigenvector_alignment("softmax", key, torch.ones_like(key))
    assert found.cosines.abs().max() < 1
    assert bool(found.captured.isfinite().all())


def test_every_layer_of_a_model_is_measured():
    model = TimeSeriesTransformer(
        3, 12, 2, num_layers=2, attention="bn+sh(1,1,2,2)", num_heads=4, embed_dim=16
    )
    found = value_alignment(model, torch.randn(2, 12, 3))
    assert [alignment.cosines.shape for alignment in found.values()] == [(2, 4, 4)] * 2
    assert all(((each.captured >= 0) & (each.captured <= 1 + 1e-9)).all() for each in found.values())


def test_what_fits_every_query_on_keys_of_its_own_is_refused():
    layer, x = pdl.MultiheadAttention(8, 2, batch_first=True), torch.randn(1, 5, 8)
    causal = torch.ones(5, 5).triu(1).bool()
    with pytest.raises(UnsupportedError, match="attn_mask"):
        value_alignment(layer, x, x, x, None, False, causal)
    with pytest.raises(UnsupportedError, match="window"):
        eigenvector_alignment("window(1)", *torch.randn(2, 1, 1, 5, 2).unbind(0))
