"""Run damaged commands in this process and judge how they end."""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fuzz.commands import damaged_command
from primaldual.cli import main

SECONDS = 300
"""How long a command may take."""


@dataclass(frozen=True)
class Failure:
    """A command that did not end as it should, and what it said."""

    words: tuple[str, ...]
    told: str


def run_cases(
    folder: Path, count: int, seed: int, tell: Callable[[int], None] = lambda _: None
) -> list[Failure]:
    """Run so many damaged commands, the same ones for a seed; ``folder`` holds what `prepare` wrote."""
    failures = []
    for number in range(count):
        choice = random.Random(f"{seed} {number}")
        scratch = Path(tempfile.mkdtemp(dir=folder))
        words = damaged_command(choice, folder, scratch)
        told = run_one(words)
        if told is None:
            shutil.rmtree(scratch)
        else:
            failures.append(Failure(tuple(words), told))
        tell(number)
    return failures


def run_one(words: list[str]) -> str | None:
    """None if a command ends in a result or in one line; else what happened."""
    code: object = 0
    with silence() as (out, err):
        try:
            with _limit():
                main(words)
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            return traceback.format_exc()
    lines = [line for line in err.getvalue().splitlines() if line.strip()]
    if code not in {0, 1, 2}:
        return f"exit code {code}"
    if code == 2 and not (lines and lines[-1].startswith("error: ")):
        return f"exit code 2 without a reason: {err.getvalue()}"
    for told in (out.getvalue(), err.getvalue()):
        if "Traceback" in told or "np.str_(" in told:
            return told
    return None


@contextlib.contextmanager
def silence() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """Gather standard output and standard error; drop warnings."""
    out, err = io.StringIO(), io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        warnings.simplefilter("ignore")
        yield out, err


@contextlib.contextmanager
def _limit() -> Iterator[None]:
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(*_: object) -> None:
        raise BaseException(f"took longer than {SECONDS} s")

    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)
