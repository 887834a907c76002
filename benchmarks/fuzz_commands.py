"""Damaged files, models and specs on the command line: each must end in a result or in one line.

    python -m benchmarks.fuzz_commands --count 2000 --seed 0

Whatever ends in a traceback, takes longer than a minute, or exits with an unknown code is printed and kept in a
folder; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from primaldual.cli import main

SECONDS = 60
TINY = ["--epochs", "1", "--embed-dim", "8", "--heads", "2", "--layers", "1", "--feedforward-dim", "8"]
NASTY = [
    *("", "nan", "inf", "-inf", "1e999", "1_0", "0x1", "9" * 400, "-0", "1,5", "True", "--"),
    *("é", "🙂", "\x00", "\x1b[31m", "\ufeff", "\u202e", "\t", "\r", "\n", "[/red]"),
    *(" ", '"', "'", ",", ";", ":", "(", ")", "@", "#", "%", "?", "*", "\\", "~"),
]
"""What mutations put into text."""

NUMBERS = [
    "0",
    "1",
    "2",
    "3",
    "-1",
    "0.5",
    "1e-9",
    "1e9",
    "64",
    "1000",
    "99999999999",
    "true",
    "none",
    "2x2",
    "0x0",
]
SPECS = [
    *(
        "softmax",
        "softmax(scale=0.5)",
        "linear+window(8)",
        "taylor(2)",
        "random(16)",
        "constant",
        "conv(3)+bn",
    ),
    *("bn(beta=0.8)+sh(1,1,2,4)", "bn(running=true)", "sh(grid=2x2)", "anchored(1,2)", "conv2d(3)"),
]
COLUMNS = ["--split", "--case", "--time", "--label", "--channels", "--json", "--data-dir"]
SETTINGS = ["--cases", "--targets", "-C", "--epsilon", "--gamma", "--tolerance", "--json"]


@dataclass(frozen=True)
class Failure:
    """A command that did not end as it should, and what it said."""

    words: tuple[str, ...]
    told: str


def prepare(folder: Path) -> None:
    """Write whole files and a model to start from."""
    generator = np.random.default_rng(0)
    X = generator.normal(size=(12, 2, 6)).round(3)
    y = np.array(["up", "down"] * 6)
    np.savez(folder / "whole.npz", X=X, y=y)
    rows = ["case,time,label,pulse,temp"]
    rows += [
        f"c{case},{time},{y[case]},{X[case, 0, time]},{X[case, 1, time]}"
        for case in range(12)
        for time in range(6)
    ]
    (folder / "whole.csv").write_text("\n".join(rows) + "\n")
    wide = ["case,label," + ",".join(f"{name}{time}" for name in ("pulse", "temp") for time in range(6))]
    wide += [f"c{case},{y[case]}," + ",".join(map(str, X[case].ravel())) for case in range(12)]
    (folder / "wide.csv").write_text("\n".join(wide) + "\n")
    header = "@problemName toy\n@timestamps {}\n@univariate false\n@classLabel true up down\n@data\n"
    plain = [":".join([*(",".join(map(str, channel)) for channel in X[case]), y[case]]) for case in range(12)]
    (folder / "plain.ts").write_text(header.format("false") + "\n".join(plain) + "\n")
    timed = [
        ":".join(
            [*(",".join(f"({t},{value})" for t, value in enumerate(channel)) for channel in X[case]), y[case]]
        )
        for case in range(12)
    ]
    (folder / "timed.ts").write_text(header.format("true") + "\n".join(timed) + "\n")
    (folder / "table.csv").write_text(
        "x,y,z\n" + "\n".join(",".join(map(str, row)) for row in X[:, 0, :3]) + "\n"
    )
    with _silence():
        main(["train", str(folder / "whole.csv"), "--out", str(folder / "model"), *TINY])


def run_cases(
    folder: Path, count: int, seed: int, tell: Callable[[int], None] = lambda _: None
) -> list[Failure]:
    """Run so many damaged commands, the same ones for a seed; ``folder`` holds what `prepare` wrote."""
    failures = []
    for number in range(count):
        choice = random.Random(f"{seed} {number}")
        scratch = Path(tempfile.mkdtemp(dir=folder))
        words = _command(choice, folder, scratch)
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
    with _silence() as (out, err):
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


def _command(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    kind = choice.choice(
        ["predict", "evaluate", "certify", "equation", "explain", "spec", "model", "train", "inspect"]
    )
    if kind in {"equation", "explain", "spec"}:
        spec = choice.choice([_mutated, _mutated_tokens, _mutated_tokens])(choice, choice.choice(SPECS))
        return {
            "equation": ["equation", spec],
            "explain": [
                "explain",
                spec,
                "-n",
                "16",
                *_options(choice, ["--heads", "--head-dim", "--mask", "--dtype"]),
            ],
            "spec": ["certify", "linnerud", "-a", spec, "--cases", "8"],
        }[kind]
    if kind == "certify":
        file = _damaged(choice, folder / "table.csv", scratch)
        return ["certify", file, "--cases", "8", *_options(choice, SETTINGS)]
    source = _damaged(
        choice,
        folder / choice.choice(["whole.npz", "whole.csv", "wide.csv", "plain.ts", "timed.ts"]),
        scratch,
    )
    if kind == "train":
        return ["train", source, "--out", str(scratch / "out"), *TINY, *_options(choice, COLUMNS)]
    model = folder / "model"
    if kind in {"model", "inspect"}:
        model = shutil.copytree(model, scratch / "model")
        damaged = choice.choice(["config.json", "training.json", "model.safetensors"])
        _damaged(choice, model / damaged, model)
        source = str(folder / "whole.csv")
    if kind == "inspect":
        return ["inspect", str(model), source, "--no-ablate", "--cases", "2", "--out", str(scratch / "out")]
    name = "predict" if kind == "model" else kind
    return [name, str(model), source, *_options(choice, COLUMNS)]


def _options(choice: random.Random, names: list[str]) -> list[str]:
    """Now and then an option, with a value that may make no sense."""
    if choice.random() < 0.6:
        return []
    value = choice.choice(
        [*NASTY, "1", "2", "train", "test", "all", "case", "pulse,temp", "time", "0.5", "padding"]
    )
    return [choice.choice(names), value.replace("\x00", "")]


def _damaged(choice: random.Random, file: Path, folder: Path) -> str:
    data = file.read_bytes()
    if file.suffix in {".npz", ".safetensors"}:
        data = _mutated_bytes(choice, data)
    elif file.suffix == ".json" and choice.random() < 0.8:
        data = json.dumps(_mutated_values(choice, json.loads(data))).encode()
    elif choice.random() < 0.5:
        data = _mutated_tokens(choice, data.decode()).encode()
    else:
        text = data.decode()
        for _ in range(choice.randint(1, 3)):
            text = choice.choice([_mutated, _mutated_lines, _mutated_cells])(choice, text)
        encoding = choice.choice(["utf-8"] * 8 + ["utf-16", "cp1252"])
        data = text.encode(encoding, errors="replace")
    path = folder / file.name
    path.write_bytes(data)
    return str(path)


def _mutated_tokens(choice: random.Random, text: str) -> str:
    """The text with one of its words or numbers replaced by another one, so that its form is kept."""
    tokens = re.split(r"([\w.\-]+)", text)
    places = range(1, len(tokens), 2)
    place = choice.choice([*places[:12], *choice.choices(places, k=4)])
    tokens[place] = choice.choice([*NUMBERS, *NASTY[:12], tokens[choice.choice(places)]])
    return "".join(tokens)


def _mutated_values(choice: random.Random, value: object) -> object:
    """A value of JSON with one of its leaves, or a branch, replaced."""
    if isinstance(value, dict) and value and choice.random() < 0.95:
        key = choice.choice([*value])
        if choice.random() < 0.1:
            return {name: entry for name, entry in value.items() if name != key}
        return {**value, key: _mutated_values(choice, value[key])}
    if isinstance(value, list) and value and choice.random() < 0.8:
        place = choice.randrange(len(value))
        return [*value[:place], _mutated_values(choice, value[place]), *value[place + 1 :]]
    return choice.choice([None, True, 0, -1, 1, 3, 1e300, 0.5, "", "x", "nan", [], {}, [1, 2], 10**12])


def _mutated(choice: random.Random, text: str) -> str:
    for _ in range(choice.randint(1, 3)):
        start = choice.randint(0, len(text))
        end = min(len(text), start + choice.choice([0, 0, 1, 1, 2, 5]))
        text = text[:start] + choice.choice([*NASTY, text[start:end] * 2, *"+=.-0123456789x()"]) + text[end:]
    return text


def _mutated_lines(choice: random.Random, text: str) -> str:
    lines = text.split("\n")
    place, other = choice.randrange(len(lines)), choice.randrange(len(lines))
    change = choice.choice(["drop", "twice", "swap", "cut"])
    if change == "drop":
        del lines[place]
    elif change == "twice":
        lines.insert(other, lines[place])
    elif change == "swap":
        lines[place], lines[other] = lines[other], lines[place]
    else:
        del lines[place:]
    return "\n".join(lines)


def _mutated_cells(choice: random.Random, text: str) -> str:
    lines = text.split("\n")
    place = choice.choice([0, choice.randrange(len(lines))])
    cells = lines[place].split(",")
    cells[choice.randrange(len(cells))] = choice.choice(NASTY)
    lines[place] = ",".join(cells)
    joined = "\n".join(lines)
    return joined.replace(",", choice.choice([";", "\t", "|", " "])) if choice.random() < 0.2 else joined


def _mutated_bytes(choice: random.Random, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(choice.randint(1, 4)):
        if choice.random() < 0.2:
            del found[choice.randrange(len(found)) :]
        if found:
            found[choice.randrange(min(len(found), choice.choice([200, 10**9])))] = choice.randrange(256)
    return bytes(found)


@contextlib.contextmanager
def _silence() -> Iterator[tuple[io.StringIO, io.StringIO]]:
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    place = Path(tempfile.mkdtemp(prefix="primaldual-fuzz-"))
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
