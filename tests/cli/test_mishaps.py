from __future__ import annotations

import sqlite3

import pytest
import torch

from primaldual.cli.mishaps import in_one_line
from tests.cli.helpers import TINY, run

ERRORS = {
    "memory": (MemoryError(), "not enough memory"),
    "arrays": (MemoryError("Unable to allocate 3 TiB for an array"), "not enough memory"),
    "tensors": (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory"),
    "accelerator": (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        "not enough memory",
    ),
    "worker": (
        RuntimeError("run failed:\nTraceback\nOSError: [Errno 28] No space left on device"),
        "disk is full",
    ),
    "results": (sqlite3.OperationalError("database or disk is full"), "disk is full"),
    "locked": (
        sqlite3.OperationalError("database is locked"),
        "file of results cannot be used: database is locked",
    ),
    "home": (RuntimeError("Could not determine home directory."), "no home folder"),
    "rights": (PermissionError(13, "Permission denied", "/x"), "cannot read or write: /x: Permission denied"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_failures_of_the_machine_are_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, name):
    error, message = ERRORS[name]

    def fail(self, X, y):
        raise error

    monkeypatch.setattr("primaldual.estimators.AttentionClassifier.fit", fail)
    code, out, err = run(capsys, "train", "BasicMotions", "--out", tmp_path / "m", *TINY)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]
    assert [line for line in err.splitlines() if line][1:] == err.splitlines()[-1:]
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_the_program_is_not_hidden():
    assert in_one_line(RuntimeError("shapes do not match")) is None
    assert in_one_line(KeyError("x")) is None


def test_no_home_folder_is_no_obstacle_for_files(capsys, tmp_path, monkeypatch):
    def homeless(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.expanduser", homeless)
    code, _, err = run(capsys, "compare", "Handwriting", "--out", tmp_path / "o")
    assert code == 2
    assert "no home folder" in err
