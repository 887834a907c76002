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


def break_imports(monkeypatch, errors):
    """Let every import of some packages raise, and forget what of them is imported."""
    for name in [*sys.modules]:
        if name.partition(".")[0] in errors:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(errors), *sys.meta_path])
