"""Whole files and a model, and commands that read damaged copies of them."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np

from benchmarks.fuzz.mutations import NASTY, damaged, mutated, mutated_tokens
from primaldual.cli import main

TINY = ["--epochs", "1", "--embed-dim", "8", "--heads", "2", "--layers", "1", "--feedforward-dim", "8"]
SPECS = [
    "softmax",
    "softmax(scale=0.5)",
    "linear+window(8)",
    "taylor(2)",
    "random(16)",
    "constant",
    "conv(3)+bn",
]
SPECS += ["conv2d(3)", "bn(beta=0.8)+sh(1,1,2,4)", "bn(running=true)", "sh(grid=2x2)", "anchored(1,2)"]
COLUMNS = ["--split", "--case", "--time", "--label", "--channels", "--json", "--data-dir"]
SETTINGS = ["--cases", "--targets", "-C", "--epsilon", "--gamma", "--tolerance", "--json"]


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
    main(["train", str(folder / "whole.csv"), "--out", str(folder / "model"), *TINY])


def damaged_command(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    """A command whose spec, file, model or option makes little sense.

    Args:
        choice: source of randomness.
        folder: what `prepare` wrote.
        scratch: an empty folder for damaged copies.
    """
    kind = choice.choice(
        ["predict", "evaluate", "certify", "equation", "explain", "spec", "model", "train", "inspect"]
    )
    if kind in {"equation", "explain", "spec"}:
        spec = choice.choice([mutated, mutated_tokens, mutated_tokens])(choice, choice.choice(SPECS))
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
        file = damaged(choice, folder / "table.csv", scratch)
        return ["certify", file, "--cases", "8", *_options(choice, SETTINGS)]
    source = damaged(
        choice,
        folder / choice.choice(["whole.npz", "whole.csv", "wide.csv", "plain.ts", "timed.ts"]),
        scratch,
    )
    if kind == "train":
        return ["train", source, "--out", str(scratch / "out"), *TINY, *_options(choice, COLUMNS)]
    model = folder / "model"
    if kind in {"model", "inspect"}:
        model = shutil.copytree(model, scratch / "model")
        file = choice.choice(["config.json", "training.json", "model.safetensors"])
        damaged(choice, model / file, model)
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
