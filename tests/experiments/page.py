"""Read a page as a browser would, strictly."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "br", "wbr", "link", "img", "hr", "input"}


class _Page(HTMLParser):
    """Collects tags, ids and text, and checks that every element is closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids, self.text, self.attributes = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(html):
    """The page; every element must be closed in order."""
    page = _Page()
    page.feed(html)
    assert page.open == []
    return page
