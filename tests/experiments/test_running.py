from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from tests.experiments.fakes import cells, dataset, load

from primaldual.errors import DataError
from primaldual.experiments.places import Epoch, Here, Limits, Workers
from primaldual.experiments.running import Started, Waiting, place_for, run_cells
from primaldual.experiments.store import Failure, Result, Store


def _run(folder, grid, place, hear=lambda _: None):
    store = Store(folder)
    run_cells(grid, store, place, load, hear, folder / "models")
    return store


def test_every_start_epoch_and_result_is_reported_in_order(tmp_path):
    events = []
    grid = cells()[:3]
    store = _run(tmp_path, grid, Here(), events.append)
    assert [type(event) for event in events] == [Started, Epoch, Epoch, Epoch, Result] * 3
    assert [event.key for event in events if isinstance(event, Result)] == [cell.key for cell in grid]
    assert [event.entry["epoch"] for event in events[1:4]] == [1, 2, 3]
    assert [event for event in events if isinstance(event, Result)] == store.results(grid)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [
        "bn-seed0",
        "softmax-seed0",
        "softmax-seed1",
    ]


def test_a_left_over_model_folder_of_a_broken_run_is_replaced(tmp_path):
    (tmp_path / "models" / "bn-seed0").mkdir(parents=True)
    (tmp_path / "models" / "bn-seed0" / "half").write_text("written")
    _run(tmp_path, cells(["bn"], [0]), Here())
    assert [path.name for path in (tmp_path / "models" / "bn-seed0").iterdir()] == ["config.json"]


def test_failures_are_recorded_and_do_not_stop_the_rest(tmp_path):
    store = _run(tmp_path, cells(refuse="softmax", **{"break": "bn"}) + cells(), Here())
    assert len(store.results()) == 4
    kinds = {(failure.title, failure.kind) for failure in store.failures()}
    assert kinds == {
        ("toy, softmax, seed 0", "refused"),
        ("toy, softmax, seed 1", "refused"),
        ("toy, bn, seed 0", "error"),
        ("toy, bn, seed 1", "error"),
    }
    broken = next(failure for failure in store.failures() if failure.kind == "error")
    assert broken.message == "unforeseen"
    assert "ZeroDivisionError: unforeseen" in broken.traceback


def test_want_of_memory_is_a_kind_of_its_own(tmp_path):
    (failure,) = _run(tmp_path, cells(["bn"], [0], memory="bn"), Here()).failures()
    assert failure.kind == "memory"


def test_nothing_is_done_twice(tmp_path):
    grid = cells()
    _run(tmp_path, grid[:2], Here())
    events = []
    _run(tmp_path, grid, Here(), events.append)
    assert [event.key for event in events if isinstance(event, Result)] == [cell.key for cell in grid[2:]]


def test_other_data_than_the_cell_is_of_is_refused(tmp_path):
    with pytest.raises(DataError, match="toy has changed"):
        run_cells(cells(), Store(tmp_path), Here(), lambda _: (dataset(4), dataset(4)), lambda _: None)
    assert Store(tmp_path).claimed(cells()) == 0


def test_limits_need_a_process_that_can_be_killed():
    assert isinstance(place_for(1), Here)
    assert isinstance(place_for(1, limits=Limits(seconds=1)), Workers)
    assert place_for(3).slots == 3


def test_killed_workers_lose_and_double_nothing_and_results_are_those_of_one_process(tmp_path):
    """A cell whose process is killed gets a second one; one that kills both fails, and the rest goes on."""
    traces = tmp_path / "traces"
    traces.mkdir()
    options = {"die": "sh", "die once": "bn-0", "traces": str(traces)}
    grid = cells(["sh"], [0], **options) + cells(["softmax", "bn"], [0, 1], **options)
    store = _run(tmp_path / "away", grid, Workers(2))
    ((kind, message),) = [(one.kind, one.message) for one in store.failures()]
    assert kind == "died"
    assert message == "its process ended 2 times, killed by SIGKILL, perhaps for want of memory"
    assert len(list(traces.glob("softmax-*"))) == 2
    assert len(list(traces.glob("bn-*"))) == 3
    here = _run(tmp_path / "here", grid[1:], Here()).results(grid)
    assert [(one.key, one.accuracy, one.confusion) for one in store.results(grid)] == [
        (one.key, one.accuracy, one.confusion) for one in here
    ]


@pytest.mark.parametrize(
    ("limits", "kind"), [(Limits(seconds=0.01), "time"), (Limits(memory=2**20), "memory")]
)
def test_a_cell_beyond_a_limit_is_ended_and_recorded(tmp_path, limits, kind):
    grid = cells(["bn"], [0], hang="bn", traces=str(tmp_path))
    (failure,) = _run(tmp_path, grid, place_for(1, limits=limits)).failures()
    assert failure.kind == kind
    assert f"raise limits.{'seconds' if kind == 'time' else 'memory'}" in failure.message


GRID = """
import sys
from pathlib import Path
from tests.experiments.fakes import cells, load
from primaldual.experiments.running import run_cells
from primaldual.experiments.places import Workers
from primaldual.experiments.store import Store
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    grid = cells(hang="bn", traces=str(folder))
    print("begun", flush=True)
    run_cells(grid, Store(folder), Workers(2), load, lambda event: print(type(event).__name__, flush=True))
"""


def test_a_killed_grid_loses_and_doubles_nothing_and_its_workers_end(tmp_path):
    script = tmp_path / "grid_script.py"
    script.write_text(GRID)
    process = subprocess.Popen(
        [sys.executable, script, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},  # for the module of fakes
    )
    grid = cells(hang="bn", traces=str(tmp_path))
    with process:
        results = 0
        while results < 2:  # both softmax cells; the bn cells hang
            line = process.stdout.readline()
            assert line, "the grid ended by itself"
            results += line.strip() == "Result"
        while len(list(tmp_path.glob("bn-*"))) < 2:
            assert process.poll() is None
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
    psutil.wait_procs(workers, timeout=60)
    assert not [worker for worker in workers if worker.is_running() and worker.status() != "zombie"]
    assert len(Store(tmp_path).results(grid)) == 2
    (tmp_path / "go").touch()
    store = _run(tmp_path, grid, Here())
    assert [result.key for result in store.results(grid)] == [cell.key for cell in grid]
    assert len(list(tmp_path.glob("softmax-*"))) == 2


def test_a_grid_waits_for_cells_of_others_and_takes_over_what_they_give_back(tmp_path):
    grid = cells(["bn"], [0])
    other = Store(tmp_path)
    other.claim(grid)
    events = []

    def hear(event):
        events.append(type(event))
        if isinstance(event, Waiting):
            other.close()

    _run(tmp_path, grid, Here(), hear)
    assert events == [Waiting, Started, Epoch, Epoch, Epoch, Result]


def test_two_grids_share_the_cells(tmp_path):
    grid = cells(seeds=range(6), traces=str(tmp_path))
    Store(tmp_path)
    found = [[], []]
    threads = [threading.Thread(target=_run, args=(tmp_path, grid, Here(), heard.append)) for heard in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [event.key for heard in found for event in heard if isinstance(event, Result)]
    assert sorted(done) == sorted(cell.key for cell in grid)
    assert not any(isinstance(event, Failure) for heard in found for event in heard)
