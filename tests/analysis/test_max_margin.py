from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import torch
from examples.max_margin import draw_task, main, measure, train

from primaldual.analysis import head_matrix, margin_alignment, max_margin_direction
from primaldual.errors import ArgumentError, ShapeError
from primaldual.nn.multihead import MultiheadAttention

SIZES = [(1, 2, 3, 3), (3, 4, 5, 2), (6, 5, 4, 4), (8, 6, 10, 7)]
"""Cases, length, features, query features."""


def _problem(cases, length, features, query_features, seed=0):
    """Random tokens and queries; the best tokens are those of a hidden matrix, so that one exists."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(cases, length, features, generator=generator, dtype=torch.float64)
    queries = torch.randn(cases, query_features, generator=generator, dtype=torch.float64)
    hidden = torch.randn(features, query_features, generator=generator, dtype=torch.float64)
    return tokens, queries, _scores(tokens, hidden, queries).argmax(1)


def _scores(tokens, matrix, queries):
    return torch.einsum("ntd,de,ne->nt", tokens, matrix, queries)


def _one_case(*differences):
    """Tokens of one case whose first is the best and lies ahead of the others by ``differences``."""
    return -torch.tensor([[(0.0, 0.0), *differences]]), torch.ones(1, 1), torch.tensor([0])


def test_one_constraint_by_hand():
    found = max_margin_direction(torch.tensor([[[1.0, 1], [4, 5]]]), torch.tensor([[2.0]]), torch.tensor([1]))
    torch.testing.assert_close(found.direction, torch.tensor([[0.06], [0.08]], dtype=torch.float64))
    assert found.margin == pytest.approx(10)
    assert found.support.tolist() == [[True, False]]
    assert found.multipliers[0].tolist() == pytest.approx([0.01, 0])


def test_a_token_that_is_far_behind_is_no_support():
    found = max_margin_direction(*_one_case((1.0, 0.0), (3.0, 3.0), (0.0, 1.0)))
    assert found.direction.flatten().tolist() == pytest.approx([1, 1])
    assert found.support.tolist() == [[False, True, False, True]]
    assert found.multipliers[0].tolist() == pytest.approx([0, 1, 0, 1])
    assert found.margin == pytest.approx(1 / math.sqrt(2))


def test_a_constraint_can_be_tight_without_a_multiplier_being_needed():
    found = max_margin_direction(*_one_case((1.0, 0.0), (0.0, 1.0), (0.5, 0.5)))
    assert found.direction.flatten().tolist() == pytest.approx([1, 1])
    assert found.support.tolist() == [[False, True, True, True]]


def test_an_obtuse_angle_between_constraints_thins_the_margin():
    found = max_margin_direction(*_one_case((1.0, 0.1), (-1.0, 0.1)))
    assert found.direction.flatten().tolist() == pytest.approx([0, 10])
    assert found.margin == pytest.approx(0.1)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_the_conditions_of_optimality(sizes, seed):
    tokens, queries, best = _problem(*sizes, seed)
    found = max_margin_direction(tokens, queries, best)
    scores = _scores(tokens, found.direction, queries)
    ahead = scores.gather(1, best[:, None]) - scores
    others = torch.ones_like(found.support).scatter(1, best[:, None], False)
    assert (ahead[others] >= 1 - 1e-9).all()
    assert (found.multipliers >= 0).all()
    assert not found.multipliers[~found.support].any()
    torch.testing.assert_close(ahead[found.support], torch.ones_like(ahead[found.support]))
    assert (ahead[others & ~found.support] > 1 + 1e-6).all()
    differences = tokens[torch.arange(len(best)), best][:, None] - tokens
    combined = torch.einsum("nt,ntd,ne->de", found.multipliers, differences, queries)
    torch.testing.assert_close(combined, found.direction)
    assert float(found.multipliers.sum()) == pytest.approx(found.margin**-2)
    assert found.margin == pytest.approx(1 / float(found.direction.norm()))


@pytest.mark.parametrize("seed", range(5))
def test_an_independent_solver_agrees(seed):
    """Sequential quadratic programming on the problem as it is stated."""
    tokens, queries, best = _problem(4, 4, 3, 3, seed)

    def ahead(flat):
        scores = np.einsum("ntd,de,ne->nt", tokens.numpy(), flat.reshape(3, 3), queries.numpy())
        gaps = np.take_along_axis(scores, best.numpy()[:, None], 1) - scores - 1
        return np.array([gaps[case, token] for case in range(4) for token in range(4) if token != best[case]])

    slopes = np.stack([ahead(entry) - ahead(np.zeros(9)) for entry in np.eye(9)], axis=1)
    answer = scipy.optimize.minimize(
        lambda flat: flat @ flat / 2,
        np.zeros(9),
        jac=lambda flat: flat,
        constraints={"type": "ineq", "fun": ahead, "jac": lambda _: slopes},
        method="SLSQP",
        options={"ftol": 1e-10, "maxiter": 1000},
    )
    assert answer.success
    expected = torch.from_numpy(answer.x.reshape(3, 3))
    torch.testing.assert_close(
        max_margin_direction(tokens, queries, best).direction, expected, atol=1e-5, rtol=1e-5
    )


def test_units_and_origin():
    """Queries in other units scale W; tokens may be moved by any vector; orders do not matter."""
    tokens, queries, best = _problem(5, 4, 4, 3)
    found = max_margin_direction(tokens, queries, best).direction
    scaled = max_margin_direction(tokens, 1e4 * queries, best).direction
    torch.testing.assert_close(1e4 * scaled, found)
    moved = max_margin_direction(tokens + torch.randn(5, 1, 4), queries, best).direction
    torch.testing.assert_close(moved, found)
    turned = max_margin_direction(tokens.flip(0, 1), queries.flip(0), 3 - best.flip(0)).direction
    torch.testing.assert_close(turned, found)


def test_single_precision_and_gradients_are_left_behind():
    tokens, queries, best = _problem(3, 4, 5, 2)
    found = max_margin_direction(tokens.float().requires_grad_(), queries.float(), best.int())
    assert found.direction.dtype == torch.float64
    assert not found.direction.requires_grad
    torch.testing.assert_close(
        found.direction, max_margin_direction(tokens, queries, best).direction, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("padding", [0.0, 1e30, float("nan"), float("inf")])
def test_padding_changes_nothing(padding):
    tokens, queries, best = _problem(4, 3, 5, 4)
    expected = max_margin_direction(tokens, queries, best)
    longer = torch.cat([torch.full((4, 2, 5), padding), tokens], dim=1)
    mask = torch.tensor([False, False, True, True, True]).expand(4, 5)
    found = max_margin_direction(longer, queries, best + 2, mask)
    torch.testing.assert_close(found.direction, expected.direction)
    assert torch.equal(found.support[:, 2:], expected.support)
    assert not found.support[:, :2].any()


def test_nothing_to_separate_is_a_zero_direction():
    mask = torch.tensor([[False, True], [True, False]])
    single = (torch.randn(2, 1, 3), torch.randn(2, 4), torch.tensor([0, 0]))
    masked = (torch.randn(2, 2, 3), torch.randn(2, 4), torch.tensor([1, 0]), mask)
    empty = (torch.randn(0, 5, 3), torch.randn(0, 4), torch.zeros(0, dtype=torch.long))
    for problem in (single, masked, empty):
        found = max_margin_direction(*problem)
        assert torch.equal(found.direction, torch.zeros(3, 4, dtype=torch.float64))
        assert found.margin == math.inf
        assert not found.support.any()
        assert not found.multipliers.any()


def test_what_cannot_be_separated_is_refused():
    opposed = _one_case((1.0, 0.0), (-1.0, 0.0))
    inside = _one_case((1.0, 0.0), (-1.0, 1.0), (-1.0, -1.0))
    equal = _one_case((0.0, 0.0), (1.0, 0.0))
    thin = _one_case((1.0, 1e-8), (-1.0, 1e-8))
    unasked = (torch.randn(1, 3, 2), torch.zeros(1, 2), torch.tensor([0]))
    for problem in (opposed, inside, equal, thin, unasked):
        with pytest.raises(ArgumentError, match=r"best .* cannot all be met"):
            max_margin_direction(*problem)


def test_a_suboptimal_answer_of_the_first_solver_is_not_believed(monkeypatch):
    """In scipy 1.15 to 1.17, nnls can stop early and report success."""
    problem = _problem(5, 4, 6, 6)
    expected = max_margin_direction(*problem).direction
    honest = scipy.optimize.nnls

    def hasty(matrix, target, maxiter):
        weights, residual = honest(matrix, target, maxiter=maxiter)
        return weights + 0.05, residual

    monkeypatch.setattr(scipy.optimize, "nnls", hasty)
    torch.testing.assert_close(max_margin_direction(*problem).direction, expected)


def test_a_first_solver_that_gives_up_is_replaced(monkeypatch):
    problem = _problem(5, 4, 6, 6)
    expected = max_margin_direction(*problem).direction

    def helpless(matrix, target, maxiter):
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr(scipy.optimize, "nnls", helpless)
    torch.testing.assert_close(max_margin_direction(*problem).direction, expected)


def test_a_known_hard_case_of_nnls():
    tokens = torch.tensor([[[-1, 1, 1, 0], [0, 2, -1, 0], [2, 2, 0, 0], [2, 0, -1, -1]]])
    found = max_margin_direction(tokens, torch.tensor([[2]]), torch.tensor([0]))
    torch.testing.assert_close(12 * found.direction[:, 0], torch.tensor([-1.0, -1, 2, 0]).double())


TOKENS, QUERIES, BEST = torch.randn(2, 3, 4), torch.randn(2, 5), torch.tensor([0, 1])
MASK = torch.tensor([[True, True, False], [True, False, True]])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((TOKENS[0], QUERIES, BEST), ShapeError, r"tokens must be \(cases, length, features\).*\(3, 4\)"),
        ((TOKENS, QUERIES[:1], BEST), ShapeError, r"queries must be \(2, query features\).*\(1, 5\)"),
        ((TOKENS, QUERIES[:, None], BEST), ShapeError, "queries must be"),
        ((TOKENS, QUERIES, BEST[:1]), ShapeError, r"best must be \(2,\).*\(1,\)"),
        ((TOKENS, QUERIES, BEST, MASK[:, :2]), ShapeError, r"mask must be \(2, 3\).*\(2, 2\)"),
        ((TOKENS, QUERIES, BEST.double()), ArgumentError, "best must hold integers.*float64"),
        ((TOKENS, QUERIES, BEST > 0), ArgumentError, "best must hold integers.*bool"),
        ((TOKENS, QUERIES, BEST, MASK.float()), ArgumentError, "mask must be bool.*float32"),
        ((TOKENS, QUERIES, BEST + 2), ArgumentError, "best .* from 0 to 2 .* got 3 in case 1"),
        ((TOKENS, QUERIES, BEST - 1), ArgumentError, "best .* got -1 in case 0"),
        ((TOKENS, QUERIES, BEST, MASK), ArgumentError, "best .* in mask; got 1 in case 1"),
        ((TOKENS / 0, QUERIES, BEST), ArgumentError, "tokens and queries must be finite"),
        ((TOKENS, QUERIES * torch.nan, BEST), ArgumentError, "tokens and queries must be finite"),
        ((TOKENS[:, :0], QUERIES, BEST), ArgumentError, "best must name a real token"),
    ],
)
def test_arguments_that_do_not_fit(arguments, error, message):
    with pytest.raises(error, match=message):
        max_margin_direction(*arguments)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_head_matrix_is_the_score_of_its_head(kv_heads):
    layer = MultiheadAttention(12, 4, bias=False, kdim=7, vdim=7, kv_heads=kv_heads, batch_first=True)
    query, tokens = torch.randn(2, 3, 12), torch.randn(2, 5, 7)
    weights = layer(query, tokens, tokens, average_attn_weights=False)[1]
    for head in range(4):
        scores = query @ head_matrix(layer, head).T @ tokens.transpose(1, 2) / math.sqrt(3)
        torch.testing.assert_close(weights[:, head], scores.softmax(-1))


def test_a_bias_of_the_queries_is_a_term_that_the_matrix_leaves_out():
    layer = MultiheadAttention(6, 2, batch_first=True)
    torch.nn.init.normal_(layer.q_proj.bias)
    torch.nn.init.normal_(layer.k_proj.bias)
    query, tokens = torch.randn(1, 2, 6), torch.randn(1, 4, 6)
    weights = layer(query, tokens, tokens, average_attn_weights=False)[1][:, 1]
    bilinear = query @ head_matrix(layer, 1).T @ tokens.transpose(1, 2)
    alone = tokens @ layer.k_proj.weight[3:].T @ layer.q_proj.bias[3:]
    torch.testing.assert_close(weights, ((bilinear + alone[:, None]) / math.sqrt(3)).softmax(-1))


@pytest.mark.parametrize("head", [-1, 2])
def test_a_head_that_does_not_exist(head):
    with pytest.raises(ArgumentError, match=f"head must be from 0 to 1; got {head}"):
        head_matrix(MultiheadAttention(4, 2), head)


def test_alignment_is_a_cosine():
    matrix = torch.randn(3, 4)
    flat = matrix.flatten()
    other = torch.randn(3, 4)
    assert margin_alignment(matrix, 7 * matrix) == pytest.approx(1)
    assert margin_alignment(matrix, -matrix) == pytest.approx(-1)
    assert margin_alignment(matrix, other) == pytest.approx(
        float(torch.cosine_similarity(flat, other.flatten(), 0)), abs=1e-6
    )
    assert math.isnan(margin_alignment(matrix, torch.zeros(3, 4)))
    with pytest.raises(ShapeError, match=r"one shape; got \(3, 4\) and \(4, 3\)"):
        margin_alignment(matrix, matrix.T)


def test_gradient_descent_turns_to_the_direction_of_the_best_tokens():
    task = draw_task(features=16, seed=0)
    run = train(task, steps=500)
    curves = measure(task, run)
    assert torch.equal(run.chosen, task.best)
    assert curves["best"][0] < 0.7
    assert curves["best"][-1] > 0.99
    assert curves["attention"][-1] > 0.999
    assert curves["norm"][-1] > 200
    others = max_margin_direction(task.tokens, task.queries, (task.best + 1) % 6).direction
    assert margin_alignment(run.matrices[-1], others) < 0.5
    assert curves["average"][-1] < 0.95


def test_gradient_descent_can_settle_for_other_tokens_and_their_direction():
    task = draw_task(features=4, seed=6)
    run = train(task, steps=300)
    curves = measure(task, run)
    assert not torch.equal(run.chosen, task.best)
    assert curves["chosen"][-1] > 0.99
    assert curves["best"][-1] < 0.6
    support = max_margin_direction(task.tokens, task.queries, run.chosen).support
    worth = task.labels[:, None] * (task.tokens @ task.decoder)
    assert (worth < worth.gather(1, run.chosen[:, None]))[support].all()


def test_the_example_draws_its_figure(tmp_path, capsys):
    target = tmp_path / "figure.svg"
    main(["--seeds", "2", "--steps", "3", "--features", "5", "2", "--out", str(target)])
    assert "5 features" in capsys.readouterr().out
    assert target.read_text().startswith("<svg")
    with pytest.raises(SystemExit):
        main(["--seeds", "0"])
