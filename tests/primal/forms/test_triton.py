"""The forms of NVIDIA GPUs behind ``attend``, in Triton's interpreter where there is no GPU."""

import copy

import pytest
import torch
from tests.quick import one_in

from primaldual import PrimalProblem, preset
from primaldual.errors import ShapeError, UnsupportedError
from primaldual.kernels.gpu import availability
from primaldual.primal.pooled_heads import PooledHeads

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HALF = torch.float16  # the interpreter does not multiply bfloat16
CASES = {
    ("bn", False): "normalized by Triton",
    ("bn(beta=0.5,learnable=true)", False): "normalized by Triton",
    ("bn(gain=0.2)", False): "normalized by Triton",
    ("sh(1,2,3,4)", False): "all scales by Triton",
    ("sh(1,2,4,8)", True): "all scales by Triton",
    ("sh(2)", True): "all scales by Triton",
    ("bn+sh(1,1,3,8)", False): "all scales by Triton",
    ("bn(gain=0.2)+sh(1,1,3,8)", False): "all scales by Triton",
    ("sh(1,2,3,4,grid=5x9)", False): "all scales by Triton",
    ("sh(1,2,3,4,prefix=2)", False): "all scales by Triton",
    ("bn+sh(3,3,2,2,grid=4x11,prefix=1)", False): "all scales by Triton",
    ("bn+sh(1,1,1,1,prefix=1)", False): "normalized by Triton",
    ("window(5)", False): "window by Triton",
    ("window(5)", True): "window by Triton",
}


@pytest.fixture
def available(monkeypatch):
    monkeypatch.setattr(availability, "available", lambda device: True)


def inputs(dtype=HALF, length=45):
    torch.manual_seed(0)
    return [torch.randn(2, length, 4, 8).to(DEVICE, dtype).transpose(1, 2).requires_grad_() for _ in range(3)]


def with_gradients(attend, tensors, learned, is_causal):
    out = attend(*tensors, is_causal=is_causal)
    return out, *torch.autograd.grad(out.sin().sum(), [*tensors, *learned])


@pytest.mark.usefixtures("available")
@pytest.mark.parametrize(("spec", "is_causal"), one_in(2, CASES))
def test_digits_are_those_of_the_definition_in_the_same_type(spec, is_causal):
    problem = preset(spec).bind(4, 8).to(DEVICE)
    tensors = inputs()
    explanation = problem.explain(tensors[0].shape, is_causal=is_causal, dtype=HALF, device=DEVICE)
    assert explanation.forms == [CASES[spec, is_causal]]
    exact = copy.deepcopy(problem).double()
    wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
    wanted = with_gradients(exact.dense, wide, list(exact.parameters()), is_causal)
    plain = with_gradients(problem.dense, tensors, list(problem.parameters()), is_causal)
    found = with_gradients(problem.attend, tensors, list(problem.parameters()), is_causal)
    for got, own, wish in zip(found, plain, wanted, strict=True):
        assert (got.double() - wish).norm() <= 2 * (own.double() - wish).norm() + 1e-3 * wish.norm()


@pytest.mark.usefixtures("available")
@pytest.mark.parametrize(
    ("spec", "is_causal", "dtype", "why"),
    [
        ("bn", False, torch.float32, "serves bfloat16 and float16"),
        ("bn", True, HALF, "leaves the range of float16 under a causal mask"),
        ("bn+sh(1,1,2,4)", True, HALF, "leaves the range of float16 under a causal mask"),
        ("bn+sh(1,1,2,3)", True, torch.bfloat16, "windows whose length divides 64"),
        ("sh(1,2,3,4)", True, HALF, "needs as many queries as keys and windows whose length divides 64"),
        ("sh(1,2,3,4,suffix=1)", False, HALF, "needs pairs that are means over windows, each counted once"),
        (
            "sh(1,2,3,4,weighted=true)",
            False,
            HALF,
            "needs pairs that are means over windows, each counted once",
        ),
        ("sh(1,2,4,8,prefix=1)", True, HALF, "needs windows from the first position on, of a sequence"),
        ("sh(1,2,4,8,grid=5x9)", True, HALF, "needs windows from the first position on, of a sequence"),
        ("window(5)+bn", False, HALF, "needs no transform"),
    ],
)
def test_what_is_not_served_is_said(spec, is_causal, dtype, why):
    explanation = (
        preset(spec).bind(4, 8).explain((2, 4, 45, 8), is_causal=is_causal, dtype=dtype, device="cuda")
    )
    assert not any("by Triton" in form for form in explanation.forms)
    assert any(why in reason for part in explanation.served for reason in part.refusals.values())


