"""The comparison is whole, and each of its claims names what shows it."""

import re

import pytest
from doc_pages import DOCS, ROOT, local_links, table_rows

TEXT = (DOCS / "comparison.md").read_text()
ROWS = {row[0]: row for row in table_rows(TEXT) if re.fullmatch(r"[A-HN]\d+", row[0])}
FEATURES = {"A": 11, "B": 5, "C": 14, "D": 6, "E": 8, "F": 7, "G": 6, "H": 13, "N": 12}
WHOLE = [f"{letter}{number}" for letter, count in FEATURES.items() for number in range(1, count + 1)]


def test_every_feature_has_its_row() -> None:
    assert list(ROWS) == WHOLE


@pytest.mark.parametrize("number", WHOLE)
def test_a_claim_names_its_proof_and_a_lack_its_reason(number: str) -> None:
    _, feature, mark, shown = ROWS[number][:4]
    assert feature
    assert mark in ("**y**", "**p**", "**n**")
    links = local_links(shown)
    for link in links:
        file = (DOCS / link.partition("#")[0]).resolve()
        assert file.is_file() and file.is_relative_to(ROOT)
        if file.suffix == ".py":
            assert re.search(r"^\s*def test_", file.read_text(), flags=re.M)
    if mark == "**y**":
        assert links
    else:
        assert len(re.sub(r"\[[^\]]*\]\([^)]*\)", "", shown)) > 12


@pytest.mark.parametrize("number", [number for number in WHOLE if number[0] != "N"])
def test_other_tools_have_a_mark_each(number: str) -> None:
    peers = ROWS[number][4:]
    assert len(peers) == 12
    assert set(peers) <= {"y", "p", "n", "."}
