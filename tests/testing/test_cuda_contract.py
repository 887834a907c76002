"""The contract for a given time meets every attention, and a failure ends nothing."""

import benchmarks.cuda.contract as benchmark
import pytest

from primaldual.testing.outputs import check_samples


@pytest.fixture
def failing(monkeypatch):
    """A check that fails on one attention, beside one that passes."""

    def check_planted(problem, *sizes):
        if problem.spec() == "bn":
            raise ValueError("planted\n\nin two lines")

    monkeypatch.setattr(benchmark, "CHECKS", (check_planted, check_samples))


def test_failures_are_printed_counted_and_passed_over(failing, capsys):
    found = benchmark.run(1e6, "cpu")
    count = len(benchmark.SPECS + benchmark.FIXED)
    assert found["passed"] == {"check_planted": count - 1, "check_samples": count}
    assert found["failed"] == 1
    assert found["failures"][0]["spec"] == "bn"
    assert capsys.readouterr().out == "FAIL check_planted bn: ValueError: planted ... in two lines\n"


def test_what_no_time_is_left_for_is_counted(failing):
    found = benchmark.run(0.0, "cpu")
    assert not found["passed"]
    assert set(found["not_run"].values()) == {len(benchmark.SPECS + benchmark.FIXED)}
