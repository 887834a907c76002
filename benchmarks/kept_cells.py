"""Results of a benchmark in one JSON file, whole at any time: a value for every cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from primaldual.reporting.files import write_text


def read(path: Path) -> dict[str, Any]:
    """Values by key; none where there is no file yet."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def keep(path: Path, key: str, value: Any) -> dict[str, Any]:
    """Write one more value, a line for each, and return them all."""
    found = {**read(path), key: value}
    lines = (f"{json.dumps(name)}: {json.dumps(found[name], sort_keys=True)}" for name in sorted(found))
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")
    return found
