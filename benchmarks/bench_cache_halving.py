"""Halve the cache of a trained decoder: what each way costs in perplexity, at equal bytes and equal training.

    nice -n 19 python -m benchmarks.bench_cache_halving run --data tinyshakespeare.txt     # goes on where it stopped
    python -m benchmarks.bench_cache_halving page

A decoder with softmax attention is trained on the text. Copies of it are then trained a little further, each for the same
steps on the same windows with the same settings: as it is, with scaled heads (scales fixed, or chosen by the text), with a
window of half the context, and with half as many heads of keys and values. All are scored on the test part, before and after
that training. Another seed draws other weights and another order of windows; the text and its parts stay.

``run`` writes benchmarks/results/cache_halving.json after every model; trained models lie in --work. Results of other sizes
are refused: give another --results. ``page`` writes docs/language.md and its figure.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from primaldual.language import LanguageModel, PreparedTextRun, TextSettings, token_losses
from primaldual.training import Execution

RESULTS = Path(__file__).parent / "results" / "cache_halving.json"
BASE = "untouched"


def variants(context: int) -> dict[str, dict[str, Any]]:
    """What changes before a copy is trained further, by name."""
    return {
        "softmax": {},
        "sh(1,2,4,4)": {"attention": "sh(1,2,4,4)"},
        "window": {"attention": f"window({context // 2})"},
        "grouped": {"kv_heads": 2},
        "sh(2,2,2,2)": {"attention": "sh(2,2,2,2)"},
        "chosen": {"cache": 0.5},
    }


def scored(model: LanguageModel, test: Tensor) -> dict[str, Any]:
    """Nats per token, of all tokens and of those that see more than half a context, and bytes of the cache."""
    losses, context = token_losses(model.decoder, test), model.decoder.context
    late = torch.arange(len(losses)) % context >= context // 2
    return {
        "nats": float(losses.double().mean()),
        "late_nats": float(losses[late].double().mean()),
        "cache_bytes": model.cache_bytes(),
    }


def run(given: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    sizes = {"tokens": "characters", "context": given.context, "embed_dim": given.width, "num_heads": 4}
    sizes |= {"num_layers": given.layers, "dropout": 0.0}
    base = {"steps": given.steps, "batch_size": given.batch, "learning_rate": 3e-3}
    further = {"steps": given.further_steps, "batch_size": given.batch, "learning_rate": 1e-3}
    facts = {"text": given.data.name, "base": sizes | base, "further": further}
    found = json.loads(given.results.read_text()) if given.results.exists() else {**facts, "rows": []}
    if any(found[name] != value for name, value in facts.items()):
        raise SystemExit(f"{given.results} holds results of other sizes: give another --results and --work")
    found |= {"torch": torch.__version__, "machine": "one thread of a shared CPU"}
    done = {(row["seed"], row["model"]) for row in found["rows"]}
    for seed in range(given.seeds):
        start = given.work / f"{BASE}-{seed}"
        for name, change in {BASE: None, **variants(given.context)}.items():
            if (seed, name) in done:
                continue
            settings: dict[str, Any] = (
                {**sizes, **base} if change is None else {"base": start, **further, **change}
            )
            prepared = PreparedTextRun(
                TextSettings(given.data, seed=seed, **settings), given.work / f"{name}-{seed}"
            )
            test = prepared.corpus.test
            before = {} if change is None else {"before": scored(prepared.model, test)}
            places = {"checkpoint_dir": prepared.folder.checkpoints, "checkpoint_every": 50}
            finished = prepared.finish(prepared.train(Execution(device="cpu", **places)))
            row = {"seed": seed, "model": name, "attention": finished.model.attention}
            row |= scored(finished.model, test) | before
            row |= {
                part: finished.numbers[part] for part in ("parameters", "tokens", "training", "validation")
            }
            found["rows"].append(row)
            given.results.parent.mkdir(parents=True, exist_ok=True)
            given.results.write_text(json.dumps(found, indent=1) + "\n")
            print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("run", "page"))
    parser.add_argument("--data", type=Path, help="text file, for run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8, help="windows per step")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--further-steps", type=int, default=150)
    parser.add_argument("--work", type=Path, default=Path("runs/cache_halving"), help="trained models")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.action == "page":
        from benchmarks.cache_halving_page import write_page

        write_page(given.results)
        return
    if given.data is None:
        parser.error("run needs --data FILE")
    run(given)


if __name__ == "__main__":
    main()
