"""Every malformed input gets its sentence: one line, the right exit code, nothing written, nothing changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from malformed_case import PAINS, Case, fits, marked
from malformed_table import ALL_CASES, KINDS

from dlqsm.cli import main

N_LEAST = 40


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda case: case.name)
def test_it_is_refused_in_one_sentence(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs, out = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    case.make(inputs)
    before = _state(inputs)
    capsys.readouterr()
    assert main(case.words(inputs, out)) == case.exit_code
    said = marked(capsys.readouterr().err, inputs, out).splitlines()
    as_expected = len(said) == len(case.lines) and all(map(fits, said, case.lines))
    assert as_expected, "\n".join(["said:", *said, "expected:", *case.lines])
    assert _state(inputs) == before, "an input was changed"
    written = [path.name for path in tmp_path.iterdir() if path != inputs]
    if case.exit_code == 2:
        assert not written, "something was written"
    else:
        assert not list(out.rglob("*.nii.gz")), "a map was written"


def test_the_table_is_whole() -> None:
    names = [case.name for case in ALL_CASES]
    assert len(names) >= N_LEAST
    assert len(set(names)) == len(names)
    assert all(KINDS.values())
    assert all(case.sentence for case in ALL_CASES)
    assert {case.pain for case in ALL_CASES if case.pain is not None} == set(PAINS)


def _state(folder: Path) -> dict[str, str]:
    """Every entry below a folder with what it holds."""
    state = {}
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else str(path.is_symlink()).encode()
        state[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return state
