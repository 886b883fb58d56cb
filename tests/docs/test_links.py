"""Every link of the documentation that is a file here leads to one, and every anchor to a heading."""

from pathlib import Path

import pytest
from doc_pages import DOCS, PAGES, headings, local_links, name_of


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    broken = []
    for link in local_links(page.read_text()):
        target, _, anchor = link.partition("#")
        file = (page.parent / target) if target else page
        if not file.exists() or (anchor and anchor not in headings(file.read_text())):
            broken.append(link)
    assert not broken


def test_what_is_no_link_is_not_taken_for_one() -> None:
    text = "a [b](c.md#d) `[e](f)` [g](https://h)\n```\n[i](j)\n```\n"
    assert local_links(text) == ["c.md#d"]
    assert headings("# A `b`, c\n```\n# d\n```\n") == {"a-b-c"}


def test_every_page_is_reached_from_the_first() -> None:
    reached, waiting = set(), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        waiting += [(page.parent / link.partition("#")[0]).resolve() for link in local_links(page.read_text())]
    assert {page for page in PAGES if page.is_relative_to(DOCS)} <= reached
