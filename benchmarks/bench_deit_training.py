"""Training steps of DeiT-tiny with other attentions in it, beside timm's own attention: forward, backward, AdamW.

Interleaved ratios in one process, median and quartiles, for each size of image. Heads are scaled over the grid of
patches, the class token stays by itself. Run:

    python -m benchmarks.bench_deit_training
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import timm
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.bench_deit import MODEL, build, shown
from benchmarks.performance.timing import Budget, Spread, interleaved, ratio

SPECS = ("softmax", "bn", "sh(1,2,4)", "bn+sh(1,2,4)", "bn+sh(2,2,4)")
RESULTS = Path(__file__).parent / "results" / "deit_training.json"


def training_step(model: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    """One step on the same batch every time."""
    optimizer = torch.optim.AdamW(model.train().parameters(), fused=True)
    labels = torch.arange(len(images))

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8, help="images at once")
    parser.add_argument("--sides", type=int, nargs="+", default=[224, 384], help="of images, in pixels")
    parser.add_argument("--specs", nargs="+", default=list(SPECS), help="attentions beside timm's")
    parser.add_argument("--seconds", type=float, default=120.0, help="for the timings of each size")
    parser.add_argument("--most", type=int, default=31, help="rounds at which to end")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file to write")
    given = parser.parse_args()
    found = {}
    for side in given.sides:
        torch.manual_seed(0)
        images = torch.randn(given.batch, 3, side, side)
        tasks = {"timm": training_step(build(None, side), images)}
        tasks |= {spec: training_step(build(spec, side), images) for spec in given.specs}
        seconds = interleaved(tasks, Budget(given.seconds, least=5, most=given.most))
        print(f"{MODEL}, {given.batch} images of {side} x {side}, {torch.get_num_threads()} threads\n")
        print("| attention | step, ms | time / timm | images per second / timm |")
        print("|---|---|---|---|")
        for name, times in seconds.items():
            over = ratio(times, seconds["timm"])
            print(
                f"| {name} | {1000 * Spread.of(times).median:.0f} | {shown(over)} | {1 / over.median:.2f} |"
            )
        found[side] = {
            name: {"seconds": asdict(Spread.of(times)), "ratio": asdict(ratio(times, seconds["timm"]))}
            for name, times in seconds.items()
        }
    setting = {
        "model": MODEL,
        "batch": given.batch,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "device": "cpu",
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps({"setting": setting, "sides": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
