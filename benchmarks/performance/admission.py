"""Who may be timed: what fits into memory and passes the gate; the rest is skipped by name, with the reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks.performance.contenders import contender, reference
from benchmarks.performance.gate import GateError, check, checks
from benchmarks.performance.results import Results, Skip
from benchmarks.performance.settings import Setting
from benchmarks.performance.sizes import check_fits, does_not_fit
from primaldual.errors import UnsupportedError

Pair = tuple[str, Setting]
"""A contender by name, and what it runs on."""

BASELINE = "SDPA"


@dataclass
class Admission:
    """Checks contenders, and remembers who is out.

    Args:
        results: where checks and skips are noted.
        available: bytes of memory to plan with.
    """

    results: Results
    available: int
    missing: dict[Pair, str] = field(default_factory=dict)

    def refuse_sizes(self, settings: Iterable[Setting]) -> None:
        """Refuse sizes that were asked for and on which not even the baseline fits.

        Raises:
            ArgumentError: with the bytes needed, and the length that would fit.
        """
        for setting in settings:
            check_fits(contender(BASELINE), setting, True, self.available)

    def check(self, name: str, setting: Setting) -> None:
        """Pass the gate, or be skipped; ours may be skipped only for what it does not offer.

        Raises:
            GateError: outputs or gradients are wrong.
        """
        one = contender(name)
        if reason := does_not_fit(one, setting, one.family.backward, self.available):
            self.skip(name, setting, reason)
            return
        try:
            for candidate in (one,) if one.family.ours else (reference(one), one):
                for small in checks(candidate, setting):
                    seen = {(found.contender, found.setting) for found in self.results.checks}
                    if (str(candidate), small) not in seen:
                        self.results.checks.append(check(candidate, small))
        except GateError:
            raise
        except UnsupportedError as error:
            self.skip(name, setting, str(error))
        except Exception as error:
            if one.family.ours:
                raise
            self.skip(name, setting, f"cannot run here: {in_words(error)}")

    def skip(self, name: str, setting: Setting, reason: str) -> None:
        """Leave a contender out, with the reason."""
        self.missing[name, setting] = reason
        self.results.skips.append(Skip(name, setting, reason))


def in_words(error: BaseException) -> str:
    """Kind and first line of what went wrong.

    Example:
        >>> in_words(ModuleNotFoundError("No module named 'local_attention'"))
        "ModuleNotFoundError: No module named 'local_attention'"
    """
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
