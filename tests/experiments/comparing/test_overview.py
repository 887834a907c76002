from __future__ import annotations

import pytest
from scipy import stats
from tests.experiments.comparing.made_up import result

from primaldual.errors import ArgumentError
from primaldual.experiments.comparing import Groups, differences, interval, overview, win_draw_loss
from primaldual.experiments.comparing.runs import changes, chosen, newest

GRID = [
    result(data, method, seed, accuracy + 0.01 * seed)
    for data, methods in {
        "one": {"softmax": 0.8, "bn": 0.9},
        "two": {"softmax": 0.7, "bn": 0.6},
        "three": {"softmax": 0.5, "bn": 0.5},
        "four": {"softmax": 0.5},
    }.items()
    for method, accuracy in methods.items()
    for seed in range(3)
]


def test_rows_speak_of_the_data_sets_that_all_methods_have():
    found = overview(Groups(GRID))
    assert found.groups.common == ["one", "two", "three"]
    assert [row.method for row in found.rows] == ["softmax", "bn"]
    softmax, bn = found.rows
    assert softmax.accuracy == pytest.approx((0.81 + 0.71 + 0.51) / 3)
    assert (softmax.difference, softmax.wins, softmax.p_value) == (None, None, None)
    assert bn.difference == pytest.approx(0.0, abs=1e-12)
    assert bn.difference_interval[0] < 0 < bn.difference_interval[1]
    assert bn.wins == (1, 1, 1)
    assert (bn.seconds, bn.cost) == (4.5, 6.0)
    assert bn.on("one").over_seeds.mean == pytest.approx(0.1)
    assert bn.on("four") is None


def test_one_data_set_has_intervals_over_seeds():
    found = overview(Groups([one for one in GRID if one.data == "one"]), "softmax")
    bn = next(row for row in found.rows if row.method == "bn")
    assert bn.difference_interval == pytest.approx((0.1, 0.1))
    assert bn.accuracy_interval[0] < 0.91 < bn.accuracy_interval[1]
    assert found.ranking is None


def test_differences_are_paired_by_seed_and_by_case():
    (one, *_) = differences(Groups(GRID), "bn", "softmax")
    assert one.over_seeds.mean == pytest.approx(0.1)
    low, high = one.over_cases
    assert 0.03 < low < 0.1 < high < 0.18


def test_cases_that_were_not_kept_give_no_interval():
    bare = [result("one", name, 0, 0.5, wrong=None) for name in ("softmax", "bn")]
    (found,) = differences(Groups(bare), "bn", "softmax")
    assert found.over_cases is None
    assert win_draw_loss([found]) == (0, 1, 0)


def test_the_interval_is_scipys_and_repeats():
    values = [0.1, 0.4, 0.5, 0.9]
    low, high = interval(values)
    assert (low, high) == interval(values)
    reference = stats.bootstrap(
        (values,), lambda x, axis: x.mean(axis), method="percentile", n_resamples=20_000, rng=1
    )
    assert (low, high) == pytest.approx(tuple(reference.confidence_interval), abs=0.03)


def test_newer_results_replace_older_ones_of_the_same_cell():
    old, new = result("one", "bn", 0, 0.5), result("one", "bn", 0, 0.6)
    assert newest([old, new]) == [new]


def test_results_are_chosen_by_name():
    assert {(one.data, one.method) for one in chosen(GRID, ["one"], ["bn"])} == {("one", "bn")}
    assert chosen(GRID, [], []) == GRID
    with pytest.raises(ArgumentError, match="data 'on' has no results; did you mean one"):
        chosen(GRID, ["on"], [])


def test_runs_are_compared_over_common_seeds():
    there = [result("one", "bn", seed, 0.85) for seed in (1, 2, 3)] + [result("five", "bn", 0, 0.1)]
    (found,) = changes(GRID, there)
    assert (found.data, found.method, found.difference.count) == ("one", "bn", 2)
    assert found.difference.mean == pytest.approx(0.065)
