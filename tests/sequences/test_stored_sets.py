from __future__ import annotations

import json

import numpy as np
import pytest

from primaldual.errors import ArgumentError, DataError
from primaldual.sequences.stored_sets import stored_parts
from primaldual.sequences.token_sets import Corpus


def corpus():
    tokens = np.arange(9, dtype=np.uint8)
    return Corpus(
        ("a", "b"), 9, tokens, np.array([[2], [3], [4]]), np.array([0, 1, 0]), {"training": 2, "test": 1}
    )


def test_another_key_is_another_data_set(tmp_path):
    found = [stored_parts(tmp_path, "few", {"seed": seed}, corpus) for seed in (0, 1)]
    assert len(list(tmp_path.glob("few-*"))) == 2
    assert found[0].training.sequence(1, 0).tolist() == [2, 3, 4]
    assert found[0].test.sequence(0, 0).tolist() == [5, 6, 7, 8]
    assert found[0].validation is None


def test_a_failure_leaves_nothing_behind(tmp_path):
    def fails():
        raise DataError("no such file")

    with pytest.raises(DataError, match="no such file"):
        stored_parts(tmp_path, "few", {}, fails)
    assert not list(tmp_path.glob("few-*"))
    assert len(stored_parts(tmp_path, "few", {}, corpus).training) == 2


@pytest.mark.parametrize("damage", [b"", b"{"])
def test_damaged_files_are_one_clear_error(tmp_path, damage):
    stored_parts(tmp_path, "few", {}, corpus)
    [place] = tmp_path.glob("few-*")
    (place / ("tokens.npy" if not damage else "description.json")).write_bytes(damage)
    with pytest.raises(DataError, match=r"few-\w+ is damaged; delete the folder to make it again"):
        stored_parts(tmp_path, "few", {}, corpus)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("tokens", np.zeros((9, 2), dtype=np.uint8)),
        ("tokens", np.zeros(9)),
        ("lengths", np.array([[-2], [7], [4]])),
        ("lengths", np.array([[5], [4]])),
        ("lengths", np.array([[[2]], [[3]], [[4]]])),
        ("labels", np.array([0, 1, 2])),
        ("labels", np.array([0, 1, -1])),
        ("labels", np.array([0.0, 1.0, 0.5])),
        ("counts", [2, 1]),
        ("counts", {"training": 4, "test": -1}),
        ("counts", {"training": 2.0, "test": 1.0}),
        ("digest", 5),
    ],
)
def test_files_that_do_not_fit_together_are_damaged(tmp_path, name, array):
    stored_parts(tmp_path, "few", {}, corpus)
    [place] = tmp_path.glob("few-*")
    if isinstance(array, np.ndarray):
        np.save(place / f"{name}.npy", array)
    else:
        description = json.loads((place / "description.json").read_text())
        (place / "description.json").write_text(json.dumps({**description, name: array}))
    with pytest.raises(DataError, match="is damaged; delete the folder"):
        stored_parts(tmp_path, "few", {}, corpus)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of numpy's half-made archive
def test_an_archive_that_is_none_is_damaged(tmp_path):
    stored_parts(tmp_path, "few", {}, corpus)
    [place] = tmp_path.glob("few-*")
    (place / "labels.npy").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="is damaged; delete the folder"):
        stored_parts(tmp_path, "few", {}, corpus)


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match="cannot be written"):
        stored_parts(tmp_path / "file", "few", {}, corpus)


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(ArgumentError, match=r"data_dir .* cannot be written .No space left on device"):
        stored_parts(tmp_path, "few", {}, corpus)
    assert not list(tmp_path.glob("few-*"))
