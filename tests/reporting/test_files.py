import os
import tempfile

import pytest

from primaldual.errors import ArgumentError
from primaldual.reporting.files import check_writable, replacing, write_text


def fail(source, target):
    raise OSError(28, "No space left on device")


def test_a_text_is_written_into_a_folder_that_is_made(tmp_path):
    target = tmp_path / "deep" / "notes.txt"
    write_text(target, "first")
    write_text(target, "β\n")
    assert target.read_text(encoding="utf-8") == "β\n"
    assert list(target.parent.iterdir()) == [target]


def test_a_failed_write_leaves_the_former_text(tmp_path, monkeypatch):
    write_text(tmp_path / "notes.txt", "first")
    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(ArgumentError, match=r"notes.txt cannot be written \(No space left"):
        write_text(tmp_path / "notes.txt", "second")
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("notes.txt", "first")]


def test_a_folder_replaces_a_folder_with_all_that_is_in_it(tmp_path):
    for name in ("first", "second"):
        with replacing(tmp_path / "model") as fresh:
            fresh.mkdir()
            (fresh / name).touch()
    assert [one.name for one in tmp_path.rglob("*")] == ["model", "second"]


def test_an_error_inside_leaves_the_former_folder(tmp_path):
    (tmp_path / "model").mkdir()

    def interrupted():
        with replacing(tmp_path / "model") as fresh:
            fresh.mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [one.name for one in tmp_path.rglob("*")] == ["model"]


def test_a_folder_that_cannot_move_in_leaves_the_former_one(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").touch()
    moves = []

    def fail_second(source, target, replace=os.replace):
        moves.append(target)
        if len(moves) == 2:
            fail(source, target)
        replace(source, target)

    def replaced():
        with replacing(tmp_path / "model") as fresh:
            fresh.mkdir()

    monkeypatch.setattr("os.replace", fail_second)
    with pytest.raises(OSError, match="No space left"):
        replaced()
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["model", "weights"]


def test_a_file_in_the_way_of_the_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ArgumentError, match="cannot be written"):
            check_writable(folder)


def test_a_read_only_folder_is_refused(tmp_path, monkeypatch):
    """The refusal is played, because root may write anywhere."""

    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(
        ArgumentError, match=r"cannot be written \(Permission denied\); give a writable folder"
    ):
        check_writable(tmp_path)
