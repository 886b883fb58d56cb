"""A cohort in which some raw data are spoilt: everyone else is done, and who is not is named with the reason."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from cohort_study import Run, copy_participant
from corrupt import spoil

LABELS = tuple(f"sub-{number:03d}" for number in range(1, 9))
SPOILT = ("sub-002", "sub-005", "sub-008")


@pytest.fixture
def cohort(scanned: Path, tmp_path: Path) -> Path:
    """Eight participants, of the arms PI2 and DL3; those that stay whole have PI2 alone."""
    root = tmp_path / "bids"
    shutil.copytree(scanned, root)
    shutil.rmtree(root / "sub-001")  # the stand-in for the registration looks at no T1-weighted image
    for label in LABELS[1:]:
        for top in (root / "sourcedata", root / "derivatives" / "dlqsm-truth"):
            copy_participant(top, "sub-001", label)
    for label in set(LABELS) - set(SPOILT):
        (root / "sourcedata" / label / "anat" / f"{label}_acq-DL3_MEGRE.h5").unlink()
    return root


def test_three_of_eight_are_named_with_their_reason(
    cohort: Path, quick: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoilt, out = spoil(cohort, SPOILT), tmp_path / "out"
    assert run(cohort, out, "participant", "--method", "zero", "--config", quick) == 1
    said = capsys.readouterr()
    assert "5 of 8 participants complete" in said.out
    state = dict(re.findall(r"^(sub-\d+) .*  (\w+)$", said.out, re.MULTILINE))
    assert state == {label: "failed" if label in SPOILT else "complete" for label in LABELS}
    failures = [line for line in said.err.splitlines() if line.startswith("dlqsm run: ")]
    assert len(failures) == 3
    for line, (label, (raw, sentence)) in zip(failures, spoilt.items(), strict=True):
        arm = re.findall("acq-(.+)_", raw.name)[0]
        assert line.startswith(f"dlqsm run: {label}: {arm}: {raw}: ")
        assert line.endswith(sentence)
        table = pd.read_csv(out / label / f"{label}_desc-nuclei_qsmstats.tsv", sep="\t")
        assert set(table["arm"]) == {"PI2", "DL3"} - {arm}, "its other arm is measured all the same"
    assert "Traceback" not in said.err
