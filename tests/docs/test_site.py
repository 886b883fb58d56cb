"""The site is built without a warning, and needs nothing from elsewhere."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from doc_pages import DOCS, PAGES, ROOT

NEEDED = ("mkdocs", "material", "mkdocstrings")
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in NEEDED),
    reason="the group docs of pyproject is not installed",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "site"
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    for page in PAGES:
        place = page.relative_to(DOCS) if page.is_relative_to(DOCS) else Path("project") / page.name
        place = place.with_name(place.name.replace("README", "index"))
        assert (site / place.with_suffix(".html")).is_file()


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loading = re.compile(
        r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(https?:)?//|<link\b[^>]*href=[\"']?(?:https?:)?//"
    )
    for page in site.rglob("*.html"):
        loads = [m[0] for m in loading.finditer(page.read_text()) if 'rel="canonical"' not in m[0]]
        assert not loads, page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", sheet.read_text()), sheet


def test_every_link_of_the_site_leads_to_a_file(site: Path) -> None:
    broken = []
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # a server shows it at any place, so its links are from the top
            continue
        for link in re.findall(r"(?:href|src)=\"([^\"#]+)", page.read_text()):
            if not re.match(r"[a-z]+:", link) and not (page.parent / unquote(link.partition("?")[0])).exists():
                broken.append((page.name, link))
    assert not broken


def test_tests_and_results_that_pages_name_are_in_the_site(site: Path) -> None:
    copied = (site / "source" / "tests" / "io" / "test_raw.py.txt").read_text()
    assert copied == (ROOT / "tests" / "io" / "test_raw.py").read_text()
    assert "source/tests/io/test_raw.py.txt" in (site / "comparison.html").read_text()


def test_the_functions_are_described(site: Path) -> None:
    page = (site / "api" / "qsm.html").read_text()
    assert "dlqsm.qsm.mdi.mdi" in page and "Cramer-Rao" in page
