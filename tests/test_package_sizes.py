"""docs/packages.md describes the tree: the same packages and purposes, and sizes that are nearly right."""

import ast
import re

import pytest
from docs.package_sizes import NEEDS, PAGE, SOURCE, sizes

ROW = re.compile(
    r"\| `(?P<name>\w+)` \| (?P<purpose>.*?) \| (?P<extra>.*?) ?\| (?P<files>\d+) \| (?P<lines>[\d,]+) \|"
)


@pytest.fixture(scope="module")
def rows():
    return {row["name"]: row for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))}


def test_every_package_has_a_row_with_its_purpose(rows):
    assert {name: row["purpose"] for name, row in rows.items()} == {
        one.name: one.purpose.replace("``", "`") for one in sizes()
    }
    assert set(NEEDS) <= set(rows)


def test_sizes_are_off_by_less_than_a_tenth(rows):
    """Exact ones would change with every commit; run python -m docs.package_sizes."""
    for package in sizes():
        stated = int(rows[package.name]["lines"].replace(",", ""))
        assert stated == pytest.approx(package.lines, rel=0.1, abs=100), package.name


@pytest.mark.parametrize("init", sorted(SOURCE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_every_package_says_in_one_sentence_what_it_is_for(init):
    text = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8")))
    first = text.splitlines()[0]
    assert first.endswith(".")
    assert ". " not in first
