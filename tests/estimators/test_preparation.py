import numpy as np
import pytest
import torch

from primaldual.estimators.preparation import SeriesPreparation

GAP = np.nan


def scaled(series):
    values, _ = SeriesPreparation(np.zeros(1), np.ones(1), 10).apply([np.array([series])])
    return values[0, :, 0].tolist()


def test_channels_are_standardised_one_by_one_by_what_was_learnt():
    train = [np.array([[0.0, 2.0], [10.0, 30.0]])]
    preparation = SeriesPreparation.learn(train)
    values, padding = preparation.apply([np.array([[1.0, 4.0], [20.0, 20.0]])])
    assert values.dtype == torch.float32
    assert values[0].tolist() == [[0.0, 0.0], [3.0, 0.0]]
    assert not padding.any()


def test_statistics_leave_missing_values_out():
    preparation = SeriesPreparation.learn([np.array([[0.0, GAP, 2.0]]), np.array([[GAP, 1.0]])])
    assert preparation.mean.tolist() == [1.0]
    assert preparation.deviation == pytest.approx([np.sqrt(2 / 3)])
    assert preparation.length == 3


@pytest.mark.parametrize("channel", [[5.0, 5.0], [GAP, GAP], [1e20, 1e20]])
def test_channels_without_variation_become_zero(channel):
    series = np.array([channel, [0.0, 2.0]])
    values, _ = SeriesPreparation.learn([series]).apply([series])
    assert values[0, :, 0].tolist() == [0.0, 0.0]


def test_large_offsets_do_not_drown_the_signal():
    series = 1e6 + np.array([[0.0, 1e-3, 2e-3]])
    values, _ = SeriesPreparation.learn([series]).apply([series])
    assert values[0, :, 0].tolist() == pytest.approx([-1.2247, 0.0, 1.2247], rel=1e-3)


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        ([0.0, GAP, 2.0], [0.0, 1.0, 2.0]),
        ([GAP, 1.0, GAP, GAP, 4.0, GAP], [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]),
        ([GAP, GAP], [0.0, 0.0]),
    ],
)
def test_gaps_are_filled_in_time(given, filled):
    assert scaled(given) == filled


def test_padding_follows_the_series_and_long_series_are_cut():
    preparation = SeriesPreparation(np.zeros(1), np.ones(1), 3)
    values, padding = preparation.apply([np.array([[1.0, 2.0]]), np.array([[1.0, 2.0, 3.0, 4.0]])])
    assert values[..., 0].tolist() == [[1.0, 2.0, 0.0], [1.0, 2.0, 3.0]]
    assert padding.tolist() == [[False, False, True], [False, False, False]]


def test_the_given_series_stay_as_they_were():
    series = np.array([[0.0, GAP, 2.0]])
    SeriesPreparation.learn([series]).apply([series])
    assert np.isnan(series[0, 1])


def test_huge_values_neither_overflow_nor_hide_the_rest():
    preparation = SeriesPreparation.learn([np.array([[1e200, 3e200]])])
    assert (preparation.mean / 1e200).tolist() == [2.0]
    assert (preparation.deviation / 1e200).tolist() == [1.0]
    values, _ = SeriesPreparation(np.zeros(1), np.ones(1), 10).apply([np.array([[1e300, -1e300, 5.0]])])
    assert values.flatten().tolist() == [1e4, -1e4, 5.0]
