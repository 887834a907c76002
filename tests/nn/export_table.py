"""The table of docs/export.md, whose rows are tests."""

import re
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "export.md"


class Row(NamedTuple):
    spec: str
    compiled: str
    shortest_export: int
    shortest_onnx: int


def rows() -> list[Row]:
    cells = re.findall(
        r"^\| `(.+?)` \| (.+?) \| (\d+) and up \| (\d+) and up \|$", PAGE.read_text(), re.MULTILINE
    )
    return [Row(spec, compiled, int(export), int(onnx)) for spec, compiled, export, onnx in cells]
