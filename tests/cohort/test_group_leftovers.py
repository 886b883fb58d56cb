"""The group stage over results of an earlier one: nothing that this call did not make stays or is shown."""

import json
from pathlib import Path

from cohort_study import Run
from left_tables import measured, scanned

from dlqsm.cli.agree_files import study_files

ROIS = ("RN",)


def _people(tmp_path: Path, arms: tuple[str, ...], session: str = "") -> tuple[Path, Path]:
    """A dataset of two people, and its derivatives."""
    for person in ("01", "02"):
        scanned(tmp_path / "bids", f"sub-{person}{session}", arms)
        measured(tmp_path / "out", f"sub-{person}{session}", arms, rois=ROIS)
    return tmp_path / "bids", tmp_path / "out"


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_study_goes_once_there_is_one_arm_only(run: Run, tmp_path: Path) -> None:
    bids, out = _people(tmp_path, ("PI2", "DL3"))
    assert run(bids, out, "group") == 0
    assert {"agreement.tsv", "agreement.json", "tables.tex", "bland_altman.svg"} <= _names(out / "group")
    assert _names(out / "group") <= set(study_files()), "else a file of a study would stay"
    (out / "group" / "own.svg").write_text("<svg/>")
    for person in ("01", "02"):
        measured(out, f"sub-{person}", ("PI2",), rois=ROIS)
    assert run(bids, out, "group") == 0
    assert _names(out / "group") == {"own.svg"}, "what others put there stays"
    assert not list(out.glob("group_desc-similarity*"))
    content = json.loads((out / "group.json").read_text())
    assert content["arms"] == ["PI2"] and content["agreement"] is None and content["figures"] == []
    assert "DL3" not in (out / "group.html").read_text()


def test_what_one_session_left_goes_once_there_are_two(run: Run, tmp_path: Path) -> None:
    bids, out = _people(tmp_path, ("PI2", "DL3"), "_ses-1")
    assert run(bids, out, "group") == 0
    assert {"group", "group.html", "group.json", "group_desc-similarity_qsmstats.tsv"} <= _names(out)
    (out / "group" / "own.tsv").write_text("of others")
    for person in ("01", "02"):
        measured(out, f"sub-{person}_ses-1", ("PI2",), rois=ROIS)  # one arm: no study, which takes seconds
        scanned(bids, f"sub-{person}_ses-2", ("PI2",))
    assert run(bids, out, "group") == 1, "nobody is finished in the second session"
    ours = {name for name in _names(out) if name.startswith("group") and not name.startswith("group_ses-1")}
    assert ours == {"group"} and _names(out / "group") == {"own.tsv"}
    assert _names(out / "logs" / "records" / "group") == {"ses-1_group.json"}
    for person in ("01", "02"):
        measured(out, f"sub-{person}_ses-2", ("PI2",), rois=ROIS)
    assert run(bids, out, "group") == 0
    of_all = {f"group_desc-nuclei_qsmstats.{ending}" for ending in ("tsv", "json")}
    assert {name for name in _names(out) if not name.startswith(("group_ses", "sub-"))} >= of_all | {"group"}
    assert run(bids, out, "group", "--session-label", "1") == 0
    assert of_all <= _names(out), "the values of all sessions stay where one is made anew"
