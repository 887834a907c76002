"""Ridge regression on prefixes against a solve for every position."""

import pytest
import torch
from torch.testing import assert_close

from primaldual.errors import ArgumentError
from primaldual.kernels.prefix_ridge import extended, plain_prefix_ridge, prefix_ridge


def tensors(length, group=1, count=5, width=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(length)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    root = torch.randn(2, 3, 7, count, generator=generator, dtype=torch.float64)
    moments = (root.mT @ root + torch.eye(count)).to(dtype).requires_grad_()
    return (
        draw(2, 3, group, length, count),
        draw(2, 3, length, count),
        draw(2, 3, length, width),
        moments,
        draw(2, 3, count, width),
    )


def row_by_row(query, key, value, moments, sums):
    all_moments = moments.unsqueeze(2) + (key.unsqueeze(-1) * key.unsqueeze(-2)).cumsum(2)
    all_sums = sums.unsqueeze(2) + (key.unsqueeze(-1) * value.unsqueeze(-2)).cumsum(2)
    return torch.einsum("bhgnf,bhnfd->bhgnd", query, torch.linalg.solve(all_moments, all_sums))


@pytest.mark.parametrize("form", [prefix_ridge, plain_prefix_ridge])
@pytest.mark.parametrize(("length", "group"), [(1, 1), (63, 2), (64, 1), (65, 3), (200, 1)])
def test_it_equals_a_solve_for_every_position(form, length, group):
    inputs = tensors(length, group)
    found, wanted = form(*inputs), row_by_row(*inputs)
    assert_close(found, wanted, rtol=1e-9, atol=1e-10)
    seed = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    pairs = zip(*(torch.autograd.grad(out, inputs, seed) for out in (found, wanted)), strict=True)
    for place, (one, other) in enumerate(pairs):
        symmetric = place == 3
        difference = one - other
        difference = difference + difference.mT if symmetric else difference
        assert difference.abs().max() < 1e-8 * (1 + other.abs().max())


def test_float32_keeps_its_digits_over_a_long_sequence():
    inputs = tensors(1000, count=16, dtype=torch.float32)
    found, wanted = prefix_ridge(*inputs), row_by_row(*(tensor.double() for tensor in inputs))
    assert (found - wanted).norm() < 1e-5 * wanted.norm()


def test_keys_one_after_the_other():
    _, key, value, moments, sums = (tensor.detach() for tensor in tensors(6))
    inverse, weights = moments.inverse(), moments.inverse() @ sums
    for place in range(6):
        *_, inverse, weights = extended(
            key[:, :, place : place + 1], value[:, :, place : place + 1], inverse, weights
        )
    assert_close(inverse, (moments + key.mT @ key).inverse())
    assert_close(weights, torch.linalg.solve(moments + key.mT @ key, sums + key.mT @ value))


def test_moments_that_have_no_inverse():
    query, key, value, moments, sums = tensors(5)
    for form in (prefix_ridge, plain_prefix_ridge):
        with pytest.raises(
            ArgumentError, match=r"must be positive definite in torch.float64; its smallest eigenvalue is -\d"
        ):
            form(query, key, value, -moments, sums)
        with pytest.raises(ArgumentError, match=r"must be finite in torch.float64; got 25 numbers"):
            form(query, key, value, moments * torch.inf, sums)
