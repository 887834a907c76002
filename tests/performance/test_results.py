import json

import pytest
from benchmarks.performance import Results

from primaldual.errors import DataError
from tests.performance.fakes import runner


def test_json_round_trip(monkeypatch):
    one, results, _ = runner(monkeypatch)
    one.run()
    text = results.to_json()
    again = Results.from_json(text)
    assert again.to_json() == text
    assert type(again.duels[0].case) is type(results.duels[0].case)
    assert again.duels[1].case == results.duels[1].case
    assert again.sweeps[0].setting == results.sweeps[0].setting


def test_a_file_is_replaced_in_one_move(tmp_path):
    path = tmp_path / "deep" / "performance.json"
    Results("first", "").save(path)
    Results("second", "").save(path)
    assert [file.name for file in path.parent.iterdir()] == ["performance.json"]
    assert Results.from_json(path.read_text()).command == "second"


@pytest.mark.parametrize("text", ["", "{}", "[1]", json.dumps({"schema": 99})])
def test_foreign_files_are_refused(text):
    with pytest.raises(DataError, match="results"):
        Results.from_json(text)
