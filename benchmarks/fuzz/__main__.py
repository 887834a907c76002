"""Run damaged commands: ``python -m benchmarks.fuzz --count 2000 --seed 0``.

Whatever ends in a traceback, takes longer than five minutes, or exits with an unknown code is printed, and its files are
kept in a folder; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.fuzz.running import run_cases, silence
from benchmarks.fuzz.whole_files import prepare

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run damaged commands.")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    place = Path(tempfile.mkdtemp(prefix="primaldual-fuzz-"))
    with silence():
        prepare(place)
    found = run_cases(
        place,
        given.count,
        given.seed,
        lambda number: print(f"\r{number + 1}", end="", file=sys.stderr, flush=True),
    )
    for failure in found:
        print(f"\n{failure.words}\n{failure.told}")
    print(
        f"{len(found)} of {given.count} commands failed" + (f"; their files are in {place}" if found else "")
    )
    if not found:
        shutil.rmtree(place)
    sys.exit(bool(found))
