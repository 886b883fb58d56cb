"""Reads a page back: an HTML parser that keeps tags, tables and text, and an image decoder."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from dlqsm.core.labels import NUCLEI

VOID = {"meta", "img", "input", "br", "link", "hr"}


class Reader(HTMLParser):
    """Tags with attributes, tables as lists of rows of texts, and all visible text; refuses tags that do not pair."""

    self_closed = False

    def __init__(self, page):
        super().__init__()
        self.tags, self.tables, self.text, self.hidden = [], [], [], 0
        self.cell, self.open = None, []
        self.feed(page)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        assert len({name for name, _ in attrs}) == len(attrs), f"attribute twice in {tag}"
        if tag not in VOID and not self.self_closed:
            self.open.append(tag)
        if tag in ("style", "script"):
            self.hidden += 1
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.cell = []

    def handle_startendtag(self, tag, attrs):
        self.self_closed = True
        self.handle_starttag(tag, attrs)
        self.self_closed = False

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"
        if tag in ("style", "script"):
            self.hidden -= 1
        if tag in ("td", "th") and self.cell is not None:
            self.tables[-1][-1].append(" ".join(" ".join(self.cell).split()))
            self.cell = None

    def handle_data(self, data):
        if not self.hidden:
            self.text.append(data)
            if self.cell is not None:
                self.cell.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def loads_from_outside(page, reader):
    """What the page would fetch from anywhere: tags with addresses, in styles, in scripts."""
    found = [tag for tag, _ in reader.tags if tag in ("link", "iframe", "object", "embed", "base")]
    for tag, attributes in reader.tags:
        for name in ("src", "srcset", "poster", "data", "action"):
            value = attributes.get(name) or ""
            if value and not value.startswith("data:image/"):
                found.append((tag, name, value))
        if tag != "a" and "http" in (attributes.get("href") or ""):
            found.append((tag, attributes["href"]))
    for css in re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL):
        found += re.findall(r"url\(|@import", css)
    for script in re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL):
        found += re.findall(r"fetch|XMLHttpRequest|import\s*\(|https?:|WebSocket", script)
    return found


def decode(uri):
    kind, content = uri.split(";base64,")
    assert kind in ("data:image/webp", "data:image/png")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def minus(text):
    """As the page writes numbers."""
    return text.replace("-", "−")


def p_text(value):
    """A p value as the page writes it."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def table_with(reader, *head):
    """The first table whose head has all these words."""
    return next(t for t in reader.tables if all(any(word in cell for cell in t[0]) for word in head))


def by_nucleus(table):
    """(nucleus, arm) to the cells that follow; the nucleus stands once for all its arms."""
    found, nucleus = {}, None
    for row in table[1:]:
        if row[0] in NUCLEI:
            nucleus, row = row[0], row[1:]
        found[(nucleus, row[0])] = row[1:]
    return found
