"""Long sequences: time to generate ListOps, every tree checked; training steps at length 4096; share of loading.

Steps are interleaved ratios in one process, median and quartiles. The configuration "pytorch" has 2 heads; attentions
with a scale for each of 4 heads are compared with softmax attention of 4 heads. Run:

    python -m benchmarks.bench_sequences
    python -m benchmarks.bench_sequences --only steps --seconds 300
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from benchmarks.listops_evaluator import value_of
from benchmarks.performance.timing import Budget, Spread, interleaved, ratio
from primaldual.models import TokenClassifier
from primaldual.sequences import CONFIGS, ListOps, PreparedRun, RunSettings
from primaldual.sequences.listops import WORDS
from primaldual.sequences.listops_task import listops_parts
from primaldual.sequences.run_numbers import numbers_of
from primaldual.training import Execution

LENGTH = 4096
SPECS = {2: ("softmax", "bn", "sh(1,2)", "sh(2,8)"), 4: ("softmax", "bn", "sh(1,2,4,8)", "bn+sh(1,2,4,8)")}
"""Attentions by number of heads; the first one is the measure."""
RESULTS = Path(__file__).parent / "results" / "sequences.json"


def generation(processes: int) -> dict[str, float]:
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        parts = listops_parts(Path(folder), ListOps(), seed=0, processes=processes)
        seconds, processor = time.perf_counter() - start, processor_seconds()
        trees, wrong = set(), 0
        for part in (parts.training, parts.validation, parts.test):
            for case, label in enumerate(part.labels.tolist()):
                tokens = part.sequence(case, 0).tobytes()
                trees.add(tokens)
                wrong += value_of(tokens) != label or not 500 < len(tokens) < 2000
    print(
        f"{len(trees)} distinct trees in {seconds:.0f} s by {processes} processes, {processor:.0f} s of processor time; "
        f"{wrong} values are wrong"
    )
    return {
        "trees": len(trees),
        "seconds": seconds,
        "processor_seconds": processor,
        "processes": processes,
        "wrong": wrong,
    }


def processor_seconds() -> float:
    """Of this process since it began, imports included, and of the processes that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def steps(batch: int, budget: Budget) -> dict[str, dict[str, object]]:
    found = {}
    for heads, specs in SPECS.items():
        tasks = {spec: training_step(spec, heads, batch) for spec in specs}
        seconds = interleaved(tasks, budget)
        for spec, times in seconds.items():
            over = ratio(times, seconds["softmax"])
            print(
                f"{heads} heads, {spec}: {1000 * Spread.of(times).median:.0f} ms, {over.median:.2f} "
                f"({over.lower:.2f} to {over.upper:.2f}) of softmax"
            )
            found[f"{heads} heads, {spec}"] = {"seconds": asdict(Spread.of(times)), "ratio": asdict(over)}
    return found


def training_step(spec: str, heads: int, batch: int) -> Callable[[], object]:
    """One step on the same batch every time."""
    torch.manual_seed(0)
    config = CONFIGS["pytorch"]
    model = TokenClassifier(
        len(WORDS),
        LENGTH,
        10,
        embed_dim=config.embed_dim,
        num_heads=heads,
        num_layers=config.num_layers,
        feedforward_dim=config.feedforward_dim,
        dropout=config.dropout,
        attention=spec,
    )
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    tokens, labels = torch.randint(len(WORDS), (batch, LENGTH)), torch.randint(10, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(model(tokens), labels).backward()
        optimizer.step()

    return step


def loading(batch: int, count: int) -> dict[str, float]:
    """Of some steps on trees of full length, waiting for data included."""
    with TemporaryDirectory() as folder:
        given = RunSettings(
            "listops",
            data_dir=Path(folder),
            cases=batch * count,
            batch_size=batch,
            steps=count,
            validation=0.0,
        )
        run = PreparedRun(given, Path(folder) / "run")
        numbers = numbers_of(run.finish(run.train(Execution(device="cpu"))))["training"]
    print(f"loading takes {100 * numbers['loading_share']:.2f} % of the time of training")
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["generation", "steps", "loading"], help="one of the three parts")
    parser.add_argument("--processes", type=int, default=2, help="that generate trees")
    parser.add_argument("--batch", type=int, default=2, help="sequences at once")
    parser.add_argument("--seconds", type=float, default=120.0, help="for each number of heads")
    parser.add_argument("--most", type=int, default=31, help="rounds at which to end")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file to write or to add to")
    given = parser.parse_args()
    found = json.loads(given.out.read_text()) if given.out.exists() else {}
    parts = {
        "generation": lambda: generation(given.processes),
        "steps": lambda: steps(given.batch, Budget(given.seconds, least=5, most=given.most)),
        "loading": lambda: loading(given.batch, count=10),
    }
    setting = {
        "batch": given.batch,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "device": "cpu",
    }
    for name in [given.only] if given.only else parts:
        found[name] = {"setting": setting, "found": parts[name]()}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
