"""What MkDocs cannot do by itself: links of the documentation to files outside docs/ work in the site too.

Pages link to tests, tables and the Markdown files at the top of the repository by their paths, so that the links work
where the repository is read. The site gets a copy of each such file: Markdown as a page, the rest as plain text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
HIDDEN = {"index.md": ["navigation"], "faq.md": ["navigation"], "comparison.md": ["navigation", "toc"]}
"""Pages without others beside them, and what they do without."""
TOP_PAGES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
_CODE_OR_LINK = re.compile(r"(?P<code>^```.*?^```|`[^`\n]*`)|\]\((?P<link>[^)\s]+)\)", flags=re.S | re.M)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages at the top of the repository, and what pages link to outside docs/."""
    pages = [(path, path.read_text()) for path in DOCS.rglob("*.md")]
    for name in TOP_PAGES:
        text = (ROOT / name).read_text()
        pages.append((ROOT / name, text))
        files.append(File.generated(config, f"project/{name}", content=text))
    for target in sorted({file for page, text in pages for file in _outside(page, text)}):
        files.append(File.generated(config, _place(target), content=target.read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links to files outside docs/ into links to their copies; give wide tables their room."""
    place = page.file.src_uri
    page.meta["hide"] = HIDDEN.get(place, [])
    origin = ROOT / Path(place).name if place.startswith("project/") else DOCS / place

    def changed(found: re.Match[str]) -> str:
        target, anchor = _target(origin, found["link"])
        if target is None:
            return found[0]
        return f"]({posixpath.relpath(_place(target), posixpath.dirname(place))}{anchor})"

    return _CODE_OR_LINK.sub(changed, markdown)


def _target(page: Path, link: str | None) -> tuple[Path | None, str]:
    """The file that a link names, and its anchor; None where it is no file here."""
    if link is None or re.match(r"[a-z]+:|#", link):
        return None, ""
    path, mark, anchor = link.partition("#")
    target = (page.parent / path).resolve()
    return (target if target.is_file() else None), mark + anchor


def _outside(page: Path, text: str) -> set[Path]:
    targets = {_target(page, found["link"])[0] for found in _CODE_OR_LINK.finditer(text)}
    return {t for t in targets if t and not t.is_relative_to(DOCS) and t.name not in TOP_PAGES}


def _place(target: Path) -> str:
    """Where a file stands in the site's sources."""
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    if target.parent == ROOT and target.name in TOP_PAGES:
        return f"project/{target.name}"
    return f"source/{target.relative_to(ROOT).as_posix()}.txt"
