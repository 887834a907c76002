"""Packages that are missing or broken in this process."""

import importlib.abc
import sys


class Broken(importlib.abc.MetaPathFinder):
    """An import hook that raises for some packages and all that lies in them."""

    def __init__(self, errors):
        self.errors = errors

    def find_spec(self, name, path=None, target=None):
        error = self.errors.get(name.partition(".")[0])
        if error is not None:
            raise error


def forget(monkeypatch, wanted):
    """Forget imported modules until the test ends; the packages above them then hold the former modules again."""
    for name in [*sys.modules]:
        if wanted(name):
            package, _, own = name.rpartition(".")
            if hasattr(sys.modules.get(package), own):
                monkeypatch.setattr(sys.modules[package], own, getattr(sys.modules[package], own))
            monkeypatch.delitem(sys.modules, name)


def break_imports(monkeypatch, errors):
    """Let every import of some packages raise, and forget what of them is imported."""
    forget(monkeypatch, lambda name: name.partition(".")[0] in errors)
    monkeypatch.setattr(sys, "meta_path", [Broken(errors), *sys.meta_path])
