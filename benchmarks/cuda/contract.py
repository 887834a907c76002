"""The contract of every attention on a GPU, until a time is over: ``python -m benchmarks.cuda.contract OUT.json``.

Cheap checks come first, each on all attentions in turn; one that has taken its share of the time waits for the
others, so that a short run still meets all of them. The first failures of each check are printed, all are counted,
and none ends the run. ``--processes`` divides the attentions among so many processes on the one GPU.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
import traceback
import warnings
from collections import deque
from pathlib import Path
from typing import Any

import torch
from tests.contract_specs import FIXED, FIXED_LENGTH, HEAD_DIM, HEADS, SPECS

from benchmarks.cuda.timing import card
from primaldual.primal.presets import preset
from primaldual.testing import CHECKS, Check
from primaldual.testing.inputs import prepared

LENGTH = 13
"""Positions of attentions that accept any number."""

SHOWN = 6
"""Failures of one check that are printed; the file holds all."""

COSTS = {
    "samples": 1,
    "low_precision": 2,
    "identity": 3,
    "module": 3,
    "empty_rows": 4,
    "padding": 5,
    "prefix_rule": 6,
    "map": 9,
    "keep_heads": 10,
    "empty_inputs": 11,
    "memory_layout": 13,
    "gradients": 29,
    "future": 36,
    "parameters": 49,
    "decoding": 100,
    "dense": 120,
    "second_derivatives": 230,
    "rounding": 300,
    "torch_func": 340,
    "tracing": 400,
    "compile": 500,
    "export": 600,
}
"""About how long each check takes on a CPU, in units of the shortest: the order in which they run."""

STRIDE = 9
"""Attentions are taken this far apart, so that the first ones of a check already differ much."""


def ordered() -> list[Check]:
    """The checks of the contract, cheap ones first."""
    return sorted(CHECKS, key=lambda check: COSTS.get(check.__name__.removeprefix("check_"), 0))


def run(seconds: float, device: str, chosen: str = "", share: int = 0, shares: int = 1) -> dict[str, Any]:
    """Checks of all attentions on a device until the time is over.

    Args:
        seconds: no check begins later.
        device: where.
        chosen: run only checks whose name holds this.
        share: which part of the attentions, from 0 on.
        shares: into how many parts they are divided.
    """
    lengths = dict.fromkeys(SPECS, LENGTH) | dict.fromkeys(FIXED, FIXED_LENGTH)
    checks = [check for check in ordered() if chosen in check.__name__]
    failures: list[dict[str, str]] = []
    passed: dict[str, int] = {}
    taken: dict[str, float] = {}
    started = time.perf_counter()
    specs = [spec for first in range(STRIDE) for spec in list(lengths)[first::STRIDE]][share::shares]
    left = deque((check, spec) for check in checks for spec in specs)
    later: deque[tuple[Check, str]] = deque()
    while (left or later) and time.perf_counter() - started < seconds:
        check, spec = left.popleft() if left else later.popleft()
        name, begun = check.__name__, time.perf_counter()
        if left and taken.get(name, 0.0) > seconds / len(checks):
            later.append((check, spec))
            continue
        try:
            problem = prepared(preset(spec), HEADS, HEAD_DIM, device=device)
            check(problem, HEADS, HEAD_DIM, lengths[spec], spec in FIXED, device)
            passed[name] = passed.get(name, 0) + 1
        except Exception as error:
            failures.append({"spec": spec, "check": name, "error": summary(error), "trace": _end(error)})
            failed = sum(failure["check"] == name for failure in failures)
            if failed <= SHOWN:
                print(f"FAIL {name} {spec}: {failures[-1]['error']}", flush=True)
        taken[name] = taken.get(name, 0.0) + time.perf_counter() - begun
    return {
        "passed": passed,
        "failed": len(failures),
        "not_run": {check.__name__: sum(check is other for other, _ in [*left, *later]) for check in checks},
        "seconds": {name: round(value, 2) for name, value in taken.items()},
        "failures": failures,
    }


def divided(processes: int, *arguments: Any) -> dict[str, Any]:
    """What so many processes find together, each with a share of the attentions.

    Args:
        processes: how many.
        *arguments: of :func:`run`.
    """
    shares = [(*arguments, share, processes) for share in range(processes)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        found = pool.starmap(run, shares)
    return {
        "failed": sum(each["failed"] for each in found),
        "failures": [failure for each in found for failure in each["failures"]],
    } | {
        name: {
            check: round(sum(each[name].get(check, 0) for each in found), 2)
            for check in dict.fromkeys(check for each in found for check in each[name])
        }
        for name in ("passed", "not_run", "seconds")
    }


def summary(error: Exception, longest: int = 220) -> str:
    r"""Kind and message of an exception in one line: its first line, and its last where that is another.

    Example:
        >>> summary(ValueError("bn: Tensor-likes are not close!\n\nMismatched elements: 2"))
        'ValueError: bn: Tensor-likes are not close! ... Mismatched elements: 2'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    text = lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"
    return f"{type(error).__name__}: {text}"[:longest]


def _end(error: Exception) -> str:
    """Where it was raised."""
    return "".join(traceback.format_exception(error)[-6:])[-3000:]


def main() -> None:
    """Parse, run, print counts and write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", default="", help="checks whose name holds this")
    parser.add_argument("--processes", type=int, default=1, help="how many divide the attentions")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    found = divided(options.processes, options.seconds, options.device, options.only)
    found["card"] = card() if torch.device(options.device).type == "cuda" else None
    options.out.write_text(json.dumps(found, indent=1))
    missing = sum(found["not_run"].values())
    print(f"contract: {sum(found['passed'].values())} passed, {found['failed']} failed, {missing} not run")


if __name__ == "__main__":
    main()
