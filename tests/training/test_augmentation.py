import torch
from torch.testing import assert_close

from primaldual.training import augmentation
from primaldual.training.augmentation import AUGMENTATIONS, of_series
from primaldual.training.examples import Examples


def batch(length=40, short=25):
    values = torch.arange(float(length)).repeat(2, 1).unsqueeze(-1)
    padding = torch.zeros(2, length, dtype=torch.bool)
    padding[1, short:] = True
    return Examples(values.masked_fill(padding.unsqueeze(-1), 0.0), padding, torch.zeros(2), torch.ones(2))


def test_shifts_stay_within_a_tenth_and_within_the_series(monkeypatch):
    monkeypatch.setattr(augmentation, "SCALE", 0.0)
    monkeypatch.setattr(augmentation, "NOISE", 0.0)
    torch.manual_seed(0)
    shifts = set()
    for _ in range(200):
        found = of_series(batch())
        for values, length in zip(found.values.squeeze(-1), (40, 25), strict=True):
            kept = values[:length]
            shift = int(length // 2 - kept[length // 2])
            expected = (torch.arange(float(length)) - shift).clamp(0, length - 1)
            assert torch.equal(kept, expected)
            shifts.add((length, shift))
    assert {shift for length, shift in shifts if length == 40} == set(range(-4, 5))
    assert {shift for length, shift in shifts if length == 25} <= set(range(-3, 4))


def test_scale_and_noise_have_their_deviations(monkeypatch):
    monkeypatch.setattr(augmentation, "SHIFT", 0.0)
    torch.manual_seed(0)
    ones = Examples(torch.ones(400, 100, 1), None, torch.zeros(400), torch.ones(400))
    found = of_series(ones).values.squeeze(-1)
    assert_close(found.mean(1).std(), torch.tensor(0.1), atol=0.02, rtol=0)
    assert_close(found.std(1).mean(), torch.tensor(0.05), atol=0.005, rtol=0)
    assert AUGMENTATIONS["none"](ones) is ones
