"""Whole files, models and results, from which damaged ones are made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from primaldual.cli import main

TINY = ["--epochs", "1", "--embed-dim", "8", "--heads", "2", "--layers", "1", "--feedforward-dim", "8"]
"""A classifier of series that trains in a second."""

TEXT = [
    "--context",
    "8",
    "--embed-dim",
    "8",
    "--heads",
    "2",
    "--layers",
    "1",
    "--steps",
    "2",
    "--batch-size",
    "8",
]
"""Likewise a language model."""

POEM = "to be or not to be, that is the question.\n" * 8
GRID = """data = ["whole.npz"]
attentions = ["softmax"]
methods = ["AttentionRidge"]
seeds = 1
[settings.default]
epochs = 1
embed_dim = 8
num_heads = 2
num_layers = 1
feedforward_dim = 8
"""


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
    (folder / "poem.txt").write_text(POEM)
    pairs = [f"a text of {case} words,another of {2 * case},{case % 2}" for case in range(12)]
    (folder / "pairs.csv").write_text("\n".join(["left,right,same", *pairs]) + "\n")
    (folder / "published.csv").write_text(
        "data,method,accuracy,protocol\nJapaneseVowels,theirs,0.98,unknown\n"
    )
    for case in range(8):
        place = folder / "images" / ["train", "test"][case % 2] / ["up", "down"][case // 4]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(place / f"{case}.png")
    (folder / "small.toml").write_text(GRID.replace("whole.npz", str(folder / "whole.npz")))
    main(["train", str(folder / "whole.csv"), "--out", str(folder / "model"), *TINY])
    main(["train", "text", str(folder / "poem.txt"), "--out", str(folder / "words"), *TEXT])
    main(["grid", str(folder / "small.toml"), "--out", str(folder / "results"), "--jobs", "1"])
