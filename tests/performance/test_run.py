from dataclasses import replace

import pytest
from benchmarks.performance import GateError, Plan, Results, Setting, Sweep, admission
from benchmarks.performance.contenders import FAMILIES
from benchmarks.performance.programs import FORWARD, Program

from primaldual.errors import ArgumentError, UnsupportedError
from tests.performance.fakes import PLAN, ROUNDS, SMALL, runner


def patched(monkeypatch, name, **changes):
    monkeypatch.setitem(FAMILIES, name, replace(FAMILIES[name], **changes))


def test_a_run_measures_everything_and_saves_after_every_step(monkeypatch):
    steps = []
    one, results, saved = runner(monkeypatch, on_step=lambda *step: steps.append(step))
    one.run()
    assert results.finished
    assert [done for _, done, _ in steps] == list(range(one.total))
    assert {total for _, _, total in steps} == {one.total}
    assert len(saved) == one.total + 1
    assert Results.from_json(saved[-1]).finished
    assert len(results.sweeps) == 4 * 3
    assert all(row.ratio.median == 1 for row in results.sweeps if row.contender == "SDPA")
    assert [row.value.median for row in results.duels] == [1.0, 9.0, 1.0]  # a tick each; 900 bytes by 100
    assert [row.reached for row in results.duels] == [True, True, True]
    assert [(row.length, row.reached) for row in results.doublings] == [(8, False)]
    assert results.footprints[0].memory == 100
    assert {check.contender for check in results.checks} >= {"bn", "SDPA", "literal bn", "softmax", "layer"}
    assert results.peaks == {"fp32": 50.0}


def test_a_failed_gate_stops_before_anything_is_timed(monkeypatch):
    right = FAMILIES["literal"].build

    def wrong(spec, setting):
        program = right(spec, setting)
        return Program(lambda *leaves: 1.01 * program.function(*leaves), program.leaves, program.seed)

    patched(monkeypatch, "literal", build=wrong)
    one, results, _ = runner(monkeypatch)
    with pytest.raises(GateError, match="literal bn fails the gate: its output"):
        one.run()
    assert not results.sweeps
    assert not results.duels
    assert not results.finished


def test_ctrl_c_keeps_what_was_measured(monkeypatch):
    def stop(words, done, total):
        if words.startswith("bn / formula"):
            raise KeyboardInterrupt

    one, _, saved = runner(monkeypatch, on_step=stop)
    with pytest.raises(KeyboardInterrupt):
        one.run()
    kept = Results.from_json(saved[-1])
    assert not kept.finished
    assert len(kept.sweeps) == 12
    assert len(kept.duels) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleNotFoundError("No module named 'peer'"), "No module named 'peer'"),
        (UnsupportedError("no masks here"), "no masks here"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ],
)
def test_a_peer_that_cannot_run_is_skipped_by_name_with_the_reason(monkeypatch, error, words):
    def build(spec, setting):
        raise error

    patched(monkeypatch, "literal", build=build)
    one, results, _ = runner(monkeypatch)
    one.run()
    reasons = {skip.reason for skip in results.skips if skip.contender == "literal bn"}
    assert len(reasons) == 1
    assert words in reasons.pop()
    assert "literal bn" not in {row.contender for row in results.sweeps}
    assert len(results.duels) == 2
    assert ("compiled", "takes long") in {(skip.contender, skip.reason) for skip in results.skips}


def test_ours_is_never_skipped_for_failing(monkeypatch):
    def build(spec, setting):
        raise ZeroDivisionError

    patched(monkeypatch, "layer", build=build)
    with pytest.raises(ZeroDivisionError):
        runner(monkeypatch)[0].run()


def test_a_peer_that_fails_at_the_size_that_is_timed_is_skipped(monkeypatch):
    right, calls = FAMILIES["literal"].build, []

    def build(spec, setting):
        calls.append(setting)
        if len(calls) > 2:  # the gate has passed on both lengths
            raise RuntimeError("can't allocate memory")
        return right(spec, setting)

    patched(monkeypatch, "literal", build=build)
    one, results, _ = runner(monkeypatch)
    one.run()
    assert any("can't allocate memory" in skip.reason for skip in results.skips)
    assert results.finished


def test_what_does_not_fit_into_memory_is_skipped_with_the_number(monkeypatch):
    big = Setting(4096)
    plan = Plan(sweeps=(Sweep(("SDPA", "literal bn"), big, FORWARD),), budget=ROUNDS)
    one, results, _ = runner(monkeypatch, plan, available=2**30)
    one._admission.check("literal bn", big)
    assert "needs about" in results.skips[0].reason
    assert "GiB" in results.skips[0].reason


def test_sizes_that_were_asked_for_are_refused_before_anything_runs(monkeypatch):
    plan = replace(PLAN, sweeps=(Sweep(("SDPA",), Setting(10**7), FORWARD),), asked=True)
    steps = []
    one, _, _ = runner(monkeypatch, plan, on_step=lambda *step: steps.append(step))
    with pytest.raises(ArgumentError, match="lengths must be at most"):
        one.run()
    assert not steps


def test_a_failing_child_is_a_skip(monkeypatch):
    def broken(name, setting, direction, threads):
        raise UnsupportedError("the child process failed: killed")

    one, results, _ = runner(monkeypatch, footprint=broken)
    one.run()
    assert not results.footprints
    assert any("killed" in skip.reason for skip in results.skips)


def test_words_of_an_error():
    assert admission.in_words(ValueError("one\ntwo")) == "ValueError: one"
    assert SMALL.length == 16
