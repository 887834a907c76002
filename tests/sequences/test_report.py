from __future__ import annotations

from primaldual.sequences import PreparedRun, RunSettings
from primaldual.sequences.report import render
from primaldual.sequences.run_numbers import numbers_of
from primaldual.training import Execution
from tests.sequences.helpers import write_texts


def test_it_says_what_was_left_out_and_shows_the_numbers(tmp_path):
    write_texts(tmp_path / "texts", count=20)
    (tmp_path / "texts" / "good" / "0.txt").write_bytes(b"")
    given = RunSettings(
        "text", "sh(1,2)", data=tmp_path / "texts", data_dir=tmp_path, skip_bad=True, steps=1, max_length=30
    )
    run = PreparedRun(given, tmp_path / "run")
    done = run.finish(run.train(Execution(device="cpu")))
    numbers, page = numbers_of(done), render(done)
    assert numbers["left_out"] == [str(tmp_path / "texts" / "good" / "0.txt")]
    assert numbers["training"]["cases_per_second"] > 0
    assert 0 <= numbers["training"]["loading_share"] <= 1
    assert numbers["most_frequent_class"] >= 0.5
    assert "text with sh(1,2), configuration pytorch" in page
    assert "1 files cannot be read and were left out" in page
    assert "The test part is 20 % of every class" in page
