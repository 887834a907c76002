"""A diagnosis as lines of text."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from primaldual.environment.packages import MISSING, WORKS, Package

if TYPE_CHECKING:
    from primaldual.environment.doctor import Diagnosis

INDENT, WIDTH, NARROWEST = 24, 110, 60

TIED = "\N{NO-BREAK SPACE}"
"""In place of spaces at which no line ends."""

Row = Callable[[str, str], str]
"""Makes lines of a name and what stands beside it."""

MOST = 8
"""Attentions that are listed for a form; the others are counted."""


def report(found: Diagnosis, columns: int = WIDTH) -> str:
    """What ``primaldual doctor`` prints.

    Args:
        found: on this machine.
        columns: of the terminal; lines are never longer than ``WIDTH``.
    """
    row = partial(_row, min(max(columns, NARROWEST), WIDTH))
    return "\n".join(_lines(found, row))


def _lines(found: Diagnosis, row: Row) -> Iterator[str]:
    yield f"primaldual {found.version}"
    for name, value in {**found.system, **found.torch}.items():
        yield row(name, value)
    yield "\nPackages, each under the first extra that needs it"
    yield from _packages(found, row)
    if found.forms:
        yield "\nForms, the ways to compute an attention, and the specs that each serves here"
    for form in found.forms:
        served = "; ".join(f"{device}: {_some(specs)}" for device, specs in form.serves.items())
        yield row(form.name, served or f"none: {form.reason}")
    if found.plugins:
        yield "\nWords of specs that other packages add"
    for plugin in found.plugins:
        yield row(plugin.word, f"{plugin.package}{': ' if plugin.reason else ''}{plugin.reason}")
    problems = found.problems()
    yield "\nProblems" if problems or found.troubles else "\nNo problems."
    for package in problems:
        yield row(package.requirement.name, package.reason)
        yield f"{'':{INDENT}}{package.remedy}"
    for part, reason in found.troubles.items():
        yield row(part, reason)


def _packages(found: Diagnosis, row: Row) -> Iterator[str]:
    if not found.extras:
        yield "  unknown, since primaldual runs from its source tree without being installed"
    shown: set[str] = set()
    for extra, packages in sorted(found.extras.items(), key=lambda item: len(item[1])):
        new = [package for package in packages if package.requirement.name not in shown]
        shown |= {package.requirement.name for package in new}
        missing = [package for package in packages if package.state == MISSING]
        if new:
            yield row(f"[{extra}]" if extra else "core", _listed(new))
        if missing:
            yield f"{'':{INDENT}}{_together(missing)}"
    yield row("kernels for GPUs", _listed([found.triton]))


def _row(width: int, name: str, text: str) -> str:
    lines = textwrap.wrap(text, width - INDENT, break_long_words=False, break_on_hyphens=False) or [""]
    return f"  {name:{INDENT - 2}}" + f"\n{'':{INDENT}}".join(lines).replace(TIED, " ")


def _some(specs: list[str]) -> str:
    more = f" and {len(specs) - MOST} more" if len(specs) > MOST else ""
    return ", ".join(spec.replace(" ", TIED) for spec in specs[:MOST]) + more


def _listed(packages: Iterable[Package]) -> str:
    return ", ".join(f"{package.requirement.name} {_state(package)}" for package in packages)


def _state(package: Package) -> str:
    return (package.version or "works") if package.state == WORKS else package.state.upper()


def _together(packages: list[Package]) -> str:
    return "pip install " + " ".join(f'"{package.requirement}"' for package in packages)
