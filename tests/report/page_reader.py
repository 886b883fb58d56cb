"""Reads a page back: an HTML parser that keeps tags, tables and text, and an image decoder."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
from PIL import Image

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
