"""What a run learns from what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from primaldual.errors import ArgumentError, did_you_mean
from primaldual.sequences.configs import CONFIGS

DEFAULT_FOLDER = Path("data") / "sequences"
"""Where data sets of tokens are kept."""
VALIDATION = 0.1
"""Share of the training part that is split off for validation, where the data has no part for it."""


@dataclass(frozen=True)
class RunSettings:
    """What a run learns from what. Arguments that a task has no use for must keep their defaults.

    Args:
        task: a key of `TASKS`.
        attention: a spec.
        config: a key of `CONFIGS`.
        data: folder or file of pixels, text and retrieval, which are not generated.
        data_dir: where data sets of tokens are kept, some 100 MB each.
        max_length: longest sequence; None = that of the task. Of listops it also decides the trees.
        truncate: cut longer texts instead of refusing them.
        difficulty: of pathfinder; None = "hard".
        cases: training cases of listops and pathfinder; None = those of Long Range Arena.
        columns: of the text and the label, or of both texts and the label, in a table; None = a folder of text files.
        skip_bad: leave out files that cannot be read.
        heads: instead of the configuration's.
        batch_size: instead of the configuration's.
        steps: instead of the configuration's.
        mixed_precision: "no" or "bf16"; None = "no".
        validation: share of the training part to choose the best epoch by; 0 = the last.
        seed: of everything random but generated data.
        data_seed: of generated data.

    Raises:
        ArgumentError: a value out of range, or a name that does not exist.
    """

    task: str
    attention: str = "softmax"
    config: str = "pytorch"
    data: Path | None = None
    data_dir: Path | None = None
    max_length: int | None = None
    truncate: bool = False
    difficulty: str | None = None
    cases: int | None = None
    columns: tuple[str, ...] | None = None
    skip_bad: bool = False
    heads: int | None = None
    batch_size: int | None = None
    steps: int | None = None
    mixed_precision: str | None = None
    validation: float = VALIDATION
    seed: int = 0
    data_seed: int = 0

    def __post_init__(self) -> None:
        if self.config not in CONFIGS:
            hint = did_you_mean(self.config, CONFIGS)
            raise ArgumentError(f"config must be one of {', '.join(CONFIGS)}; got {self.config!r}{hint}")
        if not 0 <= self.validation < 1:
            raise ArgumentError(f"validation must lie in [0, 1); got {self.validation!r}")
        for name in ("max_length", "cases", "heads", "batch_size", "steps"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ArgumentError(f"{name} must be an integer of at least 1; got {value!r}")

    @property
    def folder(self) -> Path:
        """Where data sets are kept."""
        return self.data_dir or DEFAULT_FOLDER