@pytest.mark.usefixtures("available")
def test_pools_of_a_subclass_with_members_of_its_own_are_not_taken_for_windows():
    class Elsewhere(PooledHeads):
        def membership(self, heads, allowed):
            return super().membership(heads, allowed).roll(1, -1)

    explanation = PrimalProblem(subset=Elsewhere(2)).explain((2, 4, 45, 8), dtype=HALF, device="cuda")
    assert not any("by Triton" in form for form in explanation.forms)
    assert "needs pairs that are means over windows" in str(explanation)


@pytest.mark.usefixtures("available")
@pytest.mark.parametrize("length", [45, 47])
def test_sequences_of_another_length_than_the_grid_are_refused(length):
    problem = preset("sh(1,2,2,3,grid=5x9,prefix=1)").bind(4, 8)
    with pytest.raises(ShapeError, match=f"grid 5x9 with prefix 1 needs 46 positions; got {length}"):
        problem.attend(*inputs(length=length))


@pytest.mark.usefixtures("available")
def test_heads_that_share_keys_are_served():
    problem, (query, key, value) = preset("sh(2)"), inputs()
    shared = problem.attend(query, key[:, :2], value[:, :2])
    repeated = [tensor[:, :2].repeat_interleave(2, 1) for tensor in (key, value)]
    torch.testing.assert_close(shared, problem.attend(query, *repeated), rtol=1e-2, atol=1e-3)


@pytest.mark.usefixtures("available")
@pytest.mark.parametrize(
    ("spec", "is_causal", "by_head"),
    [("bn", False, False), ("bn+sh(1,1,2,4)", False, True), ("window(5)", True, False)],
)
def test_keys_that_do_not_count_have_no_part(spec, is_causal, by_head):
    problem, tensors = preset(spec).bind(4, 8).to(DEVICE), inputs(length=20)
    mask = torch.ones(2, 4 if by_head else 1, 1, 20, dtype=torch.bool, device=DEVICE)
    mask[0, 0, :, :7] = False
    mask[1, -1, :, 12:] = False
    forms = problem.explain(tensors[0].shape, mask=mask, is_causal=is_causal, dtype=HALF, device=DEVICE).forms
    assert all("by Triton" in form for form in forms)
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    gradient = torch.randn(tensors[0].shape, device=DEVICE, dtype=HALF)
    results = []
    for attend, leaves in ((problem.attend, tensors), (problem.dense, tensors), (problem.dense, exact)):
        out = attend(*leaves, mask=mask, is_causal=is_causal)
        results.append((out, *torch.autograd.grad(out, leaves, gradient.to(out.dtype))))
    for got, own, wish in zip(*results, strict=True):
        assert (got.double() - wish).norm() <= 2 * (own.double() - wish).norm() + 1e-3 * wish.norm()


@pytest.mark.usefixtures("available")
@pytest.mark.parametrize("spec", ["bn", "sh(1,1,2,4)"])
def test_masked_keys_of_causal_statistics_and_own_windows_are_not_served(spec):
    mask = torch.ones(2, 1, 1, 45, dtype=torch.bool)
    explanation = preset(spec).explain(
        (2, 4, 45, 64), mask=mask, is_causal=True, dtype=torch.bfloat16, device="cuda"
    )
    assert not any("by Triton" in form for form in explanation.forms)
    assert "needs every key to count under a causal mask" in str(explanation)


@pytest.mark.usefixtures("available")
def test_second_derivatives_are_refused():
    tensors = inputs()
    out = preset("sh(1,2,4,8)").attend(*tensors)
    with pytest.raises(UnsupportedError, match="create_graph"):
        torch.autograd.grad(out.sum(), tensors, create_graph=True)
