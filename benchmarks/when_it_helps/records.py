"""The committed results: finished cells of exploration and of the final runs, and measured costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.when_it_helps.tasks.task import EXPLORATION, Task
from primaldual.experiments.store import Result

FORMER = {f"Fashion-MNIST, {epochs} epochs": "Fashion-MNIST" for epochs in (5, 10, 40)}
"""Names that tasks had while they were explored."""
PATH = Path(__file__).parents[1] / "results" / "when_it_helps.json"


@dataclass(frozen=True)
class Record:
    """A finished cell.

    Attributes:
        task: name.
        settings: what differs from the recipe of the final runs; "" where nothing does.
        attention: spec.
        seed: of model and data.
        accuracy: on test data; on validation data where the seed is one of exploration.
        cpu_seconds: of training.
        measures: operations, entropy, distance between heads and so on.
        entropies: of the attention over training, pairs of epoch and entropy.
    """

    task: str
    settings: str
    attention: str
    seed: int
    accuracy: float
    cpu_seconds: float
    measures: Mapping[str, float]
    entropies: Sequence[Sequence[float]]

    @property
    def explored(self) -> bool:
        """Whether it comes from exploration."""
        return self.seed >= EXPLORATION


def record(result: Result, tasks: Mapping[str, Task]) -> Record:
    """The compact form of a result of a store."""
    name = FORMER.get(result.data, result.data)
    ours = tasks[name].method(result.method).parameters()
    given = result.config["parameters"]
    changed = {
        name: value for name, value in given.items() if json.dumps(ours.get(name)) != json.dumps(value)
    }
    return Record(
        name,
        ", ".join(f"{name}={value}" for name, value in changed.items()),
        result.method,
        result.seed,
        round(result.accuracy, 5),
        round(result.cpu_seconds or 0.0, 2),
        {name: round(value, 4) for name, value in result.measures.items()},
        [[entry["epoch"], round(entry["entropy"], 4)] for entry in result.history if "entropy" in entry],
    )


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON, one record a line."""
    lines = []
    for name, value in content.items():
        if isinstance(value, list):
            rows = ",\n".join(json.dumps(row) for row in value)
            lines.append(f"{json.dumps(name)}: [\n{rows}\n]")
        else:
            lines.append(f"{json.dumps(name)}: {json.dumps(value)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read(path: Path) -> tuple[list[Record], dict[str, Any]]:
    """Records, and everything else that the file holds."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [Record(**row) for row in content.pop("cells")], content
