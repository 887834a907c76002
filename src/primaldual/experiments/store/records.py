"""What a store keeps of a cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from primaldual.experiments.execution import Outcome


@dataclass(frozen=True)
class Result(Outcome):
    """A finished cell, as read from a store.

    Attributes:
        key: hash of its configuration.
        data: name of the data set.
        method: label of the method.
        seed: its seed.
        config: its configuration.
    """

    key: str = ""
    data: str = ""
    method: str = ""
    seed: int = 0
    config: dict[str, Any] = None  # type: ignore[assignment] # every record has one

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{self.data}, {self.method}, seed {self.seed}"

    @property
    def optimistic(self) -> bool:
        """Whether the test part took part in a choice."""
        return bool(self.config.get("protocol", {}).get("name") == "paper")


@dataclass(frozen=True)
class Failure:
    """A cell that gave no result.

    Attributes:
        key: hash of its configuration.
        title: what messages call it.
        kind: "refused" by the library, "error", "time", "memory", or "died" with its process.
        message: one line.
        traceback: where it happened; "" where there is none.
    """

    key: str
    title: str
    kind: str
    message: str
    traceback: str = ""
