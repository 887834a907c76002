"""Write the pages of docs/presets and the tables of parts in README.md and docs/all_of_primaldual.md.

python -m docs.build
"""

from __future__ import annotations

from pathlib import Path

from docs import part_tables, preset_pages

ROOT = Path(__file__).parent.parent


def files() -> dict[str, str]:
    """What this command writes: path from the root -> text."""
    presets = {f"docs/presets/{name}": text for name, text in preset_pages.pages().items()}
    return {**presets, **part_tables.pages()}


if __name__ == "__main__":
    for path, text in files().items():
        (ROOT / path).write_text(text, encoding="utf-8")
    print(f"{len(files())} files written")
