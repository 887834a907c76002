"""The machine and the versions that a result belongs to, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.performance.settings import DTYPES
from benchmarks.performance.timing import Budget, Clock, interleaved

PACKAGES = ("primaldual", "torch", "local-attention", "performer-pytorch", "linear-attention-transformer")
PEAK_SIDE = 2048


def machine() -> dict[str, Any]:
    """Processor, cores, threads, memory, system and versions.

    Example:
        >>> sorted(machine())[:4]
        ['cores', 'cpu', 'load', 'packages']
    """
    import psutil  # type: ignore[import-untyped] # stubs are a package of their own

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "ram": int(psutil.virtual_memory().total),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "simd": torch.backends.cpu.get_cpu_capability(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def peak_gflops(dtype: str, budget: Budget, clock: Clock = time.perf_counter) -> float:
    """Best rate of a square matrix product: what this machine, with these threads, can do at all."""
    left, right = torch.randn(2, PEAK_SIDE, PEAK_SIDE).to(DTYPES[dtype]).unbind(0)
    left @ right
    seconds = interleaved({"product": lambda: left @ right}, budget, clock)["product"]
    return 2 * PEAK_SIDE**3 / min(seconds) / 1e9


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
