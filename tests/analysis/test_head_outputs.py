import math

import pytest
import torch
from torch.testing import assert_close

from primaldual.analysis.head_outputs import OutputLikeness


def likeness(*batches, rows=None):
    found = OutputLikeness()
    for place, batch in enumerate(batches):
        found.add(batch, None if rows is None else rows[place])
    return found.value()


def dense(outputs):
    """The formula written out for two heads at a time."""
    heads = [head.flatten(0, 1).double() for head in outputs.unbind(1)]
    heads = [head - head.mean(0) for head in heads]
    return torch.tensor(
        [[(y.T @ z).norm() ** 2 / ((y.T @ y).norm() * (z.T @ z).norm()) for z in heads] for y in heads]
    )


def test_the_formula_written_out_over_all_batches():
    outputs = torch.randn(5, 3, 7, 4) + 3
    assert_close(likeness(outputs), dense(outputs), check_dtype=False)
    assert_close(likeness(outputs[:2], outputs[2:]), likeness(outputs))


def test_rotation_and_scale_of_a_head_do_not_matter():
    outputs = torch.randn(2, 2, 20, 4, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    turned = torch.stack([outputs[:, 0], 5 * outputs[:, 1] @ rotation + 2], 1)
    assert_close(likeness(turned), likeness(outputs))
    both = torch.stack([outputs[:, 0], -3 * outputs[:, 0] @ rotation], 1)
    assert_close(likeness(both), torch.ones(2, 2, dtype=torch.float64))


def test_small_deviations_beside_large_means_are_seen():
    outputs = torch.randn(4, 2, 9, 3, dtype=torch.float64)
    shifted = 1e6 + 1e-3 * outputs
    assert_close(likeness(shifted[:1], shifted[1:]), likeness(outputs), rtol=1e-5, atol=1e-5)


def test_rows_of_padding_are_left_out_whatever_they_hold():
    outputs = torch.randn(2, 3, 6, 4)
    rows = torch.arange(6).expand(2, -1) < torch.tensor([[6], [3]])
    poisoned = torch.where(rows[:, None, :, None], outputs, torch.nan)
    real = torch.cat([outputs[:1].transpose(1, 2).flatten(0, 1), outputs[1, :, :3].transpose(0, 1)])
    assert_close(likeness(poisoned, rows=[rows]), likeness(real.transpose(0, 1)[None]))


def test_a_constant_head_is_like_none_and_nothing_seen_is_undefined():
    outputs = torch.randn(1, 2, 9, 3)
    outputs[:, 1] = 100.3
    assert likeness(outputs)[0].tolist() == pytest.approx([1, 0], abs=1e-12)
    assert math.isnan(likeness(torch.zeros(0, 2, 4, 3))[0, 1])
