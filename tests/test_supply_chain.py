"""Dependencies: locked with hashes, in a bill of materials, and audited so that nobody is called clean unasked."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import audit  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
BROKEN = {"name": "torch", "version": "2.6.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.7.0"]}]}
SOUND = {"name": "numpy", "version": "2.0.0", "vulns": []}
UNKNOWN = {"name": "scipy", "skip_reason": "not found"}


def pins() -> set[tuple[str, str]]:
    """Name and version of each pin of the lock; every pin has at least one SHA-256."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "requirements.lock").read_text(), flags=re.M).replace("\\\n", " ")
    found = set()
    for line in filter(None, map(str.strip, text.splitlines())):
        requirement, *hashes = line.split("--hash=")
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", h.strip()) for h in hashes), requirement
        parsed = Requirement(requirement.strip())
        (specifier,) = parsed.specifier
        assert specifier.operator == "==", requirement
        found.add((canonicalize_name(parsed.name), specifier.version))
    return found


def test_the_lock_covers_every_dependency_of_the_project() -> None:
    locked = pins()
    for text in PROJECT["dependencies"]:
        wanted = Requirement(text)
        name = canonicalize_name(wanted.name)
        versions = [version for pinned, version in locked if pinned == name]
        assert versions, f"{name} is not in requirements.lock; run make lock"
        assert all(wanted.specifier.contains(version, prereleases=True) for version in versions), f"{name} {versions}"


def test_no_index_and_no_url_stands_in_the_lock() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert not re.findall(r"--(?:extra-)?index-url|--find-links|git\+|file:|http:", text)


def test_make_has_the_targets_that_are_told_of() -> None:
    for target in ("sbom", "audit"):
        assert re.search(rf"^{target}:", MAKEFILE, flags=re.M)
    assert "make check test" in (ROOT / ".ci" / "run").read_text()
    wanted = {Requirement(text).name for text in PROJECT["optional-dependencies"]["audit"]}
    assert wanted == {"pip-audit", "cyclonedx-bom"}


def answers(**told: object):
    """A stand-in for pip-audit: the packages that a service tells of, or the error it ends with."""

    def ask(service: str) -> tuple[int, str, str]:
        content = told[service]
        return (1, "", content) if isinstance(content, str) else (0, json.dumps({"dependencies": content}), "")

    return ask


@pytest.mark.parametrize(
    ("told", "code", "said"),
    [
        ({"pypi": [SOUND]}, 0, "0 known vulnerabilities in 1 of 1"),
        ({"pypi": [SOUND, BROKEN]}, 1, "torch 2.6.0: PYSEC-1, mended in 2.7.0"),
        ({"pypi": [SOUND, UNKNOWN]}, 0, "not audited, since the service does not know them: 1 (scipy"),
        ({"pypi": [UNKNOWN], "osv": [BROKEN]}, 1, "torch 2.6.0: PYSEC-1"),
        ({"pypi": "requests.exceptions.ConnectionError: no route", "osv": [SOUND]}, 0, "0 known vulnerabilities"),
        ({"pypi": "ConnectionError", "osv": "Read timed out"}, 0, "NOT AUDITED"),
        ({"pypi": [UNKNOWN], "osv": "ConnectionError"}, 0, "NOT AUDITED"),
        ({"pypi": "No module named pip_audit"}, 2, "pip-audit failed: No module named pip_audit"),
    ],
)
def test_an_audit_says_what_was_asked(told, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.audit(answers(**told)) == code
    assert said in "".join(capsys.readouterr())


@pytest.mark.skipif(shutil.which("cyclonedx-py") is None, reason="cyclonedx-py is not installed; make sbom installs it")
def test_the_bill_of_materials_is_the_lock(tmp_path: Path) -> None:
    recipe = re.search(r"^sbom:.*\n((?:\t.*\n)+)", MAKEFILE, flags=re.M)[1]
    words = re.search(r"cyclonedx-py (.*?)(?: --output-file|$)", recipe.replace("\\\n", " "), flags=re.M)[1].split()
    target = tmp_path / "sbom.json"
    subprocess.run(["cyclonedx-py", *words, "--output-file", target], cwd=ROOT, check=True, capture_output=True)
    content = json.loads(target.read_text())
    listed = {(canonicalize_name(part["name"]), part["version"]) for part in content["components"]}
    assert listed == pins()
    assert content["bomFormat"] == "CycloneDX"
    assert content["metadata"]["component"]["name"] == "dlqsm"


def test_every_promise_names_a_test_that_exists() -> None:
    rows = [line for line in (ROOT / "SECURITY.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 10
    for row in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)`", row)
        assert tests, row
        assert all((ROOT / test).is_file() for test in tests), row
