"""First call and peak memory, in a process of its own: ``python -m benchmarks.performance.child`` reads a request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.performance.settings import Setting
from primaldual.errors import UnsupportedError

PAGE = 4096
"""Bytes below which nothing is told apart."""

ROOT = Path(__file__).parents[2]
"""The folder that holds the package ``benchmarks``."""

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Footprint:
    """What a fresh process saw.

    Attributes:
        first_call: seconds of the first call, imports done.
        memory: bytes by which the second call raised the resident memory at its highest.
    """

    first_call: float
    memory: int


def footprint(name: str, setting: Setting, direction: str, threads: int) -> Footprint:
    """Measure a contender in a child process.

    Raises:
        UnsupportedError: the child failed; its last words are the message.
    """
    request = {"name": name, "setting": asdict(setting), "direction": direction, "threads": threads}
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.performance.child"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
    )
    if child.returncode != 0:
        words = child.stderr.strip().splitlines()[-1:] or [f"exit code {child.returncode}"]
        raise UnsupportedError(f"the child process failed: {words[0]}")
    return Footprint(**json.loads(child.stdout.splitlines()[-1]))


def _environment() -> dict[str, str]:
    """Find this package from every folder; return freed tensors to the system at once.

    The second call then starts from the memory that is really in use.
    """
    places = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(places),
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
    }


def answer(request: dict[str, Any]) -> Footprint:
    """The child's side."""
    import torch

    from benchmarks.performance.contenders import contender

    torch.set_num_threads(request["threads"])
    program = contender(request["name"]).build(Setting(**request["setting"]))
    task = program.task(request["direction"])
    start = time.perf_counter()
    task()
    first_call = time.perf_counter() - start
    return Footprint(first_call, rise(task))


def rise(task: Callable[[], object]) -> int:
    """Bytes by which a call raises the resident memory above where it stood, at least a page.

    The system's own high-water mark is read where it can be reset (Linux); elsewhere a thread looks every
    millisecond and may miss a shorter peak.
    """
    try:
        _CLEAR.write_text("5")
    except OSError:
        from primaldual.analysis.memory import ResidentPeak

        with ResidentPeak() as resident:
            task()
        return max(PAGE, resident.rise)
    before = _kilobytes("VmRSS")
    task()
    return max(PAGE, (_kilobytes("VmHWM") - before) * 1024)


def _kilobytes(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])


if __name__ == "__main__":
    print(json.dumps(asdict(answer(json.load(sys.stdin)))))
