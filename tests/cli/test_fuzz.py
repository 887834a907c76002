from __future__ import annotations

import pytest
from benchmarks.fuzz.commands import prepare
from benchmarks.fuzz.running import run_cases


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    prepare(folder)
    return folder


@pytest.mark.parametrize("seed", range(4))
def test_damaged_input_ends_in_a_result_or_in_one_line(folder, seed):
    assert run_cases(folder, 15, seed) == []
