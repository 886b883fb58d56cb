"""The questions are all there, and each answer says how far it goes and where that is shown."""

import re

import pytest
from doc_pages import DOCS, local_links

TEXT = (DOCS / "faq.md").read_text()
PAINS = {int(n): answer for n, answer in re.findall(r"^### (\d+)\. [^\n]+\n\n(.+?)(?=^##|\Z)", TEXT, flags=re.M | re.S)}


def test_the_questions_are_counted() -> None:
    assert list(PAINS) == list(range(1, 26))


@pytest.mark.parametrize("number", range(1, 26))
def test_an_answer_says_how_far_it_goes(number: int) -> None:
    answer = PAINS[number]
    settled = re.match(r"\*\*(Yes|Partly|Not yet)\.?\*\*", answer)
    assert settled
    assert settled[1] == "Not yet" or any("tests/" in link or ".tsv" in link for link in local_links(answer))
    assert settled[1] != "Partly" or "Not yet" in answer or "alone" in answer
