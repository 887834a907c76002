"""How long a compressed encoder of BERT-base's shape takes, over the original, by length and budget; random weights.

    python -m benchmarks.bench_compressed_time --layers 4
    python -m benchmarks.bench_compressed_time --device cuda --dtype bfloat16 --tokens 16384
    python -m benchmarks.bench_compressed_time --draw          # from the results that are there

Time depends on shapes and not on weights, so the scales of the heads are fixed lists whose work is within the budget, in
another order in every layer. Models run interleaved; the figures are medians of the ratios of neighbouring runs. Layers that
were converted to softmax, with nothing pooled, show what conversion alone gives. With one thread on a CPU the clock counts
the time of the process, so that other programs disturb less.
Writes benchmarks/results/compressed_time_DEVICE.json and docs/figures/compressed_time.svg.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.compressed_time_figure import draw
from primaldual.integrations.conversion import convert

WIDTH, HEADS, HIDDEN = 768, 12, 3072
SCALES = {0.6: (1,) * 5 + (2,) * 3 + (4,) + (8,) * 3, 0.4: (1,) * 2 + (2,) * 3 + (4,) * 3 + (8,) * 4}
"""Scales of the heads of a layer by budget; the means of 1 / scale are 0.594 and 0.396."""
ANCHORED = "anchored(...,kept=0.5)"
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Encoder:
    """A model to compress.

    Attributes:
        name: for the results.
        build: the model with so many layers that takes so many positions.
        attentions: specs with ``...`` for the scales.
        tokens: from batch and length, what the model is called with.
    """

    name: str
    build: Callable[[int, int], nn.Module]
    attentions: tuple[str, ...]
    tokens: Callable[[int, int], dict[str, Tensor]]


def bert(layers: int, positions: int) -> nn.Module:
    from transformers import BertConfig, BertModel

    config = BertConfig(num_hidden_layers=layers, max_position_embeddings=positions)
    return BertModel(config, add_pooling_layer=False)


def torch_encoder(layers: int, positions: int) -> nn.Module:
    del positions
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(layer, layers)


def ids(batch: int, length: int) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(1000, 20000, (batch, length))}


def vectors(batch: int, length: int) -> dict[str, Tensor]:
    return {"src": torch.randn(batch, length, WIDTH)}


ENCODERS = (
    Encoder("BERT of transformers", bert, (ANCHORED, f"{ANCHORED[:-1]},min_length=512)", "sh(...)"), ids),
    Encoder("nn.TransformerEncoder", torch_encoder, ("sh(...)",), vectors),
)


def compressed(model: nn.Module, attention: str, scales: tuple[int, ...], layers: int) -> nn.Module:
    changed = deepcopy(model)
    for layer in range(layers):
        mixed = random.Random(layer).sample(scales, len(scales))
        convert(changed, attention.replace("...", ",".join(map(str, mixed))), layers=layer, verbose=False)
    return changed


def seconds_of(task: Callable[[], object], device: str) -> float:
    alone = device == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    start = clock()
    task()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def interleaved(
    tasks: dict[str, Callable[[], object]], device: str, seconds: float
) -> dict[str, list[float]]:
    """Times of all tasks, one of each per round, for about so many seconds and at least five rounds."""
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(2):
        for task in tasks.values():
            seconds_of(task, device)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found["original"]) < 5:
        for name, task in tasks.items():
            found[name].append(seconds_of(task, device))
    return found


def ratio(times: list[float], originals: list[float]) -> list[float]:
    """Median and quartiles of the ratios within a round."""
    each = [mine / other for mine, other in zip(times, originals, strict=True)]
    lower, median, upper = statistics.quantiles(each, n=4)
    return [round(value, 4) for value in (median, lower, upper)]


@torch.inference_mode()
def measure(encoder: Encoder, given: argparse.Namespace) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    dtype = getattr(torch, given.dtype)
    original = encoder.build(given.layers, max(given.lengths)).eval().to(given.device, dtype)
    variants = {
        (attention, budget): compressed(original, attention, scales, given.layers)
        for attention in encoder.attentions
        for budget, scales in SCALES.items()
    }
    variants["softmax", 1.0] = compressed(original, "softmax", (1,), given.layers)
    rows = []
    for length in given.lengths:
        batch = max(1, given.tokens // length)
        call = {
            name: tensor.to(given.device, dtype if tensor.is_floating_point() else None)
            for name, tensor in encoder.tokens(batch, length).items()
        }
        heads = torch.randn(3, batch, HEADS, length, WIDTH // HEADS, device=given.device, dtype=dtype)
        tasks: dict[Any, Callable[[], object]] = {
            "original": partial(original, **call),
            "softmax": partial(scaled_dot_product_attention, *heads),
        }
        tasks |= {name: partial(model, **call) for name, model in variants.items()}
        times = interleaved(tasks, given.device, given.seconds)
        share = given.layers * ratio(times["softmax"], times["original"])[0]
        common = {"encoder": encoder.name, "length": length, "batch": batch}
        common |= {"original_ms": round(statistics.median(times["original"]) * 1e3, 3)}
        common |= {"attention_share": round(share, 4)}
        for attention, budget in variants:
            row = common | {"attention": attention, "budget": budget}
            row["time"] = ratio(times[attention, budget], times["original"])
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU, threads: {torch.get_num_threads()}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 256, 512, 1024, 2048])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=1, help="of a batch, at least one sequence")
    parser.add_argument("--seconds", type=float, default=1.0, help="for one length of one encoder, at least")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    given = parser.parse_args()
    if not given.draw:
        rows = [row for encoder in ENCODERS for row in measure(encoder, given)]
        facts = {"machine": machine(given.device), "torch": torch.__version__, "dtype": given.dtype}
        facts |= {"layers": given.layers, "rows": rows}
        given.out.mkdir(parents=True, exist_ok=True)
        path = given.out / f"compressed_time_{given.device}.json"
        path.write_text(json.dumps(facts, indent=1) + "\n")
        print(f"Written: {path}")
        return
    draw(given.out)


if __name__ == "__main__":
    main()
