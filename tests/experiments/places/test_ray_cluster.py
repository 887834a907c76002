from __future__ import annotations

import pytest
from tests.experiments.fakes import cells, load

from primaldual.errors import ArgumentError
from primaldual.experiments.places.limits import Limits
from primaldual.experiments.places.ray_cluster import RayCluster
from primaldual.experiments.running import run_cells
from primaldual.experiments.store import Store

pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray itself


def test_a_killed_worker_loses_and_doubles_nothing_and_failures_do_not_stop_the_rest(tmp_path):
    """One cell kills its worker the first time; one hangs, beyond the limit of time."""
    options = {"die once": "bn-0", "break": "sh", "traces": str(tmp_path)}
    grid = cells(["softmax", "bn"], [0, 1], **options) + cells(["sh"], [0], **options)
    store = Store(tmp_path)
    run_cells(grid, store, RayCluster("local"), load, lambda _: None)
    assert [result.key for result in store.results(grid)] == [cell.key for cell in grid[:4]]
    assert [failure.kind for failure in store.failures()] == ["error"]
    assert len(list(tmp_path.glob("bn-0-*"))) == 2
    assert len(list(tmp_path.glob("softmax-*"))) == 2

    hanging = cells(["cosine"], [0], hang="cosine", traces=str(tmp_path))
    run_cells(hanging, store, RayCluster("local", limits=Limits(seconds=0.01)), load, lambda _: None)
    assert [failure.kind for failure in store.failures(hanging)] == ["time"]


def test_no_cluster_is_told():
    with pytest.raises(ArgumentError, match="no cluster that answers"):
        RayCluster("auto")
