"""Commands whose spec, file, model or option makes little sense."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.fuzz.mutations import NASTY, damaged, mutated, mutated_tokens
from benchmarks.fuzz.whole_files import TEXT, TINY
from primaldual.primal.words import PARTS, examples

SPECS = [
    "softmax(scale=0.5)",
    "linear+window(8)",
    "conv(3)+bn",
    "bn(beta=0.8)+sh(1,1,2,4)",
    "bn(running=true)",
    "sh(grid=2x2)",
    "window(2)|sh(4)|disjoint=true",
    "hca(4,2)",
    "mesanet(0.5)",
    *(spec for word in PARTS for spec in examples(word)),
]
COLUMNS = ["--split", "--case", "--time", "--label", "--channels", "--json", "--data-dir"]
SETTINGS = ["--cases", "--targets", "-C", "--epsilon", "--gamma", "--tolerance", "--json"]
TRAINING = ["--seed", "--device", "--accumulation", "--checkpoint-every", "--mixed-precision", "--tracker"]
TEXTS = ["--attention", "--base", "--cache", "--tokens", "--kv-heads", "--dropout", "--validation", "--test"]
SEQUENCES = ["--attention", "--config", "--max-length", "--columns", "--heads", "--validation", "--truncate"]
IMAGES = ["--attention", "--model", "--recipe", "--image-size", "--validation", "--skip-bad", "--corruptions"]
DRAWING = ["--length", "--temperature", "--top-k", "--seed", "--device", "--json"]

Command = Callable[[random.Random, Path, Path], list[str]]


def damaged_command(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    """A command whose spec, file, model or option makes little sense.

    Args:
        choice: source of randomness.
        folder: what `prepare` wrote.
        scratch: an empty folder for damaged copies.
    """
    return choice.choice(COMMANDS)(choice, folder, scratch)


def _options(choice: random.Random, names: list[str]) -> list[str]:
    """Now and then an option, with a value that may make no sense."""
    if choice.random() < 0.6:
        return []
    value = choice.choice(
        [*NASTY, "1", "2", "train", "test", "all", "case", "pulse,temp", "time", "0.5", "padding"]
    )
    return [choice.choice(names), value.replace("\x00", "")]


def _spec(choice: random.Random) -> str:
    return choice.choice([mutated, mutated_tokens, mutated_tokens])(choice, choice.choice(SPECS))


def _series(choice: random.Random, folder: Path, scratch: Path) -> str:
    names = ["whole.npz", "whole.csv", "wide.csv", "plain.ts", "timed.ts"]
    return damaged(choice, folder / choice.choice(names), scratch)


def _model(choice: random.Random, folder: Path, scratch: Path, name: str = "model") -> str:
    """A damaged copy of a model."""
    model = shutil.copytree(folder / name, scratch / name)
    file = choice.choice(
        [path for path in sorted(model.iterdir()) if path.suffix in {".json", ".safetensors"}]
    )
    damaged(choice, file, model)
    return str(model)


def _equation(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    return ["equation", _spec(choice), *choice.choice([[], ["--latex"]])]


def _explain(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    options = _options(choice, ["--heads", "--head-dim", "--mask", "--dtype"])
    return ["explain", _spec(choice), "-n", "16", *options]


def _presets(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    return ["presets", *_options(choice, ["--json", "--help"])]


def _doctor(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    return ["doctor", "--quick", *_options(choice, ["--json", "--help"])]


def _certify_spec(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    return ["certify", "linnerud", "-a", _spec(choice), "--cases", "8"]


def _certify(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    file = damaged(choice, folder / "table.csv", scratch)
    return ["certify", file, "--cases", "8", *_options(choice, SETTINGS)]


def _train(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    out = ["--out", str(scratch / "out")]
    return ["train", _series(choice, folder, scratch), *out, *TINY, *_options(choice, COLUMNS)]


def _train_text(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    file = damaged(choice, folder / "poem.txt", scratch)
    further = ["--base", _model(choice, folder, scratch, "words")] if choice.random() < 0.3 else []
    sizes = ["--steps", "2", "--batch-size", "8"] if further else TEXT
    options = _options(choice, [*TEXTS, *TRAINING])
    return ["train", "text", file, "--out", str(scratch / "out"), *sizes, *further, *options]


def _train_lra(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    file = damaged(choice, folder / "pairs.csv", scratch)
    task = choice.choice(["text", "retrieval", "retrieval", "listops", "pixels", "pathfinder", "nothing"])
    columns = {"text": "left,same", "retrieval": "left,right,same"}
    given = ["--data", file, "--columns", columns[task]] if task in columns else []
    given = ["--data", str(folder / "images")] if task == "pixels" else given
    small = (
        ["--max-length", "64", "--cases", "16", "--processes", "1"]
        if task in {"listops", "pathfinder"}
        else []
    )
    places = ["--out", str(scratch / "out"), "--data-dir", str(scratch / "kept")]
    options = _options(choice, [*SEQUENCES, *TRAINING])
    return [
        "train",
        "lra",
        "--task",
        task,
        *given,
        *small,
        *places,
        "--steps",
        "1",
        "--batch-size",
        "4",
        *options,
    ]


def _train_images(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    images = shutil.copytree(folder / "images", scratch / "images")
    file = choice.choice(sorted(images.rglob("*.png")))
    damaged(choice, file, file.parent)
    places = ["--data", str(images), "--out", str(scratch / "out")]
    options = _options(choice, [*IMAGES, *TRAINING])
    return ["train", "images", *places, "--steps", "1", "--batch-size", "2", "--epochs", "1", *options]


def _compare(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    places = ["--out", str(scratch / "out"), "--jobs", "1", "--seeds", "1"]
    specs = ["-a", f"softmax,{_spec(choice)}"]
    return ["compare", _series(choice, folder, scratch), *specs, *places, *TINY, *_options(choice, COLUMNS)]


def _grid(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    file = damaged(choice, folder / "small.toml", scratch)
    return [
        "grid",
        file,
        "--out",
        str(scratch / "out"),
        "--jobs",
        "1",
        *_options(choice, ["--ray", "--data-dir"]),
    ]


def _results(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    results = shutil.copytree(folder / "results", scratch / "results")
    if choice.random() < 0.7:
        damaged(choice, results / "results.sqlite", results)
    options = _options(choice, ["--data", "--method", "--against", "--json", "--cells", "--failures"])
    export = [
        "--export",
        str(scratch / f"table{choice.choice(['.csv', '.md', '.tex', '.parquet', '.x', ''])}"),
    ]
    return ["results", str(results), *choice.choice([[], export]), *options]


def _reproduce(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    """One that names no protocol that there is, since others run for days."""
    published = damaged(choice, folder / "published.csv", scratch)
    name = choice.choice(["uea", "uea", "uea", mutated(choice, "uea")])
    words = ["--published", published, "--protocol", choice.choice(["", "none", "Honest", "\u202e"])]
    return [
        "reproduce",
        name,
        "--out",
        str(scratch / "out"),
        *words,
        *_options(choice, ["--seeds", "--data-dir"]),
    ]


def _predict(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    name = choice.choice(["predict", "evaluate"])
    return [name, str(folder / "model"), _series(choice, folder, scratch), *_options(choice, COLUMNS)]


def _predict_damaged(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    name = choice.choice(["predict", "evaluate"])
    return [name, _model(choice, folder, scratch), str(folder / "whole.csv"), *_options(choice, COLUMNS)]


def _inspect(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    words = [
        _model(choice, folder, scratch, choice.choice(["model", "model", "words"])),
        str(folder / "whole.csv"),
    ]
    return ["inspect", *words, "--no-ablate", "--cases", "2", "--out", str(scratch / "out")]


def _compress(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    options = _options(choice, ["--budget", "--measure", "--lengths", "--attention", "--tokenizer"])
    return [
        "compress",
        _model(choice, folder, scratch),
        "--cases",
        "2",
        "--out",
        str(scratch / "out"),
        *options,
    ]


def _generate(choice: random.Random, folder: Path, scratch: Path) -> list[str]:
    model = str(folder / "words") if choice.random() < 0.3 else _model(choice, folder, scratch, "words")
    prompt = choice.choice([*NASTY, "to be"]).replace("\x00", "")
    return ["generate", model, "--prompt", prompt, "--length", "12", *_options(choice, DRAWING)]


COMMANDS: tuple[Command, ...] = (
    _equation, _explain, _presets, _doctor, _certify_spec, _certify, _train, _train_text, _train_lra, _train_images,
    _compare, _grid, _results, _reproduce, _predict, _predict_damaged, _inspect, _compress, _generate,
)  # fmt: skip
"""What draws a command; every command of the program is drawn by one of them."""
