import numpy as np
import pytest
import torch

from primaldual.models.random_convolutions import RAMP, TAPS, RandomConvolutions, dilations, windows


def drawn(channels=3, length=40, kernels=12, cases=5, seed=0, padding=None):
    values = torch.randn(cases, length, channels, generator=torch.Generator().manual_seed(1))
    model = RandomConvolutions(channels, length, kernels)
    model.draw(values, padding, torch.Generator().manual_seed(seed))
    return model, values


def test_one_kernel_by_hand():
    model = RandomConvolutions(channels=1, length=4, kernels=1)
    model.weights[0, :, 0] = torch.tensor([0.0] * 4 + [1.0] + [0.0] * 4)  # r(t) = x(t)
    model.thresholds[0, :, 0] = torch.tensor([1.0, -5.0])
    found = model(torch.tensor([[[0.0], [1.0], [1.25], [9.0]]]))
    # Half at the threshold, linear beside it, 1 beyond: (0 + 0.5 + 0.75 + 1) / 4; everything lies above -5.
    torch.testing.assert_close(found, torch.tensor([[2.25 / 4, 1.0]]))


def test_features_against_loops():
    model, values = drawn()
    found = model(values)
    expected = []
    for place, dilation in enumerate(model.dilations):
        weights = model.weights[place].view(3, TAPS, -1).numpy()
        for threshold in model.thresholds[place].numpy():
            for kernel in range(model.each):
                total = 0.0
                for t in range(40):
                    response = sum(
                        weights[c, i, kernel] * values[2, t + (i - 4) * dilation, c].item()
                        for c in range(3)
                        for i in range(TAPS)
                        if 0 <= t + (i - 4) * dilation < 40
                    )
                    total += np.clip(response - threshold[kernel] + 0.5, 0, 1)
                expected.append(total / 40)
    np.testing.assert_allclose(found[2].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_responses_deviate_by_ten_ramps_and_thresholds_are_responses():
    model, values = drawn(cases=40)
    responses = windows(values, 2) @ model.weights[1]
    assert responses.flatten(0, 1).std(0).numpy() == pytest.approx(1 / RAMP, rel=0.2)
    assert (model.thresholds[1] <= responses.amax((0, 1)) + 1e-4).all()
    features = model(values)
    assert 0 <= features.min() < features.max() <= 1


def test_a_padded_series_gives_what_it_gives_alone():
    padding = torch.arange(40) >= torch.tensor([[40], [7], [1], [23], [39]])
    model, values = drawn(padding=padding)
    values = values.masked_fill(padding.unsqueeze(-1), 0.0)
    together = model(values, padding)
    for case in range(5):
        length = int((~padding[case]).sum())
        torch.testing.assert_close(model(values[case : case + 1, :length]), together[case : case + 1])


def test_thresholds_are_not_drawn_from_padding():
    padding = torch.zeros(5, 40, dtype=torch.bool)
    padding[:, 10:] = True
    values = torch.ones(5, 40, 1).masked_fill(padding.unsqueeze(-1), 0.0) * torch.arange(1.0, 41).view(
        1, 40, 1
    )
    model = RandomConvolutions(1, 40, 6)
    model.draw(values, padding, torch.Generator().manual_seed(0))
    inside = windows(values, 1)[:, :10] @ model.weights[0]
    difference = (inside.flatten(0, 1).unsqueeze(1) - model.thresholds[0]).abs().amin(0)
    assert difference.max() < 1e-4


def test_constant_series_give_finite_features():
    model = RandomConvolutions(2, 12, 8)
    model.draw(torch.zeros(3, 12, 2), None, torch.Generator().manual_seed(0))
    assert (model.weights == 0).all()
    assert model(torch.randn(3, 12, 2)).isfinite().all()


def test_the_draw_follows_from_the_generator_alone():
    first, again, other = (drawn(seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first.weights, again.weights)
    assert torch.equal(first.thresholds, again.thresholds)
    assert not torch.equal(first.weights, other.weights)


def test_kernels_read_few_channels_as_often_as_many():
    model, _ = drawn(channels=7, kernels=3000, length=9)
    read = (model.weights[0].view(7, TAPS, -1).abs().sum(1) > 0).sum(0)
    shares = torch.bincount(read, minlength=8) / 3000
    assert shares[0] == 0
    assert shares[1] == pytest.approx(1 / 3, abs=0.04)  # log(2) / log(8)
    assert shares[4:].sum() == pytest.approx(1 / 3, abs=0.04)


@pytest.mark.parametrize(
    ("length", "expected"), [(1, (1,)), (8, (1,)), (9, (1,)), (17, (1, 2)), (206, (1, 2, 4, 8, 16))]
)
def test_dilations_fit_the_length(length, expected):
    assert dilations(length) == expected


def test_gradients_reach_the_series():
    model, values = drawn()
    values.requires_grad_()
    model(values).sum().backward()
    assert values.grad.isfinite().all()
    assert (values.grad != 0).any()
