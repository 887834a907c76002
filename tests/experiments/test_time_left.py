from __future__ import annotations

from tests.experiments.comparing.made_up import result
from tests.experiments.fakes import cells

from primaldual.experiments.store import Failure
from primaldual.experiments.time_left import TimeLeft


def _done(cell, seconds):
    found = result(
        cell.data, cell.method.label, cell.seed, 0.5, seconds=seconds, predict_seconds=0.0, key=cell.key
    )
    return found


def test_cells_are_expected_to_take_what_their_likes_took():
    grid = cells(["softmax", "bn"], [0, 1])
    left = TimeLeft(grid, [], slots=2)
    assert left.seconds() is None
    left.hear(_done(grid[0], 10.0))
    assert left.seconds() == (10 + 10 + 10) / 2
    left.hear(_done(grid[1], 2.0))
    assert left.seconds() == (10 + 2) / 2
    left.hear(Failure(grid[2].key, grid[2].title, "error", ""))
    assert left.seconds() == 2 / 2


def test_results_of_an_earlier_run_count():
    grid = cells(["softmax"], [0, 1])
    assert TimeLeft(grid[1:], [_done(grid[0], 4.0)], slots=1).seconds() == 4.0
