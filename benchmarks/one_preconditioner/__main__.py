"""Run what is missing, then write the page.

python -m benchmarks.one_preconditioner run --data-dir data/uea     # under two hours on one core; resumes
python -m benchmarks.one_preconditioner run --explore               # other seeds, a grid of learning rates
python -m benchmarks.one_preconditioner page
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from benchmarks.one_preconditioner.model import trained_score
from benchmarks.one_preconditioner.page import PAGE, page
from benchmarks.one_preconditioner.records import RESULTS, add, read
from benchmarks.one_preconditioner.series import SET, series_score
from benchmarks.one_preconditioner.tasks import ATTENTIONS, LEARNING_RATE, TASKS

EXPLORED_RATES, EXPLORATION = (3e-3, 1e-2), 100
"""The learning rate was chosen for softmax on seeds from ``EXPLORATION`` on."""


def run(explore: bool, seeds: int, data_dir: Path | None, out: Path) -> None:
    """Do every cell that the file lacks, and keep each as soon as it is finished."""
    torch.set_num_threads(1)
    done = read(out)
    rates = EXPLORED_RATES if explore else (LEARNING_RATE,)
    for seed in range(EXPLORATION, EXPLORATION + 1) if explore else range(seeds):
        for task in TASKS.values():
            for attention in ATTENTIONS:
                for rate in rates:
                    key = f"{task.name}|{attention}|{rate:g}|{seed}"
                    if key not in done:
                        found = trained_score(task, attention, seed, rate)
                        done = add(out, key, found)
                        print(f"{key}: {found:.3f}", flush=True)
        for attention in () if explore or data_dir is None else ATTENTIONS:
            key = f"{SET}|{attention}|default|{seed}"
            if key not in done:
                done = add(out, key, series_score(attention, seed, data_dir))
                print(f"{key}: {done[key]:.3f}", flush=True)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("what", choices=("run", "page"))
parser.add_argument(
    "--explore", action="store_true", help="other seeds and learning rates; tests nothing that counts"
)
parser.add_argument("--seeds", type=int, default=5)
parser.add_argument(
    "--data-dir", type=Path, help=f"folder that holds {SET}/{SET}_TRAIN.ts; without it {SET} is left out"
)
parser.add_argument("--out", type=Path, default=RESULTS)

if __name__ == "__main__":
    given = parser.parse_args()
    if given.what == "run":
        run(given.explore, given.seeds, given.data_dir, given.out)
    else:
        PAGE.write_text(page(json.loads(given.out.read_text(encoding="utf-8"))), encoding="utf-8")
