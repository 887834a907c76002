"""Attentions on short ListOps (fewer than 512 tokens), several seeds each; it can be stopped and goes on.

Every run is one of ``primaldual train lra`` in a folder of its own, with its checkpoints; finished ones are read. The
data is the same for all. Run, and run again to go on:

    python -m benchmarks.bench_listops --folder runs/listops
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev

import torch

from primaldual.sequences import PreparedRun, RunSettings
from primaldual.training import Execution

SPECS = ("softmax", "bn", "sh(1,2)", "bn+sh(1,2)", "linear", "linear+bn", "window(64)|sh(1,2)")
RESULTS = Path(__file__).parent / "results" / "listops.json"


def numbers_of_run(spec: str, seed: int, given: argparse.Namespace) -> dict[str, object]:
    """Of a run that is finished, or is now."""
    place = given.folder / f"{spec.replace('|', '_')}-seed{seed}"
    results = place / "results.json"
    if not results.exists():
        settings = RunSettings(
            "listops",
            spec,
            given.config,
            data_dir=given.folder / "data",
            max_length=512,
            cases=given.cases,
            steps=given.steps,
            seed=seed,
        )
        run = PreparedRun(settings, place)
        run.finish(
            run.train(
                Execution(device=given.device, checkpoint_dir=run.folder.checkpoints, checkpoint_every=50)
            )
        )
    found = json.loads(results.read_text())
    return {
        "attention": spec,
        "seed": seed,
        "accuracy": found["test"]["accuracy"],
        "log_loss": found["test"]["log_loss"],
        "seconds": found["training"]["seconds"],
        "most_frequent_class": found["most_frequent_class"],
        "test_cases": found["test"]["cases"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="of data and runs")
    parser.add_argument("--config", default="pytorch", help="pytorch or jax")
    parser.add_argument("--specs", nargs="+", default=list(SPECS), help="attentions")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each attention")
    parser.add_argument("--cases", type=int, default=10_000, help="training cases")
    parser.add_argument("--steps", type=int, default=1_000, help="of the optimizer")
    parser.add_argument("--device", default=None, help="such as cuda")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file to write")
    given = parser.parse_args()
    runs: list[dict[str, object]] = []
    for seed in range(given.seeds):  # all attentions of a seed first, so that what is there can be compared
        for spec in given.specs:
            runs.append(numbers_of_run(spec, seed, given))
            write(runs, given)
            print({name: runs[-1][name] for name in ("attention", "seed", "accuracy", "seconds")}, flush=True)


def write(runs: list[dict[str, object]], given: argparse.Namespace) -> None:
    """All runs, and mean and deviation by attention."""
    summary = {}
    for spec in given.specs:
        scores = [float(str(run["accuracy"])) for run in runs if run["attention"] == spec]
        if scores:
            deviation = stdev(scores) if len(scores) > 1 else None
            summary[spec] = {"seeds": len(scores), "accuracy": mean(scores), "deviation": deviation}
    setting = {
        "config": given.config,
        "max_length": 512,
        "cases": given.cases,
        "steps": given.steps,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps({"setting": setting, "summary": summary, "runs": runs}, indent=2) + "\n")


if __name__ == "__main__":
    main()
