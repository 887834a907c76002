"""A diagnosis as lines of text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from primaldual.environment.packages import MISSING, WORKS, Package

if TYPE_CHECKING:
    from primaldual.environment.doctor import Diagnosis

INDENT, WIDTH = 24, 110

MOST = 8
"""Attentions that are listed for a form; the others are counted."""


def report(found: Diagnosis) -> str:
    """What ``primaldual doctor`` prints."""
    return "\n".join(_lines(found))


def _lines(found: Diagnosis) -> Iterator[str]:
    yield f"primaldual {found.version}"
    for name, value in {**found.system, **found.torch}.items():
        yield _row(name, value)
    yield "\nPackages, each under the first extra that needs it"
    yield from _packages(found)
    if found.forms:
        yield "\nForms, with the attentions that each of them computes on this machine"
    for form in found.forms:
        served = "; ".join(f"on {device} {_some(specs)}" for device, specs in form.serves.items())
        yield _row(form.name, served or f"none: {form.reason}")
    if found.plugins:
        yield "\nWords of specs that other packages add"
    for plugin in found.plugins:
        yield _row(plugin.word, f"{plugin.package}{': ' if plugin.reason else ''}{plugin.reason}")
    problems = found.problems()
    yield "\nProblems" if problems or found.troubles else "\nNo problems."
    for package in problems:
        yield _row(package.requirement.name, package.reason)
        yield f"{'':{INDENT}}{package.remedy}"
    for part, reason in found.troubles.items():
        yield _row(part, reason)


def _packages(found: Diagnosis) -> Iterator[str]:
    if not found.extras:
        yield "  unknown, since primaldual runs from its source tree without being installed"
    shown: set[str] = set()
    for extra, packages in sorted(found.extras.items(), key=lambda item: len(item[1])):
        new = [package for package in packages if package.requirement.name not in shown]
        shown |= {package.requirement.name for package in new}
        missing = [package for package in packages if package.state == MISSING]
        if new:
            yield _row(f"[{extra}]" if extra else "core", _listed(new))
        if missing:
            yield f"{'':{INDENT}}{_together(missing)}"
    yield _row("kernels for GPUs", _listed([found.triton]))


def _row(name: str, text: str) -> str:
    lines = textwrap.wrap(text, WIDTH - INDENT, break_long_words=False, break_on_hyphens=False) or [""]
    return f"  {name:{INDENT - 2}}" + f"\n{'':{INDENT}}".join(lines)


def _some(specs: list[str]) -> str:
    more = f" and {len(specs) - MOST} more" if len(specs) > MOST else ""
    return ", ".join(specs[:MOST]) + more


def _listed(packages: Iterable[Package]) -> str:
    return ", ".join(f"{package.requirement.name} {_state(package)}" for package in packages)


def _state(package: Package) -> str:
    return (package.version or "works") if package.state == WORKS else package.state.upper()


def _together(packages: list[Package]) -> str:
    return "pip install " + " ".join(f'"{package.requirement}"' for package in packages)
