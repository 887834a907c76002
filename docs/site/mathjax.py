"""MathJax from the package sphinx-mathjax-offline, so that formulas need no network.

The package carries the files of MathJax 3.2.2. Its own extension copies all 24 MB of them; the site needs the one
script that draws TeX as SVG and brings its glyphs with it.
"""

from __future__ import annotations

from importlib.metadata import files
from pathlib import Path
from shutil import copyfile

SCRIPT = "mathjax/tex-svg.js"


def copy_script(static: Path) -> None:
    """Copy the script into a folder of static files."""
    carried = next(file for file in files("sphinx-mathjax-offline") or () if file.match("static/" + SCRIPT))
    target = static / SCRIPT
    target.parent.mkdir(parents=True, exist_ok=True)
    copyfile(str(carried.locate()), target)
