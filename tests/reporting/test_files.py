import os
import signal
import sys
import tempfile
from contextlib import contextmanager, nullcontext
from functools import partial

import pytest
import torch

import primaldual as pdl
from primaldual.errors import ArgumentError, CheckpointError
from primaldual.reporting.files import check_file, check_folder, check_writable, replacing, saving, write_text


def fail(source, target):
    raise OSError(28, "No space left on device")


def test_a_text_is_written_into_a_folder_that_is_made(tmp_path):
    target = tmp_path / "deep" / "notes.txt"
    write_text(target, "first")
    write_text(target, "β\n")
    assert target.read_text(encoding="utf-8") == "β\n"
    assert list(target.parent.iterdir()) == [target]


def test_names_of_files_that_are_no_utf8_are_escaped(tmp_path):
    name = os.fsdecode(b"\xe9.png")
    write_text(tmp_path / "names.csv", name + "\n")
    assert (tmp_path / "names.csv").read_text(encoding="utf-8") == "\\udce9.png\n"


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


@contextmanager
def small_files(most):
    """Files that may not grow beyond some bytes, as on a disk that is full."""
    import resource

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
        signal.signal(signal.SIGXFSZ, handler)


def _expansion(folder):
    keys = torch.randn(600, 4)
    return pdl.solve("linear", keys, keys[:, :1]).save, folder / "expansion.safetensors"


def _estimator(folder):
    series = torch.randn(8, 1, 10).numpy()
    fitted = pdl.AttentionRidgeClassifier(num_kernels=20, random_state=0).fit(series, [0, 1] * 4)
    return fitted.save, folder / "estimator"


def _converted(folder):
    model = torch.nn.TransformerEncoderLayer(32, 4, batch_first=True).eval()
    pdl.convert(model, "bn", verbose=False)
    return partial(pdl.integrations.save, model), folder / "model.pt"


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("make", [_expansion, _estimator, _converted])
def test_a_full_disk_leaves_what_was_there_and_nothing_half_written(tmp_path, make):
    save, target = make(tmp_path)
    save(target)
    before = sorted((path, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file())
    with small_files(1000), pytest.raises(CheckpointError, match="cannot be written: ") as caught:
        save(target)
    assert "\n" not in str(caught.value)
    assert sorted((path, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()) == before


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_full_disk_keeps_the_former_checkpoint(tmp_path):
    def fitted(epochs):
        classifier = pdl.AttentionClassifier(
            epochs=epochs, embed_dim=16, num_layers=1, checkpoint_dir=tmp_path, random_state=0
        )
        return classifier.fit(torch.randn(8, 1, 10).numpy(), [0, 1] * 4)

    with small_files(1000), pytest.raises(CheckpointError, match=r"checkpoint_dir .* cannot be written: "):
        fitted(2)
    assert [path.name for path in tmp_path.glob("*/*")] == []


def test_errors_of_other_kinds_stay_what_they_are(tmp_path):
    with pytest.raises(KeyError), saving(tmp_path / "weights"):
        raise KeyError
    with pytest.raises(CheckpointError, match=r"^no$"), saving(tmp_path / "weights"):
        raise CheckpointError("no")


def test_an_output_folder_is_new_or_empty_or_an_earlier_output(tmp_path):
    for place in (tmp_path / "new", tmp_path / "new" / "below"):
        check_folder(place, "a report", "report.json")
    place = tmp_path / "there"
    place.mkdir()
    check_folder(place, "a report", "report.json")
    (place / "notes.txt").write_text("mine")
    with pytest.raises(
        ArgumentError, match=r"there exists and is not a report; give a new folder or an empty one"
    ):
        check_folder(place, "a report", "report.json")
    (place / "report.json").touch()
    check_folder(place, "a report", "report.json")


def test_an_output_file_replaces_only_an_earlier_output(tmp_path):
    target = tmp_path / "new" / "out.csv"
    check_file(target, "a table", b"case,predicted,")
    target.parent.mkdir()
    for text, accepted in (("case,predicted,x\n", True), ("case,time,x\n", False), ("", False)):
        target.write_text(text)
        with (
            nullcontext()
            if accepted
            else pytest.raises(ArgumentError, match="exists and is not a table; it is left alone")
        ):
            check_file(target, "a table", b"case,predicted,")
    with pytest.raises(ArgumentError, match="is a folder; a file name is needed"):
        check_file(tmp_path, "a table", b"")
