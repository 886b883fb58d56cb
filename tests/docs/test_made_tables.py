"""Tables of the documentation that are made are those of the package and of the results, and nothing is left out."""

import re
import subprocess
import sys

import pytest
from doc_pages import DOCS, ROOT

from dlqsm.acquisition.sampling import SAMPLINGS
from dlqsm.config import TABLES
from dlqsm.core.methods import options_of

METHOD_PAGES = {"sampling": SAMPLINGS, **TABLES}


def test_made_tables_are_up_to_date() -> None:
    """Another process, since benchmarks are no part of the package."""
    words = [sys.executable, str(ROOT / "benchmarks" / "doc_tables.py"), "--check"]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    assert told.returncode == 0, f"{told.stdout}{told.stderr}\nrun: python benchmarks/doc_tables.py"


@pytest.mark.parametrize("step", METHOD_PAGES)
def test_every_method_has_its_section_with_every_option(step: str) -> None:
    text = (DOCS / "methods" / f"{'unwrapping' if step == 'unwrap' else step}.md").read_text()
    sections = dict(re.findall(r"^### (\w+)\n(.+?)(?=^###? |\Z)", text, flags=re.S | re.M))
    assert list(sections) == list(METHOD_PAGES[step])
    for name, method in METHOD_PAGES[step].items():
        shown = re.findall(r"^\| `--([\w-]+)` \|", sections[name], flags=re.M)
        assert [s.removeprefix(f"{step}-") for s in shown] == [o.replace("_", "-") for o in options_of(method)]


def test_every_file_of_results_is_listed() -> None:
    listed = re.findall(r"results/(\w+)\.tsv\) \|", (DOCS / "benchmarks.md").read_text())
    assert listed == sorted(path.stem for path in (ROOT / "benchmarks" / "results").glob("*.tsv"))
