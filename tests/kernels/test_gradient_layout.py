"""What a backward is given lies as what its forward gave."""

import torch

from primaldual.kernels.gradient_layout import _LaidOut, gradient_laid_out, laid_out_as


class Watched(torch.autograd.Function):
    """Doubles, heads last in memory, and keeps the gradient that it is given."""

    @staticmethod
    def forward(ctx, inputs):
        return (2 * inputs).transpose(1, 2).contiguous().transpose(1, 2)

    @staticmethod
    def backward(ctx, gradient):
        Watched.given = gradient
        return 2 * gradient


def test_gradients_of_any_layout_arrive_in_the_layout_of_the_output():
    inputs = torch.randn(2, 3, 4, 5, requires_grad=True)
    gradients = (
        torch.randn(2, 3, 4, 5),
        torch.randn(2, 4, 3, 5).transpose(1, 2),
        torch.ones(()).expand(2, 3, 4, 5),
    )
    for gradient in gradients:
        out = _LaidOut.apply(Watched.apply(inputs))
        (found,) = torch.autograd.grad(out, inputs, gradient)
        assert Watched.given.stride() == out.stride()
        assert torch.equal(found, 2 * gradient)


def test_a_layout_that_fits_is_not_copied():
    gradient = torch.randn(2, 3)
    assert laid_out_as(gradient, torch.zeros(2, 3)) is gradient


def test_other_devices_need_nothing():
    output = torch.randn(2, 3, requires_grad=True) * 1
    assert gradient_laid_out(output) is output


def test_a_second_derivative_passes():
    inputs = torch.randn(1, 2, 3, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda tensor: _LaidOut.apply(tensor.transpose(1, 2)).sin(), inputs)
