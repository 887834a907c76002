"""What compression did, what it saves, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from primaldual.compression.sensitivity import Sensitivity

WORDS = {"operations": "work", "time": "time", "cache": "cache"}
"""What a budget counts, in the report."""


@dataclass(frozen=True)
class Point:
    """One budget of the Pareto curve.

    Attributes:
        budget: that was asked for.
        work: scores computed, over those of the original.
        similarity: mean cosine of the readout to the original's.
        metric: the user's, if there is one.
    """

    budget: float
    work: float
    similarity: float
    metric: float | None = None


@dataclass(frozen=True)
class Compression:
    """The report of :func:`primaldual.compress`; ``print`` it.

    Attributes:
        sensitivity: of every head to every scale.
        budget: that was asked for.
        measure: what the budget counts: "operations", "time" or "cache".
        share: what the chosen scales take of it, over the original; measured where the measure is time.
        min_length: sequences of fewer keys are left unpooled, because pooling them was slower; 0 = all are pooled.
        work: scores computed in the compressed layers, over those of the original: exact for the calibration data.
        projections: positions whose keys and values are projected, over those of the original: below 1 only where
            pooling comes before the projections.
        scales: of the heads of every layer, by its name.
        similarity: mean cosine of the readout to the original's.
        curve: other budgets.
        latency: of the whole model, compressed over original: medians of interleaved runs on the first batch.
        unseen: similarities were measured on data that the choice did not see.
    """

    sensitivity: Sensitivity
    budget: float
    measure: str
    share: float
    min_length: int
    work: float
    projections: float
    scales: Mapping[str, tuple[int, ...]]
    similarity: float
    curve: tuple[Point, ...]
    latency: float
    unseen: bool

    @property
    def pairs(self) -> float:
        """Keys and values that attention reads, or a cache would hold, over those of the original."""
        return self.work

    def __str__(self) -> str:
        data = "unseen" if self.unseen else "the calibration"
        width = max(map(len, self.scales))
        lines = [
            f"attention {WORDS[self.measure]:18}{self.share:.3f} of the original's (budget {self.budget:g})",
        ]
        if self.measure != "operations":
            lines.append(f"attention work              {self.work:.3f}")
        if self.min_length:
            lines.append(f"sequences left unpooled     of fewer than {self.min_length} keys")
        lines += [
            f"keys and values read        {self.pairs:.3f}",
            f"key and value projections   {self.projections:.3f}",
            f"time of the whole model     {self.latency:.3f} of the original's, on this machine, first batch",
            f"similarity of the outputs   {self.similarity:.4f} mean cosine on {data} data",
            "scales",
            *(f"  {path:{width}}  {' '.join(map(str, scales))}" for path, scales in self.scales.items()),
        ]
        if self.curve:
            lines.append(
                "budget   work     similarity" + ("   metric" if self.curve[0].metric is not None else "")
            )
            lines += [
                f"{point.budget:6.2f}   {point.work:.3f}    {point.similarity:.4f}"
                + ("" if point.metric is None else f"       {point.metric:.4f}")
                for point in self.curve
            ]
        return "\n".join(lines)

    def save_figure(self, path: str | Path) -> Path:
        """Write the Pareto plot, work against similarity (and metric), as an SVG file.

        Raises:
            ArgumentError: no curve was measured, or the file cannot be written.
        """
        from primaldual.compression.figure import pareto_figure
        from primaldual.reporting.files import write_text

        target = Path(path)
        write_text(target, pareto_figure(self))
        return target
