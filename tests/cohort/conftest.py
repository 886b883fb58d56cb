"""One coarse virtual participant, copied to three: a dataset of two arms that takes seconds a participant."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cohort_study import THREADS, Run, copy_participant, quick_words
from standin import put_in_place
from tiny_images import describe_scans, signal, write_scan

from dlqsm.cli import main

PROTOCOL = """
base = "small"
name = "coarse"
shape = [52, 52, 36]
voxel_size_mm = [4.0, 4.0, 4.0]
fine_factor = [2, 2, 2]
n_coils = 4
echo_times_s = [0.0033, 0.0064, 0.0095, 0.0126]
"""


@pytest.fixture(scope="session")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One participant, as dlqsm simulate writes it."""
    folder = tmp_path_factory.mktemp("scanned")
    (folder / "coarse.toml").write_text(PROTOCOL)
    words = ["simulate", folder / "bids", "--participants", 1, "--seed", 3, "--protocol", folder / "coarse.toml"]
    assert main([str(w) for w in (*words, "--arms", "PI2", "DL3", "--quiet")]) == 0
    return folder / "bids"


@pytest.fixture(scope="session")
def study(scanned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three participants of the same data; the third lacks the arm DL3, and its age is not known."""
    root = tmp_path_factory.mktemp("study") / "bids"
    shutil.copytree(scanned, root)
    for label in ("sub-002", "sub-003"):
        for top in (root, root / "sourcedata", root / "derivatives" / "dlqsm-truth"):
            copy_participant(top, "sub-001", label)
    for path in root.rglob("sub-003_acq-DL3*"):
        path.unlink()
    people = ["participant_id\tage\tsex", "sub-001\t61.5\tF", "sub-002\t40.0\tM", "sub-003\tn/a\tF"]
    (root / "participants.tsv").write_text("\n".join(people) + "\n")
    return root


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line with the stand-in for registration; returns the exit code."""
    put_in_place(monkeypatch.setattr)
    return lambda *words: main(["run", *(str(word) for word in words), *THREADS, "--quiet"])


@pytest.fixture(scope="session")
def run_once() -> Run:
    """As `run`, for fixtures that serve many tests."""

    def once(*words: object) -> int:
        with pytest.MonkeyPatch.context() as patch:
            put_in_place(patch.setattr)
            return main(["run", *(str(word) for word in words), *THREADS, "--quiet"])

    return once


@pytest.fixture
def refused_run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A run that must be refused: exit code 2 and one sentence, which is returned."""

    def refuse(*words: object) -> str:
        capsys.readouterr()
        assert main(["run", *(str(word) for word in words), "--quiet"]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dlqsm")]
        return line

    return refuse


@pytest.fixture(scope="session")
def finished(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Derivatives of the study, made without disturbance."""
    out = tmp_path_factory.mktemp("finished") / "out"
    with pytest.MonkeyPatch.context() as patch:
        put_in_place(patch.setattr)
        assert main(["run", str(study), str(out), "participant", *THREADS, "--quiet"]) == 0
    return out


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of methods that take no time; none has a strength that must be chosen."""
    path = tmp_path_factory.mktemp("quick") / "quick.toml"
    path.write_text('[inversion]\nmethod = "tkd"\n[background]\nmethod = "vsharp"\n')
    return path


@pytest.fixture(scope="session")
def calm(study: Path, quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Derivatives of `quick_words`, made in one process without disturbance."""
    out = tmp_path_factory.mktemp("calm") / "out"
    with pytest.MonkeyPatch.context() as patch:
        put_in_place(patch.setattr)
        assert main(quick_words(study, out, quick)) == 0
    return out


@pytest.fixture(scope="session")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two participants with two sessions of two arms; the second participant lacks the second session's arm B."""
    root = tmp_path_factory.mktemp("visits") / "bids"
    for person in ("01", "02"):
        for session in ("1", "2"):
            for n, arm in enumerate(("A", "B")):
                if (person, session, arm) != ("02", "2", "B"):
                    write_scan(root, signal(10 * int(session) + n), sub=person, ses=session, acq=arm)
    describe_scans(root, {"sub-01": 60, "sub-02": 40})
    (root / "sub-01" / "sub-01_sessions.tsv").write_text("session_id\tage\nses-1\t60\nses-2\t62.5\n")
    return root


@pytest.fixture(scope="session")
def measured(visits: Path, quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Derivatives of both sessions, and of the group."""
    out = tmp_path_factory.mktemp("measured") / "out"
    with pytest.MonkeyPatch.context() as patch:
        put_in_place(patch.setattr)
        words = ("run", str(visits), str(out))
        assert main([*words, "participant", "--config", str(quick), "--threads", "1", "--workers", "1", "--quiet"]) == 0
        assert main([*words, "group", "--quiet"]) == 0
    return out
