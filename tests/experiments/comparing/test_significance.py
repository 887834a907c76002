from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from tests.experiments.comparing.made_up import result

from primaldual.experiments.comparing import Groups, ranking
from primaldual.experiments.comparing.significance import holm_correction


def _groups(table):
    return Groups(
        [
            result(f"set {row}", name, 0, value)
            for row, values in enumerate(table)
            for name, value in zip("abc", values, strict=False)
        ]
    )


TABLE = np.array([[0.9, 0.8, 0.1], [0.91, 0.83, 0.2], [0.92, 0.97, 0.3], [0.93, 0.87, 0.41], [0.94, 0.84, 0.52],
                  [0.95, 0.91, 0.63], [0.96, 0.85, 0.74], [0.97, 0.82, 0.7]])  # fmt: skip


def test_ranks_and_p_values_are_scipys():
    found = ranking(_groups(TABLE))
    assert found.methods == ("a", "b", "c")
    assert found.ranks == pytest.approx(stats.rankdata(-TABLE, axis=1).mean(0))
    assert found.friedman == pytest.approx(stats.friedmanchisquare(*TABLE.T).pvalue)
    raw = [stats.wilcoxon((TABLE[:, i] - TABLE[:, j]).round(12)).pvalue for i, j in ((0, 1), (0, 2), (1, 2))]
    assert list(found.holm.values()) == pytest.approx(holm_correction(raw))


def test_neighbours_that_are_not_told_apart_are_joined():
    close = TABLE.copy()
    close[::2, 1] = close[::2, 0] + 0.02
    assert ranking(_groups(TABLE)).cliques == ()
    assert ranking(_groups(close)).cliques == ((0, 1),)
    assert ranking(_groups(TABLE[:4])).cliques == ((0, 2),)


def test_the_critical_difference_is_that_of_demsar():
    """Demsar 2006, section 3.2.2: four classifiers on fourteen data sets."""
    table = np.random.default_rng(0).random((14, 4))
    groups = Groups(
        [result(f"s{row}", "abcd"[place], 0, table[row, place]) for row in range(14) for place in range(4)]
    )
    assert ranking(groups).critical_difference == pytest.approx(2.569 * np.sqrt(20 / 84), abs=2e-3)


def test_ties_and_zeros_do_no_harm():
    found = ranking(_groups([[0.9, 0.9], [0.8, 0.7], [0.7, 0.6], [0.6, 0.6]]))
    assert 0 < found.holm[frozenset("ab")] <= 1


def test_equal_methods_differ_in_nothing():
    found = ranking(_groups([[0.9, 0.9, 0.9]] * 6))
    assert found.ranks == (2.0, 2.0, 2.0)
    assert found.friedman is None
    assert set(found.holm.values()) == {1.0}


def test_one_data_set_or_one_method_has_no_ranking():
    assert ranking(_groups([[0.9, 0.8, 0.1]])) is None
    assert ranking(_groups([[0.9], [0.8]])) is None


def test_holm_is_that_of_a_third():
    """R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")."""
    assert holm_correction([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
