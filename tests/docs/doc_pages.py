"""The pages of the documentation as text: where they are, their links, their tables."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
STUDIES = ("replication", "replication_first", "replication_steps")
"""Folders of `docs` that hold results, not pages."""
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for page in DOCS.rglob("*.md") if page.relative_to(DOCS).parts[0] not in STUDIES)]
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    """Path of a page from the top of the repository."""
    return str(page.relative_to(ROOT))


def local_links(text: str) -> list[str]:
    """Targets of links that are files here, as written; what stands in code is no link."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    prose = re.sub(r"`[^`\n]*`", "", prose)
    return [target for target in _LINK.findall(prose) if not re.match(r"[a-z]+:", target)]


def headings(text: str) -> set[str]:
    """Anchors of a page, as the site and code hosts make them."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    titles = re.findall(r"^#+ (.+)$", prose, flags=re.M)
    return {re.sub(r"[^\w\s-]", "", title).strip().lower().replace(" ", "-") for title in titles}


def table_rows(text: str) -> list[list[str]]:
    """Cells of every row of every table, without the lines under the heads."""
    rows = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in rows]
    return [row for row in cells if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
