from __future__ import annotations

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.experiments.fakes import cells

from primaldual.errors import DataError
from primaldual.experiments.execution import Outcome
from primaldual.experiments.store import FILE_NAME, Failure, Store, discard

OUTCOME = Outcome(
    0.9, 0.8, 1.5, 1.4, 0.1, 3, [{"epoch": 1, "train_loss": 0.25, "validation_loss": None}],
    ["a", "b"], [[3, 1], [0, 4]], [2], {"operations": 12.0}, {"num_layers": 2}, "Linux",
)  # fmt: skip


def test_results_come_back_as_they_went_in(tmp_path):
    first, other = cells()[:2]
    with Store(tmp_path) as store:
        assert store.claim([first, other]) is first
        kept = store.finish(first, OUTCOME)
    again = Store(tmp_path)
    assert again.results([other, first]) == again.results() == [kept]
    assert (kept.title, kept.accuracy, kept.config) == ("toy, softmax, seed 0", 0.9, first.config)


def test_a_result_is_on_disk_as_soon_as_it_is_finished(tmp_path):
    cell = cells()[0]
    with Store(tmp_path) as store:
        store.claim([cell])
        store.finish(cell, OUTCOME)
        other = sqlite3.connect(tmp_path / FILE_NAME)
        assert other.execute(
            "SELECT data, method, seed, accuracy FROM cells JOIN results USING (key)"
        ).fetchall() == [("toy", "softmax", 0, 0.9)]
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        other.close()


def test_a_cell_is_claimed_once(tmp_path):
    grid = cells(seeds=range(10))
    stores = [Store(tmp_path) for _ in range(4)]

    def claim_all(store):
        found = []
        while (cell := store.claim(grid)) is not None:
            found.append(cell.key)
        return found

    with ThreadPoolExecutor(4) as pool:
        claimed = [key for keys in pool.map(claim_all, stores) for key in keys]
    assert sorted(claimed) == sorted(cell.key for cell in grid)
    for store in stores:
        store.close()


def test_claims_are_given_back(tmp_path):
    cell = cells()[0]
    first, second = Store(tmp_path), Store(tmp_path)
    assert first.claim([cell]) is cell
    assert second.claim([cell]) is None
    assert second.claimed([cell]) == 1
    first.close()
    assert second.claim([cell]) is cell
    second.close()
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_only_the_owner_of_a_claim_finishes(tmp_path):
    cell = cells()[0]
    with Store(tmp_path) as first, Store(tmp_path) as second:
        first.claim([cell])
        with pytest.raises(DataError, match="not claimed by this process"):
            second.finish(cell, OUTCOME)
        first.finish(cell, OUTCOME)
        with pytest.raises(DataError, match="not claimed by this process"):
            first.finish(cell, OUTCOME)
        assert len(first.results()) == 1


CLAIM_AND_WAIT = """
import sys
from pathlib import Path
from tests.experiments.fakes import cells
from primaldual.experiments.store import Store
store = Store(Path(sys.argv[1]))
print(store.claim(cells()).key, flush=True)
sys.stdin.read()
"""


def test_claims_of_a_killed_process_are_free(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIM_AND_WAIT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process, Store(tmp_path) as store:
        first = cells()[0]
        assert process.stdout.readline().strip() == first.key
        assert store.claim([first]) is None
        process.kill()
        process.wait()
        assert store.claim([first]) is first


def test_failures_are_kept_until_tried_again(tmp_path):
    cell = cells()[0]
    with Store(tmp_path) as store:
        store.claim([cell])
        failure = Failure(cell.key, cell.title, "error", "broke", "Traceback ...")
        store.fail(cell, failure)
        assert store.failures() == store.failures([cell]) == [failure]
        assert store.claim([cell]) is None
        store.retry([cell])
        assert store.failures() == []
        assert store.claim([cell]) is cell


def test_profiles_belong_to_their_key(tmp_path):
    store = Store(tmp_path)
    store.save_profile("some models", {"bn": {"parameters": 3}})
    assert store.profile("some models") == {"bn": {"parameters": 3}}
    assert store.profile("others") is None


@pytest.mark.parametrize(
    ("table", "column", "text"),
    [
        ("results", "outcome", "{"),
        ("results", "outcome", "[]"),
        ("results", "outcome", '{"unknown": 1}'),
        ("cells", "config", "{"),
    ],
)
def test_damaged_text_in_the_file_is_one_clear_error(tmp_path, table, column, text):
    with Store(tmp_path) as store:
        store.finish(store.claim(cells()[:1]), OUTCOME)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute(f"UPDATE {table} SET {column} = ?", (text,))
    with pytest.raises(DataError, match=r"results\.sqlite are damaged: a run cannot be read"):
        Store(tmp_path).results()


def test_a_locked_file_is_named_with_advice(tmp_path):
    Store(tmp_path)
    other = sqlite3.connect(tmp_path / FILE_NAME)
    other.execute("BEGIN EXCLUSIVE")
    store = Store(tmp_path, patience=0)
    with pytest.raises(DataError, match=r"locked by another program.*close it"):
        store.claim(cells())
    other.rollback()
    other.close()
    assert store.claim(cells()) is not None
    store.close()


def test_discard_removes_what_a_comparison_wrote_and_nothing_else(tmp_path):
    Store(tmp_path)
    (tmp_path / "models" / "bn-seed0").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("mine")
    discard(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_discard_leaves_a_folder_alone_that_holds_no_comparison(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "report.html").write_text("mine")
    discard(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "report.html"]
