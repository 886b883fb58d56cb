"""The version tells the commit where it is known and says so where it is not; keys of records know neither."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import torch

import dlqsm
from dlqsm.cohort import records
from dlqsm.core.scan import Grid
from dlqsm.io import source_code, version
from dlqsm.io.checkout import RECORDED, Commit, commit_of_checkout, read_commit
from dlqsm.io.derivatives import write_derivative

ROOT = Path(__file__).parent.parent.parent
HASH = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def asked_anew():
    version.commit.cache_clear()
    yield
    version.commit.cache_clear()


def _git(folder: Path, *words: str) -> str:
    told = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    done = subprocess.run(["git", "-C", str(folder), *told, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "src" / "dlqsm").mkdir(parents=True)
    (tmp_path / "src" / "dlqsm" / "__init__.py").write_text("")
    _git(tmp_path, "init", "--quiet")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_a_checkout_tells_its_commit_and_whether_the_package_differs(checkout: Path) -> None:
    name = _git(checkout, "rev-parse", "HEAD")
    (checkout / "notes.txt").write_text("not of the package")
    assert commit_of_checkout(checkout) == Commit(name, changed=False)
    (checkout / "src" / "dlqsm" / "new.py").write_text("")
    assert commit_of_checkout(checkout) == Commit(name, changed=True)


def test_nothing_is_made_up(checkout: Path, tmp_path: Path) -> None:
    assert commit_of_checkout(checkout / "src") is None
    (checkout / ".git" / "HEAD").write_text("damaged")
    assert commit_of_checkout(checkout) is None
    for text in ("", "v1", HASH[:-1], f"{HASH} 1", "HASH"):
        assert read_commit(text) is None


@pytest.mark.parametrize("changed", [False, True])
def test_a_record_reads_as_it_was_written(changed: bool) -> None:
    commit = Commit(HASH, changed)
    assert read_commit(commit.as_text()) == commit
    assert commit.short == "0123456789ab"


@pytest.mark.parametrize(
    ("record", "line", "full"),
    [
        (HASH, "(commit 0123456789ab)", "+g0123456789ab"),
        (f"{HASH} changed\n", "(commit 0123456789ab, with changes)", "+g0123456789ab.changed"),
        ("damaged", "(commit unknown)", ""),
    ],
)
def test_an_installed_package_tells_its_record(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, record: str, line: str, full: str
) -> None:
    package = checkout / "src" / "dlqsm"
    (package / RECORDED).write_text(record)
    monkeypatch.setattr(dlqsm, "__file__", str(package / "__init__.py"))
    assert version.version_line() == f"dlqsm {dlqsm.__version__} {line}"
    assert version.full_version() == f"{dlqsm.__version__}{full}"


def test_an_installed_package_without_record_asks_no_repository_around_it(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = checkout / "lib" / "dlqsm"
    package.mkdir(parents=True)
    monkeypatch.setattr(dlqsm, "__file__", str(package / "__init__.py"))
    assert version.version_line().endswith("(commit unknown)")
    assert version.full_version() == dlqsm.__version__


def test_derivatives_carry_the_commit_and_keys_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written, keys = [], []
    for name in (HASH, HASH[::-1]):
        monkeypatch.setattr(version, "commit", lambda name=name: Commit(name, changed=False))
        path = tmp_path / "sub-1_Chimap.nii.gz"
        write_derivative(path, torch.zeros(2, 2, 2), Grid((2, 2, 2), (1.0, 1.0, 1.0)), "Chimap", {})
        written.append(json.loads((tmp_path / "sub-1_Chimap.json").read_text())["GeneratedBy"][0]["Version"])
        source_code.code_hash.cache_clear()
        keys.append([records.key_of(stage, {}) for stage in records.CODE])
    assert written == [f"{dlqsm.__version__}+g{name[:12]}" for name in (HASH, HASH[::-1])]
    assert keys[0] == keys[1]
    assert Path(RECORDED).suffix not in source_code.CODE_SUFFIXES


def test_one_version_in_all_files() -> None:
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert about["project"]["dynamic"] == ["version"]
    assert about["tool"]["hatch"]["version"]["path"] == "src/dlqsm/__init__.py"
    (told,) = re.findall(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), flags=re.M)
    assert told == dlqsm.__version__
