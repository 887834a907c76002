"""Inner products and cosines against sums written out."""

import pytest
import torch
from torch.nn.functional import cosine_similarity
from torch.testing import assert_close

from primaldual import Polynomial, preset
from primaldual.errors import ArgumentError


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


def test_powers_of_inner_products():
    query, key, value = tensors()
    weights = torch.einsum("bhid,bhjd->bhij", query, key) ** 3
    problem = preset("polynomial(3)+constant")
    assert problem.explain((2, 2, 200, 5)).forms == ["factored"]
    for form in ("attend", "dense"):
        assert_close(getattr(problem, form)(query, key, value), weights @ value)
    squares = (query @ key.mT).square()
    assert_close(
        preset("polynomial(2)").attend(query, key, value), squares @ value / squares.sum(-1, keepdim=True)
    )
    assert_close(
        preset("polynomial(1)+constant").attend(query, key, value),
        preset("dot+constant").attend(query, key, value),
    )


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("is_causal", [False, True])
def test_features_have_the_power_for_their_inner_product(degree, is_causal):
    tensors = torch.randn(3, 1, 2, 40, 3, generator=torch.Generator().manual_seed(0)).double().unbind(0)
    feature_map, problem = Polynomial(degree), preset(f"polynomial({degree})+constant")
    features = [feature_map.features(each) for each in tensors[:2]]
    assert features[0].shape[-1] == feature_map.feature_count(3)
    assert_close(features[0] @ features[1].mT, (tensors[0] @ tensors[1].mT) ** degree)
    assert problem.explain((1, 2, 40, 3), is_causal=is_causal).forms == ["factored"]
    assert_close(problem.attend(*tensors, is_causal=is_causal), problem.dense(*tensors, is_causal=is_causal))


@pytest.mark.parametrize("degree", [0, 17, 1.5])
def test_a_degree_is_a_whole_number_from_1_on(degree):
    with pytest.raises(ArgumentError, match="degree"):
        Polynomial(degree)
