import pytest
from benchmarks.performance.timing import SAMPLE_SECONDS, Budget, Spread, interleaved, ratio


class FakeClock:
    """Time passes only while a task runs."""

    def __init__(self):
        self.now = 0.0
        self.ran = []

    def __call__(self):
        return self.now

    def task(self, name, seconds):
        def run():
            self.ran.append(name)
            self.now += seconds

        return run


def test_every_round_runs_each_once_and_rounds_alternate_between_two_orders():
    clock = FakeClock()
    tasks = {"a": clock.task("a", 1.0), "b": clock.task("b", 2.0)}
    found = interleaved(tasks, Budget(0, least=3, most=9), clock)
    assert "".join(clock.ran) == "ab" + "ab" + "ba" + "ab"  # the first of each warms up
    assert found == {"a": [1.0] * 3, "b": [2.0] * 3}


def test_short_tasks_are_repeated_within_a_sample():
    clock = FakeClock()
    found = interleaved({"a": clock.task("a", SAMPLE_SECONDS / 4)}, Budget(0, least=2, most=2), clock)
    assert len(clock.ran) == 2 + 2 * 4
    assert found["a"] == pytest.approx([SAMPLE_SECONDS / 4] * 2)


def test_rounds_end_with_the_budget_but_not_before_the_least():
    clock = FakeClock()
    assert len(interleaved({"a": clock.task("a", 1.0)}, Budget(4.5, least=2, most=99), clock)["a"]) == 5
    assert len(interleaved({"a": clock.task("a", 9.0)}, Budget(4.5, least=2, most=99), clock)["a"]) == 2
    assert len(interleaved({"a": clock.task("a", 1.0)}, Budget(99, least=2, most=7), clock)["a"]) == 7


def test_ratios_are_taken_within_rounds_so_that_drift_cancels():
    drift = [1.0, 5.0, 2.0, 9.0, 3.0]
    assert ratio([2 * one for one in drift], drift) == Spread(2.0, 2.0, 2.0, 5)


def test_collection_of_garbage_is_off_while_timing_and_back_afterwards():
    import gc

    seen = []
    interleaved({"a": lambda: seen.append(gc.isenabled())}, Budget(0, least=1, most=1))
    assert not seen[-1]
    assert gc.isenabled()
