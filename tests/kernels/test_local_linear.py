"""The kernel of local linear attention against formulas typed out, and its gradients against finite differences."""

import pytest
import torch
from torch.testing import assert_close

from primaldual.errors import UnsupportedError
from primaldual.kernels.local_linear import Slopes, local_linear_attention

ROWS, LENGTH, WIDTH = 4, 6, 3


def tensors(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = [(ROWS, WIDTH), (LENGTH, WIDTH), (LENGTH, 2), (ROWS, LENGTH), (ROWS, WIDTH)]
    return [torch.randn(2, *shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


VALID = torch.tensor([[1, 1, 0, 1, 1, 1], [1, 0, 1, 1, 0, 1], [0] * 6, [1] * 6]).bool()[None]


@pytest.mark.parametrize("valid", [None, VALID, VALID[:, :2, -2:].repeat(1, 2, 1)])
@pytest.mark.parametrize("ridge", [None, 0.5])
@pytest.mark.parametrize("dropout_p", [0.0, 0.4])
def test_gradients_are_those_of_finite_differences(valid, ridge, dropout_p):
    query, key, value, bias, probe = tensors()

    def attend(query, key, value, bias, probe):
        torch.manual_seed(0)
        slopes = Slopes(0.7, valid, ridge, dropout_p)
        return local_linear_attention(query, key, value, slopes, bias, None if ridge else probe)

    torch.autograd.gradcheck(attend, (query, key, value, bias, probe), fast_mode=True)


def test_weights_are_dropped_after_they_are_tilted():
    """Of values that are rows of the identity the output is the weights themselves."""
    query, key, _, bias, probe = tensors()
    value = torch.eye(LENGTH, dtype=torch.float64).expand(2, -1, -1)
    plain = local_linear_attention(query, key, value, Slopes(0.7, None, None, 0.0), bias, probe)
    torch.manual_seed(1)
    dropped = local_linear_attention(query, key, value, Slopes(0.7, None, None, 0.5), bias, probe)
    kept = dropped != 0
    assert 0 < kept.double().mean() < 1
    assert_close(dropped, torch.where(kept, 2 * plain, 0.0))


def test_second_derivatives_are_refused():
    query, key, value, bias, probe = tensors()
    out = local_linear_attention(query, key, value, Slopes(1.0, None, None, 0.0), bias, probe)
    with pytest.raises(UnsupportedError, match="differentiated once"):
        torch.autograd.grad(out.sum(), query, create_graph=True)
