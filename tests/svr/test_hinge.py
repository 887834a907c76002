"""Classifiers against their definition, scikit-learn's SVC and an independent solver of quadratic programs."""

import clarabel
import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.svm import SVC
from torch.testing import assert_close

import primaldual as pdl
from primaldual.errors import ArgumentError, CheckpointError, UnsupportedError
from primaldual.svr.hinge import HingeExpansion
from tests.svr.helpers import dense_kernel, table

SPECS = ("softmax", "bn", "linear", "constant", "linear+constant")


def labelled(length=40, outputs=2, seed=0, share=0.5):
    keys, targets = table(length, 3, outputs, seed)
    return keys, torch.where(targets > targets.quantile(1 - share, dim=0), 1.0, -1.0).double()


def quadratic_program(kernel, labels, penalties, intercept):
    """max over a of sum a - 1/2 a'Qa, Q_ij = y_i K_ij y_j, 0 <= a <= C, y'a = 0, as it stands in textbooks."""
    size = len(labels)
    unit = np.trace(kernel) / size
    matrix = sparse.triu(sparse.csc_matrix(labels[:, None] * kernel * labels / unit)).tocsc()
    rows, bounds, cones = [], [], []
    if intercept:
        rows.append(sparse.csc_matrix(labels[None]))
        bounds.append(np.zeros(1))
        cones.append(clarabel.ZeroConeT(1))
    rows += [sparse.eye(size), -sparse.eye(size)]
    bounds += [penalties * unit, np.zeros(size)]
    cones.append(clarabel.NonnegativeConeT(2 * size))
    options = clarabel.DefaultSettings()
    options.verbose = False
    options.tol_gap_rel = options.tol_gap_abs = options.tol_feas = 1e-12
    stacked = sparse.vstack(rows).tocsc()
    solver = clarabel.DefaultSolver(matrix, -np.ones(size), stacked, np.concatenate(bounds), cones, options)
    return np.array(solver.solve().x) / unit


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("factor", [0.01, 1.0, 1000.0])
@pytest.mark.parametrize("spec", SPECS)
def test_objectives_by_definition(spec, factor, intercept):
    keys, labels = labelled()
    penalty = factor / pdl.kernel_scale(spec, keys)
    solution = pdl.solve(spec, keys, labels, penalty, loss="hinge", intercept=intercept)
    kernel, h = dense_kernel(spec, keys)
    assert solution.duality_gap <= 1e-6
    for output in range(2):
        own, beta = labels[:, output], solution.coefficients[:, output]
        dual = own * beta
        assert (dual >= 0).all()
        assert (dual <= penalty).all()
        decision = kernel @ beta + solution.intercept[output]
        norm = float(beta @ kernel @ beta)
        primal = norm / 2 + penalty * float((1 - own * decision).clamp(min=0).sum())
        assert_close(float(solution.primal_objective[output]), primal, rtol=1e-7, atol=0)
        value = float(dual.sum()) - norm / 2
        assert_close(float(solution.dual_objective[output]), value, rtol=2e-6, atol=0)
        assert_close(solution.fitted[:, output], decision)
        assert_close(solution.predict(keys)[:, output], decision)
        assert_close(solution.values[:, output], beta / h)
        if intercept:
            assert abs(float(beta.sum())) <= 1e-10 * penalty * len(keys)
        else:
            assert solution.intercept[output] == 0


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("spec", ["softmax", "bn"])
def test_decisions_of_scikit_learn(spec, weighted, share):
    keys, labels = labelled(60, 1, share=share)
    scale = pdl.kernel_scale(spec, keys)
    weights = torch.rand(60, dtype=torch.float64) + 0.5 if weighted else None
    solution = pdl.solve(spec, keys, labels, 3 / scale, loss="hinge", weights=weights, tolerance=1e-9)
    kernel = dense_kernel(spec, keys)[0].numpy() / scale
    other = SVC(C=3, kernel="precomputed", tol=1e-6)  # its kernel has single precision
    other.fit(kernel, labels[:, 0].numpy(), None if weights is None else weights.numpy())
    assert_close(
        solution.predict(keys)[:, 0], torch.from_numpy(other.decision_function(kernel)), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("spec", ["softmax", "bn"])
def test_coefficients_of_an_independent_solver(spec, intercept):
    keys, labels = labelled(50, 1)
    penalty = 10 / pdl.kernel_scale(spec, keys)
    weights = torch.linspace(0.5, 2, 50, dtype=torch.float64)
    solution = pdl.solve(
        spec, keys, labels, penalty, loss="hinge", intercept=intercept, weights=weights, tolerance=1e-11
    )
    kernel, _ = dense_kernel(spec, keys)
    found = quadratic_program(kernel.numpy(), labels[:, 0].numpy(), penalty * weights.numpy(), intercept)
    wanted = labels[:, 0] * torch.from_numpy(found)
    assert_close(solution.coefficients[:, 0] / penalty, wanted / penalty, rtol=0, atol=1e-6)


def test_margins_beyond_the_first_tube():
    """A point far out has a margin of many times that of the others, so that a narrow tube would pull it back."""
    keys = torch.tensor([[-1.0], [1.0], [100.0], [-2.0]], dtype=torch.float64)
    solution = pdl.solve(
        pdl.derive(lambda x: x, normalizer="constant"), keys, keys.sign(), 100.0, loss="hinge"
    )
    assert_close(solution.fitted, keys, rtol=1e-5, atol=1e-5)
    assert solution.duality_gap <= 1e-6
    assert_close(solution.primal_objective, torch.tensor([0.5], dtype=torch.float64), rtol=1e-6, atol=0)
    assert (solution.coefficients[2:] == 0).all()


def test_heads_batches_and_masks_are_solved_as_if_alone():
    keys, labels = labelled(30, 2)
    stacked = keys * torch.tensor([1.0, 0.5, 2.0, 1.5], dtype=torch.float64).view(2, 2, 1, 1)
    mask = (torch.arange(30) < torch.tensor([[30], [25]])).unsqueeze(1)
    targets = labels.expand(2, 2, -1, -1).clone()
    targets[1, :, 25:] = torch.nan
    solution = pdl.solve("softmax", stacked, targets, 1e3, loss="hinge", mask=mask, tolerance=1e-9)
    for batch, count in ((0, 30), (1, 25)):
        for head in range(2):
            alone = pdl.solve(
                "softmax", stacked[batch, head, :count], labels[:count], 1e3, loss="hinge", tolerance=1e-9
            )
            assert_close(solution.coefficients[batch, head, :count], alone.coefficients, rtol=1e-4, atol=0.02)
            assert_close(solution.primal_objective[batch, head], alone.primal_objective, rtol=1e-8, atol=0)
    assert (solution.coefficients[1, :, 25:] == 0).all()


def test_path_and_start():
    keys, labels = labelled()
    path = pdl.solve_path("softmax", keys, labels, [1e2, 1e3, 1e4], loss="hinge")
    for penalty, solution in zip((1e2, 1e3, 1e4), path, strict=True):
        alone = pdl.solve("softmax", keys, labels, penalty, loss="hinge", start=path[0])
        assert_close(solution.primal_objective, alone.primal_objective, rtol=1e-5, atol=0)


def test_single_precision():
    keys, labels = labelled()
    penalty = 1 / pdl.kernel_scale("bn", keys)
    found = pdl.solve("bn", keys, labels, penalty, loss="hinge", dtype=torch.float32, tolerance=1e-3)
    wanted = pdl.solve("bn", keys, labels, penalty, loss="hinge")
    assert_close(found.primal_objective.double(), wanted.primal_objective, rtol=1e-3, atol=0)


def test_printed_and_saved(tmp_path):
    keys, labels = labelled()
    solution = pdl.solve("bn", keys, labels, 1e3, loss="hinge")
    lines = dict(line.split(maxsplit=1) for line in str(solution).splitlines())
    assert lines["loss"] == "hinge"
    assert lines["C"] == "1000"
    assert "epsilon" not in str(solution)
    assert repr(solution).startswith("HingeExpansion('bn', keys=(40, 3)")
    solution.save(tmp_path / "one")
    read = HingeExpansion.load(tmp_path / "one")
    assert_close(read.predict(keys), solution.predict(keys), rtol=0, atol=0)
    with pytest.raises(CheckpointError, match="'primaldual expansion 1' is accepted"):
        pdl.SupportVectorExpansion.load(tmp_path / "one")


def test_bad_input():
    keys, labels = labelled()
    with pytest.raises(ArgumentError, match=r"labels -1 and 1 for loss='hinge'; got 0 in row 0"):
        pdl.solve("bn", keys, (labels + 1) / 2 * (labels > 0) - 0.0 * labels, loss="hinge")
    with pytest.raises(ArgumentError, match="labels -1 and 1"):
        pdl.solve("bn", keys, labels * 2, loss="hinge")
    single = labels.clone()
    single[:, 1] = -1
    with pytest.raises(ArgumentError, match=r"both labels, .* got -1 alone in output 1 of head 0"):
        pdl.solve("bn", keys, single, loss="hinge")
    with pytest.raises(ArgumentError, match="got 1 alone"):
        pdl.solve("bn", keys, labels, loss="hinge", mask=labels[:, 0] > 0)
    with pytest.raises(ArgumentError, match="epsilon must be None for loss='hinge'"):
        pdl.solve("bn", keys, labels, 1.0, 0.1, loss="hinge")
    with pytest.raises(ArgumentError, match="loss must be one of epsilon_insensitive, hinge; got 'logistic'"):
        pdl.solve("bn", keys, labels, loss="logistic")
    with pytest.raises(UnsupportedError, match=r"'sh\(2\)' pools pairs"):
        pdl.solve("sh(2)", keys, labels, loss="hinge")
    with pytest.raises(ArgumentError, match="loss must be left out for ridge"):
        pdl.solve("dot+constant+ridge(1)", keys, labels, loss="hinge")
    with pytest.raises(ArgumentError, match="epsilon must be None for ridge"):
        pdl.solve("dot+constant+ridge(1)", keys, labels, epsilon=0.1)
