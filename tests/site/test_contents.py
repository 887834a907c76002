"""Every page is in the contents of the site, once."""

import re
from fnmatch import fnmatch
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "gallery" not in path.parts)


def name(page):
    return page.relative_to(DOCS).with_suffix("").as_posix()


def contents(page):
    """What the toctrees of a page list, from the folder of the documentation."""
    for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.splitlines():
            entry = re.search(r"<(.+)>$", line)
            if line and not line.startswith(":"):
                yield (page.parent / (entry[1] if entry else line)).relative_to(DOCS).as_posix()


def test_every_page_is_in_the_contents_once():
    listed = [entry for page in PAGES for entry in contents(page)]
    patterns = [entry for entry in listed if "*" in entry]
    places = {
        page: listed.count(page) or sum(fnmatch(page, pattern) for pattern in patterns)
        for page in map(name, PAGES)
    }
    del places["index"]
    assert [page for page, count in places.items() if count != 1] == []


def test_the_contents_list_pages_that_exist():
    pages = {name(page) for page in PAGES} | {"api/index", "gallery/index"}
    listed = [entry for page in PAGES for entry in contents(page)]
    assert [entry for entry in listed if "*" not in entry and entry not in pages] == []
