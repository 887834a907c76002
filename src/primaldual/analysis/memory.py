"""Peak memory of one training step, measured in a process of its own."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from types import TracebackType

import torch
from torch import Tensor, nn

from primaldual.errors import UnsupportedError

_COMMAND = "from primaldual.analysis.memory import answer; answer()"


def peak_memory(model: nn.Module, *inputs: Tensor) -> int:
    """Bytes that one forward and backward pass of ``model(*inputs)`` needs beyond model and inputs.

    A child process builds everything, takes a step on the first case alone (one-time allocations of the
    libraries), then measures how far its resident memory rises during the full step. Gradients of the
    parameters are part of the rise. Memory that the allocator keeps from the first step is not: small
    models read as 0 within the size of a few pages.

    Args:
        model: any module that pickles and returns a tensor.
        inputs: tensors with the cases along the first dimension.

    Raises:
        UnsupportedError: the child process failed.

    Example:
        >>> import torch
        >>> peak_memory(torch.nn.Linear(4000, 4000), torch.zeros(2000, 4000)) > 50_000_000
        True
    """
    child = subprocess.run(
        [sys.executable, "-c", _COMMAND],
        input=pickle.dumps((model, inputs)),
        capture_output=True,
        check=False,
    )
    if child.returncode != 0:
        reason = child.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise UnsupportedError(f"peak memory could not be measured: {reason[0]}")
    return int(child.stdout)


def answer() -> None:
    """Measure what arrives on standard input and print the bytes; the child's side of `peak_memory`."""
    model, inputs = pickle.load(sys.stdin.buffer)
    torch.set_num_threads(1)
    model.train()

    def step(cases: int | None) -> None:
        model(*(tensor[:cases] for tensor in inputs)).sum().backward()

    step(1)
    model.zero_grad(set_to_none=True)
    with ResidentPeak() as resident:
        step(None)
    print(resident.rise)


class ResidentPeak:
    """Context manager: how far this process's resident memory rises above where it stood on entry.

    A thread reads the size every millisecond, so a shorter peak may be missed.

    Attributes:
        rise: bytes, 0 or more; final after the block.
    """

    def __init__(self) -> None:
        self.rise = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ResidentPeak:
        import psutil  # type: ignore[import-untyped] # stubs are a package of their own

        self._read = psutil.Process().memory_info
        self._start = self._read().rss
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._note()
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.001):
            self._note()

    def _note(self) -> None:
        self.rise = max(self.rise, self._read().rss - self._start)
