"""CITATION.cff is what the format demands, and names what the project names."""

import re
import tomllib
from pathlib import Path

import yaml

import dlqsm

ROOT = Path(__file__).parent.parent
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PERSON = {"family-names", "given-names", "orcid", "affiliation"}
ENTITY = {"name", "website", "orcid"}


def test_required_entries_are_there() -> None:
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(CITATION)
    assert CITATION["type"] == "software"


def test_authors_are_persons_or_entities() -> None:
    for work in (CITATION, *CITATION["references"]):
        assert work["authors"]
        for author in work["authors"]:
            assert set(author) <= (ENTITY if "name" in author else PERSON)


def test_it_tells_version_licence_and_words_of_the_project() -> None:
    assert CITATION["version"] == dlqsm.__version__
    assert CITATION["license"] == PROJECT["license"]
    assert set(CITATION["keywords"]) == set(PROJECT["keywords"])


def test_the_paper_is_the_one_that_the_readme_names() -> None:
    (paper,) = CITATION["references"]
    assert re.fullmatch(r"10\.\d{4,}/\S+", paper["doi"])
    assert paper["doi"] in (ROOT / "README.md").read_text()
    assert (paper["journal"], paper["year"]) == ("Frontiers in Neuroscience", 2025)
