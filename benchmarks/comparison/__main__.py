"""Train what is missing, measure what it costs, write the page.

python -m benchmarks.comparison run --explore --data-dir data    # softmax at several learning rates, on validation data
python -m benchmarks.comparison run --data-dir data              # about 20 minutes of one core; resumes
python -m benchmarks.comparison cost --data-dir data             # processor time and memory beside softmax
python -m benchmarks.comparison page

The folder holds cifar10/train/<class>/*.jpg and cifar10/test, FashionMNIST/raw as torchvision has it, and
tinyshakespeare.txt; ListOps is generated there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.comparison.cost import costs_of
from benchmarks.comparison.listops import known_without_nesting
from benchmarks.comparison.page import write
from benchmarks.comparison.results import EXPLORATION, REFERENCE, RESULTS, cell, cost_key
from benchmarks.comparison.task import BASELINE
from benchmarks.comparison.tasks import RATES, TASKS, TIMED
from benchmarks.comparison.trial import outcome
from benchmarks.kept_cells import keep, read


def run(given: argparse.Namespace) -> None:
    """Do every cell that the file lacks, all attentions of a seed in turn, and keep each as it is finished."""
    seeds = [EXPLORATION] if given.explore else range(given.seeds)
    for seed in seeds:
        for task in TASKS.values():
            specs = (BASELINE,) if given.explore else task.attentions
            for rate in RATES if given.explore else (task.learning_rate,):
                for spec in specs:
                    key = cell(task.name, spec, rate, seed)
                    if key not in read(given.out):
                        found = outcome(task.prepare(spec, seed, rate, given.data_dir), given.explore)
                        keep(given.out, key, found)
                        print(f"{key}: {found['score']:.4f} in {found['seconds']:.1f} s", flush=True)


def cost(given: argparse.Namespace) -> None:
    """Measure every task that the file has no costs of, and what ListOps gives without attention."""
    keep(given.out, REFERENCE, known_without_nesting(given.data_dir))
    for task in TIMED.values():
        if cost_key(task.name) not in read(given.out):
            keep(given.out, cost_key(task.name), costs_of(task, given.data_dir, given.rounds))
            print(f"{task.name}: measured", flush=True)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("what", choices=("run", "cost", "page"))
parser.add_argument("--explore", action="store_true", help="choose learning rates; test parts are not scored")
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--rounds", type=int, default=7, help="of timings")
parser.add_argument("--data-dir", type=Path, default=Path("data"))
parser.add_argument("--out", type=Path, default=RESULTS)

if __name__ == "__main__":
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "page":
        write(read(arguments.out))
    else:
        {"run": run, "cost": cost}[arguments.what](arguments)
