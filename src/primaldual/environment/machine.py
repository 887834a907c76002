"""The system, and what torch finds on it."""

from __future__ import annotations

import os
import platform
import sys


def system() -> dict[str, str]:
    """Python, the operating system and the processors that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = {
        "python": f"{platform.python_version()} at {sys.executable}",
        "system": f"{platform.system()} {platform.release()} on {platform.machine()}",
        "cores": str(cores),
    }
    limits = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ}
    return {**found, **limits}


def torch_facts() -> dict[str, str]:
    """Version, threads, instructions and devices of torch.

    Raises:
        ImportError: or whatever else a broken torch raises.
    """
    import torch

    found = {
        "torch": torch.__version__,
        "threads": f"{torch.get_num_threads()} within and {torch.get_num_interop_threads()} between operations",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "built for CUDA": torch.version.cuda or "no",
        "devices": ", ".join(devices()),
    }
    for place in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        major, minor = torch.cuda.get_device_capability(place)
        found[f"cuda:{place}"] = f"{torch.cuda.get_device_name(place)}, compute capability {major}.{minor}"
    return found


def devices() -> list[str]:
    """Types of devices that torch can use here; the CPU comes first."""
    import torch

    others = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return ["cpu", *(name for name, there in others.items() if there)]
