"""Times by CUDA events, interleaved, and peak memory: what every benchmark on a GPU shares."""

from __future__ import annotations

import gc
import math
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from statistics import median, quantiles

import torch

SAMPLE_MILLISECONDS = 2.0
"""A call is repeated within one timing until it takes about this long."""

WARM_UPS = 3
"""Calls before anything is timed: they compile kernels, plan and allocate."""

Call = Callable[[], object]


def interleaved(
    contenders: Mapping[str, Call], repetitions: int = 30, inner: int | None = None
) -> dict[str, dict[str, float]]:
    """Microseconds of one call of every contender; in each round all of them take turns, in alternating order.

    Args:
        contenders: what to call, by name.
        repetitions: rounds, at least 2.
        inner: calls within one timing; None = as many as take about 2 ms, for each contender.

    Returns:
        ``median_us``, ``q10`` and ``q90`` by name.
    """
    names = list(contenders)
    calls = {name: inner or _calls_per_sample(contenders[name]) for name in names}
    for name in names:
        _milliseconds(contenders[name], calls[name])
    found: dict[str, list[float]] = {name: [] for name in names}
    was_on = gc.isenabled()
    gc.disable()
    try:
        for turn in range(repetitions):
            for name in names if turn % 2 == 0 else reversed(names):
                found[name].append(1000 * _milliseconds(contenders[name], calls[name]) / calls[name])
    finally:
        if was_on:
            gc.enable()
    return {name: _spread(times) for name, times in found.items()}


def peak_memory(call: Call) -> int:
    """Bytes that a call allocates at most above what was allocated before it; the call runs once before.

    Example:
        >>> peak_memory(lambda: torch.empty(2**20, device="cuda"))  # doctest: +SKIP
        4194304
    """
    call()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def kept_memory(call: Call) -> int:
    """Bytes that a call leaves allocated as long as its result is there: the result, and what its backward takes.

    Example:
        >>> kept_memory(lambda: torch.empty(2**20, device="cuda"))  # doctest: +SKIP
        4194304
    """
    call()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    result = call()
    torch.cuda.synchronize()
    kept = torch.cuda.memory_allocated() - before
    del result
    return kept


def card() -> dict[str, str | None]:
    """Name, memory and driver of the GPU, and the versions that results belong to."""
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "name": properties.name,
        "memory": f"{properties.total_memory / 2**30:.0f} GiB",
        "capability": f"{properties.major}.{properties.minor}",
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "cudnn": str(torch.backends.cudnn.version()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": _version("triton"),
    }


def _calls_per_sample(call: Call) -> int:
    for _ in range(WARM_UPS):
        call()
    once = min(_milliseconds(call, 1) for _ in range(3))
    return max(1, math.ceil(SAMPLE_MILLISECONDS / max(once, 1e-3)))


def _milliseconds(call: Call, calls: int) -> float:
    """Time of so many calls on the device, from an idle device on."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def _spread(times: list[float]) -> dict[str, float]:
    tenths = quantiles(times, n=10, method="inclusive")
    return {"median_us": median(times), "q10": tenths[0], "q90": tenths[-1]}


def _driver() -> str | None:
    """The version of the driver, from the file that it writes; None where there is none."""
    try:
        with open("/proc/driver/nvidia/version", encoding="utf-8") as lines:
            words = lines.readline().split()
    except OSError:
        return None
    return next((word for word in words if word[0].isdigit() and "." in word), None)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
