"""The reference of the Python functions has every public module, once."""

import importlib
import re
from pathlib import Path

import pytest
from doc_pages import DOCS

import dlqsm

PACKAGE = Path(dlqsm.__file__).parent
PARTS = ("core", "acquisition", "reconstruction", "qsm", "nuclei", "agreement", "io", "cohort", "report", "pipeline")


def _modules(part: str) -> list[str]:
    """Modules of a part, without those that hold compiled loops alone."""
    files = [f for f in sorted((PACKAGE / part).rglob("*.py")) if not re.search(r"__init__|_kernels?$", f.stem)]
    return [".".join(("dlqsm", *f.relative_to(PACKAGE).with_suffix("").parts)) for f in files]


@pytest.mark.parametrize("part", PARTS)
def test_a_page_has_every_module_of_its_part(part: str) -> None:
    shown = re.findall(r"^::: (\S+)$", (DOCS / "api" / f"{part}.md").read_text(), flags=re.M)
    assert shown == (["dlqsm.config"] if part == "pipeline" else []) + _modules(part)


def test_the_error_that_the_page_names_exists() -> None:
    module, _, name = re.findall(r"`(dlqsm\.[\w.]+)`", (DOCS / "api" / "index.md").read_text())[0].rpartition(".")
    assert issubclass(getattr(importlib.import_module(module), name), Exception)
