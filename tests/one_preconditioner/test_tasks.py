import pytest
import torch
from benchmarks.one_preconditioner.model import trained_score
from benchmarks.one_preconditioner.tasks import TASKS, WIDTH


@pytest.fixture(params=TASKS.values(), ids=TASKS)
def task(request):
    return request.param


def drawn(task, cases=400):
    return task.draw(cases, torch.Generator().manual_seed(0))


def test_the_value_that_is_asked_for_is_stored_beside_the_nearest_key(task):
    batch = drawn(task)
    items, queries = batch.tokens[:, : task.items], batch.tokens[:, task.items :]
    assert (queries[..., WIDTH:-1] == 0).all()
    assert (queries[..., -1] == 1).all()
    assert (items[..., -1] == 0).all()
    if task.recall and task.keys == "alike":
        nearest = torch.cdist(queries[..., :WIDTH], items[..., :WIDTH]).argmin(-1)
        stored = items[..., WIDTH:-1].argmax(-1).gather(1, nearest)
        assert (stored == batch.targets).float().mean() > 0.99


def test_regression_is_solved_by_least_squares_whatever_the_keys(task):
    if task.recall:
        return
    batch = drawn(task)
    items, queries = batch.tokens[:, : task.items].double(), batch.tokens[:, task.items :].double()
    slope = torch.linalg.lstsq(items[..., :WIDTH], items[..., WIDTH : WIDTH + 1]).solution
    error = ((queries[..., :WIDTH] @ slope).squeeze(-1) - batch.targets).square().mean()
    assert error < 0.01


def test_keys_have_the_covariance_that_their_name_says(task):
    keys = drawn(task).tokens[:, :, :WIDTH]
    covariance = keys.mT @ keys / keys.size(1)
    scales = covariance.diagonal(dim1=1, dim2=2)
    correlation = covariance / (scales[:, None] * scales[..., None]).sqrt() - torch.eye(WIDTH)
    spread = scales.log().std(1).mean()
    assert (spread > 1.5) == (task.keys == "scaled")
    assert (correlation.square().sum((1, 2)).mean() > 5) == (task.keys == "mixed")


def test_a_seed_fixes_the_score():
    task = TASKS["recall, alike"]
    assert trained_score(task, "bn", 3, 3e-3, steps=2) == trained_score(task, "bn", 3, 3e-3, steps=2)
