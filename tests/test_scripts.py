"""Benchmarks, examples and scripts ask the package only for names that it has."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for folder in ("benchmarks", "examples", "scripts") for path in (ROOT / folder).glob("*.py"))


def _imported(path: Path) -> list[tuple[str, str]]:
    tree = ast.parse(path.read_text())
    return [
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "dlqsm"
        for alias in node.names
    ]


def _exists(module: str, name: str) -> bool:
    if hasattr(importlib.import_module(module), name):
        return True
    return importlib.util.find_spec(f"{module}.{name}") is not None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_name_that_a_script_imports_exists(path):
    missing = [f"{module}.{name}" for module, name in _imported(path) if not _exists(module, name)]

    assert not missing
