"""Inner products and cosines against sums written out."""

import torch
from torch.nn.functional import cosine_similarity
from torch.testing import assert_close

from primaldual import preset


def tensors():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 2, 2, 7, 5, generator=generator).double().unbind(0)


def test_dot_is_the_sum_of_outer_products():
    query, key, value = tensors()
    state = torch.einsum("bhnd,bhne->bhde", key, value)
    assert_close(preset("dot+constant").attend(query, key, value), query @ state)
    rows = [query[:, :, i : i + 1] @ key[:, :, : i + 1].mT @ value[:, :, : i + 1] for i in range(7)]
    assert_close(preset("dot+constant").attend(query, key, value, is_causal=True), torch.cat(rows, 2))


def test_cosine():
    query, key, value = tensors()
    weights = cosine_similarity(query.unsqueeze(3), key.unsqueeze(2), -1)
    assert_close(preset("cosine+constant").weights(query, key), weights)
    assert_close(preset("cosine+constant").attend(100 * query, key / 100, value), weights @ value)


def test_an_input_of_0_has_the_kernel_0_and_finite_gradients():
    query, key, value = (tensor.clone().requires_grad_() for tensor in tensors())
    zero = torch.zeros_like(key, requires_grad=True)
    for form in ("attend", "dense"):
        out = getattr(preset("cosine+constant"), form)(query, zero, value)
        assert (out == 0).all()
        assert torch.autograd.grad(out.sum(), zero)[0].isfinite().all()
