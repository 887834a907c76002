"""The picture of :mod:`benchmarks.bench_compressed_time`: time over the original's, a row of panels for each machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

BUDGETS = (0.6, 0.4)
FIGURE = Path("docs/figures/compressed_time.svg")


def draw(folder: Path, target: Path = FIGURE) -> None:
    """Draw every result in a folder."""
    from primaldual.reporting.drawing import svg
    from primaldual.reporting.palette import GREY, looks

    found = [json.loads(path.read_text()) for path in sorted(folder.glob("compressed_time_*.json"))]

    def fill(figure: Any) -> None:
        panels = figure.subplots(len(found), len(BUDGETS), squeeze=False, sharey="row")
        everyone = list(dict.fromkeys(_name(row) for result in found for row in result["rows"]))
        seen, handles = looks([str(name) for name in everyone]), {}
        for result, line in zip(found, panels, strict=True):
            names = list(dict.fromkeys(_name(row) for row in result["rows"]))
            for budget, axes in zip(BUDGETS, line, strict=True):
                for name in names:
                    rows = [row for row in result["rows"] if row["budget"] in (budget, 1.0)]
                    rows = [row for row in rows if _name(row) == name]
                    lengths, times = [row["length"] for row in rows], [row["time"] for row in rows]
                    look = seen[str(name)]
                    label = f"{name[0]}, {name[1]}"
                    handles[label], = axes.plot(
                        lengths, [time[0] for time in times], color=look.color, marker=look.marker,
                        ls=look.dashes, ms=5, label=label,
                    )  # fmt: skip
                    low, high = ([time[place] for time in times] for place in (1, 2))
                    axes.fill_between(lengths, low, high, color=look.color, alpha=0.15, lw=0)
                axes.axhline(1, color=GREY, lw=0.9, ls="--")
                axes.set_xscale("log", base=2)
                axes.set_xticks(lengths, [str(length) for length in lengths])
                axes.set_title(f"{result['machine']}, budget {budget:g}")
                axes.set_xlabel("tokens")
            line[0].set_ylabel("time over the original's")
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, fontsize=8.5)

    target.write_text(
        svg(fill, 9.0, 3.3 * len(found) + 0.9, "Time of compressed encoders over the original's, by length")
    )
    print(f"Written: {target}")


def _name(row: dict[str, Any]) -> tuple[str, str]:
    return row["encoder"], row["attention"]
