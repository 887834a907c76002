import numpy as np
import pytest
import torch

from primaldual.errors import ShapeError
from primaldual.experiments.class_scores import calibration_error, scores_of, top_accuracy


def test_calibration_error_is_that_of_its_definition():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(200, 4, generator=generator), torch.randint(4, (200,), generator=generator)
    probabilities = logits.double().softmax(1).numpy()
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels.numpy()
    expected = 0.0
    for low in np.arange(10) / 10:
        inside = (confidence > low) & (confidence <= low + 0.1)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(logits, labels, bins=10) == pytest.approx(expected)


def test_top_accuracy_counts_the_first_k():
    logits = torch.arange(7.0).expand(7, 7)
    assert [top_accuracy(logits, torch.arange(7), k) for k in (1, 5, 9)] == pytest.approx([1 / 7, 5 / 7, 1.0])


def test_scores_agree_with_torch_and_no_images_are_refused():
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    expected = torch.nn.functional.cross_entropy(logits, labels).item()
    assert scores_of(logits, labels)["log_loss"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ShapeError, match="one case or more"):
        calibration_error(logits[:0], labels[:0])
