from __future__ import annotations

import sqlite3

import pytest

from primaldual.errors import ArgumentError, DataError
from primaldual.experiments.results import Result
from primaldual.experiments.settings import Run
from primaldual.experiments.store import FILE_NAME, Store, discard

RUN = Run("bn+sh", 1)
RESULT = Result(RUN, 0.9, 0.8, 1.5, 3, [{"epoch": 1, "train_loss": 0.25, "validation_loss": None}])


def test_results_come_back_as_they_went_in(tmp_path):
    Store(tmp_path, {"data": "toy"}).save(RESULT)
    store = Store(tmp_path, {"data": "toy"})
    assert store.results([RUN, Run("bn", 1), Run("bn+sh", 2)]) == {RUN: RESULT}


def test_a_second_save_replaces_the_first(tmp_path):
    store = Store(tmp_path, {})
    store.save(RESULT)
    store.save(Result(RUN, 0.5, 0.5, 1.0, 1, []))
    assert store.results([RUN])[RUN].accuracy == 0.5


def test_a_run_is_on_disk_as_soon_as_it_is_saved(tmp_path):
    Store(tmp_path, {}).save(RESULT)
    with sqlite3.connect(tmp_path / FILE_NAME) as other:
        assert other.execute("SELECT attention, seed, accuracy FROM runs").fetchall() == [("bn+sh", 1, 0.9)]
    other.close()


def test_other_settings_are_refused_and_named(tmp_path):
    Store(tmp_path, {"data": "toy", "epochs": "5"})
    with pytest.raises(ArgumentError, match=r"epochs 5 there, 6 now.*--fresh"):
        Store(tmp_path, {"data": "toy", "epochs": "6"})
    with pytest.raises(ArgumentError, match="dropout default there"):
        Store(tmp_path, {"data": "toy", "epochs": "5", "dropout": "0.3"})


def test_profiles_belong_to_their_seeds(tmp_path):
    store = Store(tmp_path, {})
    store.save_profile("bn", (0, 1), {"parameters": 3})
    assert store.profile("bn", (0, 1)) == {"parameters": 3}
    assert store.profile("bn", (0, 1, 2)) is None
    assert store.profile("sh", (0, 1)) is None


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to have a header" * 20])
def test_foreign_files_are_refused_or_empty_ones_filled(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    if not content:
        Store(tmp_path, {}).save(RESULT)
        return
    with pytest.raises(DataError, match="not a readable results file"):
        Store(tmp_path, {})
    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_another_schema_version_is_refused(tmp_path):
    Store(tmp_path, {})
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DataError, match="version 99; 1 is accepted"):
        Store(tmp_path, {})


def test_discard_removes_what_a_comparison_wrote_and_nothing_else(tmp_path):
    Store(tmp_path, {})
    (tmp_path / "models" / "bn-seed0").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("mine")
    discard(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_discard_leaves_a_folder_alone_that_holds_no_comparison(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "report.html").write_text("mine")
    discard(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "report.html"]
