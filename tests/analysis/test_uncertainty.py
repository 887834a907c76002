"""Scores against scikit-learn and loops."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from primaldual.analysis.uncertainty import auroc, entropy, uncertainty_scores
from primaldual.errors import ArgumentError, ShapeError


def predictions(count=200, classes=4):
    generator = torch.Generator().manual_seed(0)
    probabilities = (2 * torch.randn(count, classes, generator=generator)).softmax(1)
    labels = torch.multinomial(probabilities, 1, generator=generator).squeeze(1)
    return probabilities, labels


def test_scores_by_definition():
    probabilities, labels = predictions()
    found = uncertainty_scores(probabilities, labels)
    exact, truth = probabilities.double().numpy(), labels.numpy()
    exact /= exact.sum(1, keepdims=True)
    confidence, right = exact.max(1), exact.argmax(1) == truth
    assert found.accuracy == pytest.approx(right.mean())
    assert found.nll == pytest.approx(log_loss(truth, exact), rel=1e-6)
    assert found.brier == pytest.approx(((exact - np.eye(4)[truth]) ** 2).sum(1).mean(), rel=1e-6)
    calibration = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            calibration += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert found.ece == pytest.approx(calibration, rel=1e-5)
    order = np.argsort(-confidence)
    risks = [1 - right[order[: number + 1]].mean() for number in range(len(truth))]
    assert found.aurc == pytest.approx(np.mean(risks))


def test_certain_and_right_is_best():
    found = uncertainty_scores(torch.eye(3), torch.arange(3))
    assert (found.accuracy, found.nll, found.ece, found.brier, found.aurc) == (1, 0, 0, 0, 0)
    wrong = uncertainty_scores(torch.eye(3), torch.tensor([1, 2, 0]))
    assert (wrong.accuracy, wrong.ece, wrong.brier, wrong.aurc) == (0, 1, 2, 1)
    assert np.isfinite(wrong.nll)


def test_auroc_is_scikit_learns():
    lower, higher = torch.randn(50).round(decimals=1), torch.randn(70).round(decimals=1) + 0.5
    truth = np.r_[np.zeros(50), np.ones(70)]
    assert auroc(lower, higher) == pytest.approx(roc_auc_score(truth, torch.cat([lower, higher]).numpy()))
    assert auroc(lower, lower) == pytest.approx(0.5)


def test_entropy_of_certainty_is_zero():
    assert entropy(torch.eye(3)).tolist() == [0, 0, 0]
    assert entropy(torch.full((1, 4), 0.25)).item() == pytest.approx(np.log(4))


def test_bad_input():
    probabilities, labels = predictions()
    with pytest.raises(ShapeError, match=r"got \(200, 4\) and \(199,\)"):
        uncertainty_scores(probabilities, labels[1:])
    with pytest.raises(ArgumentError, match="sum to 1"):
        uncertainty_scores(2 * probabilities, labels)
    with pytest.raises(ArgumentError, match="labels must be integers from 0 to 3"):
        uncertainty_scores(probabilities, labels + 1)
    with pytest.raises(ArgumentError, match="bins must be 1 or more; got 0"):
        uncertainty_scores(probabilities, labels, bins=0)
    with pytest.raises(ShapeError, match="got 0 and 1"):
        auroc(torch.zeros(0), torch.zeros(1))
    with pytest.raises(ArgumentError, match="NaN"):
        auroc(torch.tensor([torch.nan]), torch.zeros(1))
