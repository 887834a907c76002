"""A report of the machine, the installed packages and the forms, which never fails itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import primaldual
from primaldual.environment.machine import devices, system, torch_facts
from primaldual.environment.packages import BROKEN, MISSING, WORKS, Package, examine, in_one_line
from primaldual.environment.plugins import Plugin, plugins
from primaldual.environment.report import report
from primaldual.environment.requirements import Requirement, requirements

T = TypeVar("T")

TRITON = Requirement("triton")
"""What torch's wheels for Linux bring for kernels on NVIDIA GPUs."""


@dataclass(frozen=True)
class Diagnosis:
    """What :func:`doctor` found; printed, a report.

    Attributes:
        version: of primaldual.
        system: Python, operating system, processors.
        torch: version, threads and devices; empty if torch does not work.
        extras: by name, the packages that each extra needs; the core under "".
        triton: the compiler of kernels for NVIDIA GPUs.
        forms: every form with what it serves here, or why it serves nothing.
        plugins: words of specs that other packages add.
        troubles: parts of this report that could not be made, with the reason.
    """

    version: str
    system: dict[str, str]
    torch: dict[str, str]
    extras: dict[str, list[Package]]
    triton: Package
    forms: list[Any]
    plugins: list[Plugin]
    troubles: dict[str, str]

    def problems(self) -> list[Package]:
        """Packages that are broken or too old, each once."""
        stated = [package for packages in self.extras.values() for package in packages]
        found = {
            package.requirement.name: package for package in stated if package.state not in (WORKS, MISSING)
        }
        return [*found.values(), *([self.triton] if self.triton.state == BROKEN else [])]

    def as_dict(self) -> dict[str, Any]:
        """The same as numbers and words, for JSON."""
        extras = {
            extra or "core": [
                {
                    "name": package.requirement.name,
                    "needed": package.requirement.bounds,
                    "version": package.version,
                    "state": package.state,
                    "reason": package.reason,
                    "remedy": package.remedy,
                }
                for package in packages
            ]
            for extra, packages in self.extras.items()
        }
        return {
            "version": self.version,
            "system": self.system,
            "torch": self.torch,
            "extras": extras,
            "triton": {
                "version": self.triton.version,
                "state": self.triton.state,
                "reason": self.triton.reason,
            },
            "forms": [asdict(form) for form in self.forms],
            "plugins": [asdict(plugin) for plugin in self.plugins],
            "troubles": self.troubles,
        }

    def __str__(self) -> str:
        return report(self)


def doctor(imports: bool = True) -> Diagnosis:
    """Examine this machine and what is installed on it. Nothing that is missing or broken makes it fail.

    Args:
        imports: import every package that an extra needs, which takes a few seconds and alone shows that it is whole.
            False = look versions up.

    Returns:
        A report, to print or to read by its attributes.

    Example:
        >>> found = doctor(imports=False)
        >>> found.version == primaldual.__version__, "softmax" in [form.name for form in found.forms]
        (True, True)
    """
    troubles: dict[str, str] = {}

    def tried(part: str, make: Callable[[], T], otherwise: T) -> T:
        try:
            return make()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            troubles[part] = in_one_line(error)
            return otherwise

    needs: dict[str, list[Requirement]] = tried("extras", requirements, {})
    known: dict[str, Package] = {}

    def examined(requirement: Requirement) -> Package:
        if requirement.name not in known:
            known[requirement.name] = examine(requirement, imports)
        return known[requirement.name]

    extras = {extra: [examined(need) for need in stated] for extra, stated in needs.items()}
    return Diagnosis(
        primaldual.__version__,
        tried("system", system, {}),
        tried("torch", torch_facts, {}),
        extras,
        examined(TRITON),
        tried("forms", _forms, []),
        tried("plugins", lambda: plugins(imports), []),
        troubles,
    )


def _forms() -> list[Any]:
    from primaldual.environment.forms import forms_here

    return [*forms_here(devices())]
