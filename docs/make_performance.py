"""Write docs/performance.md and docs/figures/performance_*.svg from benchmarks/results/performance.json.

python -m docs.make_performance
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.performance import Results, figures, page

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "benchmarks" / "results" / "performance.json"


def files() -> dict[str, str]:
    """What belongs into the folder of the documentation: path -> text."""
    results = Results.from_json(SOURCE.read_text(encoding="utf-8"))
    drawn = {f"figures/{name}": drawing for name, drawing in figures(results).items()}
    return {"performance.md": page(results, "figures/"), **drawn}


if __name__ == "__main__":
    for name, text in files().items():
        (DOCS / name).write_text(text, encoding="utf-8")
        print(f"wrote docs/{name}")
