"""Check every link within a built site, anchors too, and that no page loads anything from another host.

Links to other hosts are counted and not followed.

python -m docs.site.check_links build/site
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_TARGETS = {
    "a": "href",
    "link": "href",
    "img": "src",
    "script": "src",
    "source": "src",
    "object": "data",
    "iframe": "src",
}


class Page(HTMLParser):
    """The links of a page, what it loads, and the anchors that others may link to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors.update(values[name] or "" for name in ("id", "name") if name in values)
        target = values.get(_TARGETS.get(tag, ""))
        if target:
            (self.links if tag == "a" else self.loaded).append(target)


def check(root: Path) -> tuple[list[str], int, int]:
    """One line for every broken link; how many links lie within the site, and how many lead out of it."""
    root = root.resolve()
    paths = [path for path in sorted(root.rglob("*.html")) if path.relative_to(root).parts[0] != "_static"]
    pages = {path: Page(path) for path in paths}
    broken, inside, outside = [], 0, 0
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                outside += 1
                fault = "loaded from another host" if link in page.loaded and parts.scheme != "data" else None
            else:
                inside += 1
                fault = _fault(path, unquote(parts.path), unquote(parts.fragment), pages)
            if fault:
                broken.append(f"{path.relative_to(root)}: {link}: {fault}")
    return broken, inside, outside


def _fault(path: Path, target: str, anchor: str, pages: Mapping[Path, Page]) -> str | None:
    file = (path.parent / target).resolve() if target else path
    if not file.is_file():
        return "no such file"
    return "no such anchor" if anchor and file in pages and anchor not in pages[file].anchors else None


def main(arguments: list[str]) -> int:
    """Print what is broken; 1 if anything is, or if there is no page."""
    root = Path(arguments[0])
    broken, inside, outside = check(root)
    print(
        "\n".join(
            [*broken, f"{inside} links within the site, {len(broken)} broken; {outside} links out of it"]
        )
    )
    return 1 if broken or not inside else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
