"""Run every script of the gallery and keep its pictures.

python examples/draw_gallery.py runs/gallery               # all scripts
python examples/draw_gallery.py runs/gallery lla classifier  # those whose names contain one of the words
"""

from __future__ import annotations

import argparse
import runpy
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import matplotlib as mpl
import matplotlib.pyplot as plt

SCRIPTS = sorted((Path(__file__).parent / "gallery").glob("plot_*.py"))


def draw(script: Path, folder: Path) -> list[Path]:
    """Run one script and write its figures as PNG files, numbered in the order in which it made them."""
    plt.close("all")
    with mpl.rc_context({"backend": "agg"}), patch.object(plt, "show"):
        runpy.run_path(str(script), run_name="__main__")
        paths = []
        for place, number in enumerate(plt.get_fignums(), 1):
            paths.append(folder / f"{script.stem.removeprefix('plot_')}_{place}.png")
            plt.figure(number).savefig(paths[-1])
    plt.close("all")
    return paths


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the chosen scripts, a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the pictures go; made if it is missing")
    parser.add_argument("words", nargs="*", help="parts of the names of scripts (default: all scripts)")
    options = parser.parse_args(arguments)
    chosen = [path for path in SCRIPTS if any(word in path.stem for word in options.words or [""])]
    if not chosen:
        parser.error(f"words must occur in the name of a script; got {' '.join(options.words)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    for script in chosen:
        start = time.process_time()
        print(f"== {script.name}", flush=True)
        pictures = draw(script, options.folder)
        print(f"   {time.process_time() - start:.1f} s of processor time: {', '.join(map(str, pictures))}")


if __name__ == "__main__":
    main()
