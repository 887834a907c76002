"""Numbers of extreme size, and everything that once came back as solved and was not."""

import dataclasses

import pytest
import torch
from torch.testing import assert_close

import primaldual as pdl
from primaldual.errors import ArgumentError, CheckpointError, ConvergenceError, UnsupportedError
from tests.svr.helpers import table


def test_a_gap_that_is_no_number_is_not_solved():
    keys, targets = table()
    with pytest.raises(ConvergenceError, match="gap nan"):
        pdl.solve(
            "softmax", keys, 1e20 * targets, 1e20 / pdl.kernel_scale("softmax", keys), 1e19,
            dtype=torch.float32, tolerance=1e-3,
        )  # fmt: skip


@pytest.mark.parametrize(("factor", "penalty"), [(1e30, 1e-300), (1e-10, 1e308)])
def test_penalties_and_targets_that_do_not_go_together(factor, penalty):
    keys, targets = table()
    with pytest.raises(ArgumentError, match="C and targets must be of sizes"):
        pdl.solve("softmax", keys, factor * targets, penalty, 0.0)


def test_a_start_that_is_not_finite_is_refused():
    keys, targets = table()
    solution = pdl.solve("softmax", keys, targets)
    spoiled = dataclasses.replace(solution, coefficients=solution.coefficients * torch.nan)
    with pytest.raises(ArgumentError, match="start has coefficients that are not finite"):
        pdl.solve("softmax", keys, targets, start=spoiled)


@pytest.mark.parametrize("heads", [None, 3])
@pytest.mark.parametrize("spec", ["softmax", "linear"])
def test_a_solution_as_start_is_done_in_every_form(spec, heads):
    keys, targets = table(60, 5)
    if heads:
        keys, targets = torch.stack([keys] * heads), torch.stack([targets] * heads)
    solution = pdl.solve(spec, keys, targets, 100.0)
    pdl.solve(spec, keys, targets, 100.0, start=solution, progress=lambda *report: pytest.fail("worked"))


def one_sided(query, key):
    return (-torch.cdist(query, key).square()).exp() * (query[..., :1] >= key[..., :1].mT)


def test_a_kernel_that_is_not_symmetric_is_refused():
    keys, targets = table()
    problem = pdl.derive(feature_map=one_sided, normalizer="constant")
    with pytest.raises(ArgumentError, match="not symmetric"):
        pdl.solve(problem, keys[keys[:, 0].argsort()], targets)


@pytest.mark.parametrize("offset", [0.0, 1e5, 3e6])
def test_keys_far_from_the_origin(offset):
    keys, targets = table()
    scale = pdl.kernel_scale("linear+constant", keys + 10)
    assert_close(pdl.kernel_scale("linear+constant", keys + 10 + offset), scale, rtol=1e-6, atol=0)
    near, far = (
        pdl.solve("linear+constant", keys + 10 + shift, targets, 10 / scale) for shift in (0.0, offset)
    )
    assert_close(far.primal_objective, near.primal_objective, rtol=3e-6, atol=0)
    assert_close(far.fitted, near.fitted, rtol=0, atol=1e-2)


def test_targets_far_from_zero():
    keys, targets = table()
    penalty = 10 / pdl.kernel_scale("softmax", keys)
    near, far = (pdl.solve("softmax", keys, targets + shift, penalty) for shift in (0.0, 1e9))
    assert_close(far.fitted - 1e9, near.fitted, rtol=0, atol=2e-3)
    assert_close(far.predict(keys), far.fitted, rtol=1e-12, atol=0)


def test_a_kernel_that_underflows_has_no_scale():
    with pytest.raises(ArgumentError, match="kernel over h that is 0"):
        pdl.kernel_scale("softmax", 1e3 * table()[0])


@pytest.mark.parametrize("epsilon", [0.999, 0.9999, 1.0])
@pytest.mark.parametrize("spec", ["linear", "linear+constant", "softmax"])
def test_tubes_as_wide_as_the_targets(spec, epsilon):
    keys, _ = table(150, 2)
    targets = torch.linspace(-1, 1, 150, dtype=torch.float64).unsqueeze(-1).flip(0)
    assert pdl.solve(spec, keys, targets, 1 / pdl.kernel_scale(spec, keys), epsilon).duality_gap <= 1e-6


@pytest.mark.parametrize("spec", ["linear", "random(8)"])
def test_nearly_equal_keys_without_intercept(spec):
    for seed in range(4):
        keys, targets = table(60, 2, 1, seed)
        penalty = 1000 / pdl.kernel_scale(spec, 0.01 * keys)
        found = pdl.solve(spec, 0.01 * keys, targets.round(), penalty, 0.0, intercept=False)
        assert found.duality_gap <= 1e-6


def test_memory_is_counted_before_anything_is_made():
    keys, targets = torch.zeros(10**6, 2), torch.zeros(10**6, 1)
    for spec in ("softmax", "sh(2)", "linear+sh(2)"):
        with pytest.raises(UnsupportedError, match="GiB"):
            pdl.solve(spec, keys, targets)


def test_a_solution_is_apart_from_what_was_given_and_from_later_training():
    keys, targets = (torch.stack([tensor, tensor]) for tensor in table())
    problem = pdl.preset("bn(learnable=true)").bind(2, 3).double()
    mask, penalty = torch.ones(40, dtype=torch.bool), torch.full((2,), 1e4, dtype=torch.float64)
    mask[30:] = False
    solution = pdl.solve(problem, keys, targets, penalty, mask=mask)
    before = solution.predict(keys)
    mask[:10] = False
    penalty.zero_()
    with torch.no_grad():
        problem.transform.head_beta.fill_(9.0)
    assert_close(solution.predict(keys), before, rtol=0, atol=0)
    assert (solution.C == 1e4).all()


def test_arrays_lists_and_no_queries():
    keys, targets = table()
    assert pdl.kernel_scale("bn", keys.tolist()) == pdl.kernel_scale("bn", keys.numpy())
    assert pdl.solve("bn", keys, targets).predict(keys[:0]).shape == (0, 2)


@pytest.mark.parametrize("penalty", ["x", [None]])
def test_penalties_that_are_no_numbers(penalty):
    with pytest.raises(ArgumentError, match="C must be"):
        pdl.solve("bn", *table(), C=penalty)
    with pytest.raises(ArgumentError, match="at least one penalty"):
        pdl.solve_path("bn", *table(), C=[])


@pytest.mark.parametrize(
    ("metadata", "change", "words"),
    [
        ({"primaldual": "[1]"}, {}, "not a saved expansion"),
        ({}, {}, "not a saved expansion"),
        ({"primaldual": '{"format": "primaldual expansion 1"}'}, {}, "does not fit"),
        ({"primaldual": '{"format": "primaldual expansion 1", "attention": "words"}'}, {}, "does not fit"),
        (
            {"primaldual": '{"format": "primaldual expansion 1", "attention": "bn"}'},
            {"values": torch.zeros(7, 2)},
            "values has the shape|coefficients has the shape",
        ),
        (
            {"primaldual": '{"format": "primaldual expansion 1", "attention": "bn"}'},
            {"gap": None},
            "does not fit",
        ),
    ],
)
def test_files_that_hold_something_else(tmp_path, metadata, change, words):
    from safetensors.torch import load_file, save_file

    path = tmp_path / "solution"
    pdl.solve("bn", *table()).save(path)
    tensors = {name: tensor for name, tensor in {**load_file(path), **change}.items() if tensor is not None}
    save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match=words):
        pdl.SupportVectorExpansion.load(path)
