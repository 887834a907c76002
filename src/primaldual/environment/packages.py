"""Whether a package that the library may use works: missing, too old, broken, or fine."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from primaldual.environment.requirements import Requirement

WORKS, MISSING, TOO_OLD, BROKEN = "works", "missing", "too old", "broken"

MODULES = {
    "aeon": "aeon.classification.base",
    "matplotlib": "matplotlib.figure",
    "scikit-learn": "sklearn.base",
    "timm": "timm.layers",
    "transformers": "transformers.modeling_utils",
}
"""What to import of packages whose own module is named otherwise, or imports so little that it always works."""


@dataclass(frozen=True)
class Package:
    """What was found out about a package.

    Attributes:
        requirement: what the library accepts of it.
        state: "works", "missing", "too old" or "broken".
        version: the installed one; None = unknown.
        reason: what is wrong, in one line; "" = nothing.
    """

    requirement: Requirement
    state: str
    version: str | None = None
    reason: str = ""

    @property
    def remedy(self) -> str:
        """The command that installs it; "" for one that works."""
        if self.state == WORKS:
            return ""
        again = "--force-reinstall " if self.state == BROKEN else ""
        return f'pip install {again}"{self.requirement}"'


def examine(requirement: Requirement, imports: bool = True) -> Package:
    """Find out whether a package works.

    Args:
        requirement: name and accepted versions.
        imports: import it, which alone shows that it is whole. False = look its version up.

    Example:
        >>> examine(Requirement("no-such-package", ">=1")).remedy
        'pip install "no-such-package>=1"'
    """
    installed = _version(requirement.name)
    if imports:
        module = MODULES.get(requirement.name, requirement.name.replace("-", "_"))
        error = failure(module)
        own = isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]
        if own and installed is None:
            return Package(requirement, MISSING)
        if error is not None:
            return Package(requirement, BROKEN, installed, in_one_line(error))
    elif installed is None:
        return Package(requirement, MISSING)
    if installed is not None and _numbers(installed) < _numbers(requirement.minimum):
        return Package(requirement, TOO_OLD, installed, f"{installed} is older than {requirement.minimum}")
    return Package(requirement, WORKS, installed)


def failure(module: str) -> BaseException | None:
    """What importing a module raises; None if it works. What it prints in doing so is not shown."""
    if module in sys.modules:
        return None
    try:
        with quiet():
            importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a half-installed package may raise anything, SystemExit too
        return error
    return None


def in_one_line(error: BaseException) -> str:
    """An error as one line of at most 200 characters."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}"[:200].rstrip(": ")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Show nothing of what Python code prints or warns of."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name) or None
    except Exception:  # metadata that is not there, or cannot be read
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version, to compare with others.

    Example:
        >>> _numbers("2.14.1+cu130"), _numbers("2.13") < _numbers("2.13.0rc1")
        ((2, 14, 1), True)
    """
    release = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in release.group().split(".")) if release else ()
