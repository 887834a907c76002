"""The delta rule in chunks against a loop over tokens."""

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from primaldual.kernels import delta_rule as kernel


def delta_rule(*inputs):
    return kernel.delta_rule(*inputs)[0]


def tensors(length, count=5, width=4):
    generator = torch.Generator().manual_seed(length)

    def draw(*shape):
        return torch.randn(2, 3, *shape, generator=generator, dtype=torch.float64)

    key, rate = normalize(draw(length, count), dim=-1), 2 * draw(length).sigmoid()
    sums = -draw(length).abs().cumsum(-1)
    return [x.requires_grad_() for x in (draw(length, count), key, draw(length, width), rate, sums)]


def loop(query, key, value, rate, sums=None):
    weights, out = value.new_zeros(*value.shape[:2], value.shape[3], key.shape[3]), []
    for t in range(key.shape[2]):
        if sums is not None:
            weights = weights * (sums[:, :, t] - (sums[:, :, t - 1] if t else 0)).exp()[..., None, None]
        error = value[:, :, t] - (weights @ key[:, :, t, :, None])[..., 0]
        weights = weights + rate[:, :, t, None, None] * error[..., None] * key[:, :, t, None]
        out.append((weights @ query[:, :, t, :, None])[..., 0])
    return torch.stack(out, 2)


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize("length", [1, 63, 64, 65, 130])
def test_it_equals_a_loop(length, forgets):
    inputs = tensors(length)[: 5 if forgets else 4]
    found, wanted = delta_rule(*inputs), loop(*inputs)
    assert_close(found, wanted, rtol=1e-9, atol=1e-11)
    seed = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for one, other in zip(*(torch.autograd.grad(out, inputs, seed) for out in (found, wanted)), strict=True):
        assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_last_queries_alone():
    query, key, value, rate, sums = tensors(130)
    found = delta_rule(query[:, :, -3:], key, value, rate, sums)
    assert_close(found, loop(query, key, value, rate, sums)[:, :, -3:])


def test_float32_keeps_its_digits_and_old_tokens_are_forgotten_without_a_nan():
    query, key, value, rate, sums = (x.detach() for x in tensors(2000, count=16))
    exact = delta_rule(query, key, value, rate, 50 * sums)
    low = delta_rule(*(x.float() for x in (query, key, value, rate)), 50 * sums)
    assert (low - exact).norm() < 1e-5 * exact.norm()
    plain = delta_rule(query, key, value, rate)
    low = delta_rule(*(x.float() for x in (query, key, value, rate)))
    assert (low - plain).norm() < 1e-5 * plain.norm()


def test_a_state_goes_on():
    inputs = [x.detach() for x in tensors(100)[:4]]
    whole, last = kernel.delta_rule(*inputs)
    first, state = kernel.delta_rule(*(x[:, :, :37] for x in inputs))
    second, end = kernel.delta_rule(*(x[:, :, 37:] for x in inputs), state=state)
    assert_close(torch.cat([first, second], 2), whole)
    assert_close(end, last)
