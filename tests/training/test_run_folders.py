import pytest

from primaldual.errors import CheckpointError
from primaldual.training.run_folders import RunFolder, is_main_process

CONFIG = {"data": "digits", "model": "vit_micro", "attention": "bn", "seed": 0}


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="is not the folder of a run"):
        RunFolder.open(tmp_path, CONFIG)


def test_a_config_that_cannot_be_read_is_one_clear_error(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read; delete it to start again"):
        RunFolder.open(tmp_path, CONFIG)


def test_the_default_place_is_named_after_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RunFolder.open(None, CONFIG)
    assert (tmp_path / "runs" / "images" / "digits-vit_micro-bn-seed0" / "config.json").is_file()


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    """The others may find what the first one is writing."""
    monkeypatch.setenv("RANK", "1")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / ".config.json-1").mkdir()
    RunFolder.open(tmp_path / "half", CONFIG)
    assert not is_main_process()
    RunFolder.open(tmp_path / "run", CONFIG)
    assert not (tmp_path / "run").exists()
