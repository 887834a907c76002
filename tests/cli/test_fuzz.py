from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from benchmarks.fuzz.commands import damaged_command
from benchmarks.fuzz.running import run_cases
from benchmarks.fuzz.whole_files import prepare
from typer.main import get_command

from primaldual.cli.app import app


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    prepare(folder)
    return folder


@pytest.mark.parametrize("seed", range(4))
def test_damaged_input_ends_in_a_result_or_in_one_line(folder, seed):
    assert run_cases(folder, 15, seed) == []


def test_every_command_is_drawn(folder, tmp_path):
    drawn = [
        damaged_command(random.Random(number), folder, Path(tempfile.mkdtemp(dir=tmp_path)))
        for number in range(300)
    ]
    commands = get_command(app).commands
    assert {words[0] for words in drawn} == set(commands)
    trained = {words[1] for words in drawn if words[0] == "train"}
    assert trained >= set(commands["train"].commands) - {"series"}
