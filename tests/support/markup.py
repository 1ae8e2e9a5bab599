"""Reads a page as its elements, and checks that every one that begins ends."""

from __future__ import annotations

from html.parser import HTMLParser

_VOID = frozenset({"meta", "link", "br", "img", "input", "hr", "wbr"})


class _Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text):
    """Return the elements of a page, or of a part of one, as pairs of tag and attributes."""
    found = _Elements(text)
    assert found.open == []
    return found.elements
