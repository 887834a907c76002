import pytest
from benchmarks.performance import sizes
from benchmarks.performance.contenders import contender
from benchmarks.performance.settings import Setting

from primaldual.errors import ArgumentError

GIB = 2**30


def test_needs_grow_with_what_is_formed():
    long = Setting(16384)
    assert contender("literal bn").needs(long, True) > 40 * GIB
    assert contender("bn").needs(long, True) < GIB
    assert contender("cumulative-sums").needs(long, False) > 4 * GIB
    assert contender("bn").needs(long, True) > contender("bn").needs(long, False)


def test_refusal_names_the_argument_what_was_given_and_what_fits():
    with pytest.raises(ArgumentError, match=r"at most .* got 1000000, which needs about .* GiB") as found:
        sizes.check_fits(contender("SDPA"), Setting(1_000_000), True, GIB)
    fits = int(str(found.value).split("at most ")[1].split()[0])
    assert sizes.does_not_fit(contender("SDPA"), Setting(fits), True, GIB) is None
    assert sizes.does_not_fit(contender("SDPA"), Setting(fits + 1), True, GIB)


def test_a_container_limits_what_is_available(monkeypatch, tmp_path):
    monkeypatch.setattr(sizes, "_CGROUP", tmp_path)
    free = sizes.available_bytes()
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert sizes.available_bytes() == 600_000 < free
    (tmp_path / "memory.max").write_text("max\n")
    assert sizes.available_bytes() > 600_000
