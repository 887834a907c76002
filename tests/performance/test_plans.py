import pytest
from benchmarks.performance import SECTIONS, Wanted, asked, contender, full, goals, only, quick
from benchmarks.performance.cases import Bound
from benchmarks.performance.goals import WORK
from benchmarks.performance.programs import BOTH, FORWARD

from primaldual.errors import ArgumentError


def find(name, length, direction, measure="time", is_causal=False):
    return next(
        duel
        for duel in full().duels
        if (duel.name, duel.setting.length, duel.direction, duel.measure, duel.setting.is_causal)
        == (name, length, direction, measure, is_causal)
    )


def test_the_goals_are_those_that_were_set():
    scaled = "sh(1,1,2,2,4,4,8,8)"
    assert find("bn / SDPA", 1024, FORWARD).bound == Bound(at_most=1.03)
    assert find("bn / SDPA", 4096, BOTH).bound == Bound(at_most=1.05)
    assert find("bn / SDPA", 128, FORWARD).bound == Bound(at_most=1.12)
    assert find(f"{scaled} / SDPA", 2048, BOTH).bound == Bound(at_most=0.52)
    assert find(f"bn+{scaled} / the formula", 4096, FORWARD).bound == Bound(at_least=8)
    assert find(f"bn+{scaled} / the formula", 4096, BOTH).bound == Bound(at_least=5)
    assert find(f"bn+{scaled} / the formula", 4096, BOTH, "peak memory").bound == Bound(at_least=8)
    assert find("bn / SDPA", 2048, BOTH, is_causal=True).bound == Bound(at_most=1.10)
    assert find(f"{scaled} / SDPA", 2048, FORWARD, is_causal=True).bound.at_most == pytest.approx(
        1.25 * WORK, 1e-2
    )
    assert find("window(64) / SDPA with a mask", 4096, BOTH).bound == Bound(at_least=12)
    assert find("window(64) / local-attention", 4096, FORWARD).bound == Bound(at_least=1.6)
    assert find("linear / cumulative sums", 4096, FORWARD, is_causal=True).bound == Bound(at_least=40)
    assert find("linear / performer-pytorch", 4096, BOTH).bound == Bound(at_least=1.7)
    assert find("decoding bn / SDPA over a cache", 4096, FORWARD).bound == Bound(at_most=1.05)
    kept = find("decoding sh(1,2,4,8) / SDPA over a cache", 4096, FORWARD, "state bytes")
    assert kept.bound == Bound(at_most=0.49)
    assert pytest.approx(0.469, abs=1e-3) == WORK
    assert {tuple(one.length for one in case.settings) for case in full().doublings} == {
        (2048, 4096, 8192, 16384)
    }


@pytest.mark.parametrize("plan", [full(), quick()], ids=["full", "quick"])
def test_every_contender_of_a_plan_exists(plan):
    for name, setting in plan.pairs():
        assert contender(name).needs(setting, True) > 0


def test_sections():
    assert only(full(), []) == full()
    parts = {name: only(full(), [name]) for name in SECTIONS}
    assert parts["sweep"].sweeps == full().sweeps
    assert not parts["sweep"].duels
    assert all(not duel.bound.empty for duel in parts["goals"].duels)
    assert len(parts["goals"].duels) + len(parts["peers"].duels) == len(full().duels)
    assert parts["growth"].doublings == full().doublings
    assert parts["memory"].footprints == full().footprints
    with pytest.raises(ArgumentError, match="speed"):
        only(full(), ["speed"])


def test_sizes_that_are_asked_for_are_combined():
    wanted = Wanted((64, 32), (8, 16), 2, (True,), (False,), ("fp32", "bf16"))
    settings = wanted.settings()
    assert len(settings) == 8
    assert [one.length for one in settings] == [32] * 4 + [64] * 4
    assert all(one.batch == 2 and one.is_causal and not one.padding for one in settings)
    assert Wanted((512,)).settings()[0].batch == 8
    assert asked(wanted).asked


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted((0,)), "lengths must be 1 or more; got 0"),
        (Wanted((8,), (-1,)), "head_dims"),
        (Wanted((8,), batch=0), "batch"),
        (Wanted((8,), dtypes=("fp16",)), "fp16"),
    ],
)
def test_sizes_that_are_none_are_refused(wanted, words):
    with pytest.raises(ArgumentError, match=words):
        wanted.settings()


def test_goals_module_lists_every_direction():
    assert {duel.direction for duel in goals.goals()} == {FORWARD, BOTH}
