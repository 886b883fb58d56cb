"""Sessions stand by themselves, from names to statistics; or beside each other where that is asked for."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from cohort_study import Run, records
from tiny_images import signal, write_scan

from dlqsm.cli import main
from dlqsm.io.outputs import write_json

SESSIONS = ("1", "2")
ARMS = ("A", "B")


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", na_values="n/a")


class TestApart:
    def test_each_session_has_maps_tables_and_a_page(self, measured: Path) -> None:
        for session in SESSIONS:
            folder, label = measured / "sub-01" / f"ses-{session}", f"sub-01_ses-{session}"
            assert (folder / "anat" / f"{label}_acq-A_Chimap.nii.gz").is_file()
            assert (folder / "figures" / f"{label}_desc-arms_qsmfigure.webp").is_file()
            assert f"{label}" in (measured / f"{label}.html").read_text()
            table = _table(folder / f"{label}_desc-nuclei_qsmstats.tsv")
            assert list(table.columns[:3]) == ["participant_id", "session_id", "arm"]
            assert set(table["participant_id"]) == {"sub-01"}
            assert set(table["session_id"]) == {f"ses-{session}"}
            assert set(table["arm"]) == set(ARMS)
            similar = _table(folder / f"{label}_desc-similarity_qsmstats.tsv")
            assert similar[["session_id", "arm", "reference"]].to_numpy().tolist() == [[f"ses-{session}", "B", "A"]]

    def test_statistics_are_of_one_session_each(self, measured: Path) -> None:
        for session, n_with_both in (("1", 2), ("2", 1)):
            values = _table(measured / f"group_ses-{session}_desc-nuclei_qsmstats.tsv")
            assert set(values["session_id"]) == {f"ses-{session}"}
            agreement = _table(measured / "group" / f"ses-{session}" / "agreement.tsv")
            assert set(agreement["n"]) == {n_with_both}
            page = (measured / f"group_ses-{session}.html").read_text()
            assert f"tiny, ses-{session}" in page
            assert f"sub-01_ses-{session}.html" in page
        assert not (measured / "group.html").exists()

    def test_all_values_are_in_one_table_that_tells_the_session(self, measured: Path) -> None:
        values = _table(measured / "group_desc-nuclei_qsmstats.tsv")
        assert not values.duplicated(["participant_id", "session_id", "arm", "roi", "side"]).any()
        assert len(values) == 7 * 7 * 3  # seven scans, seven nuclei, three sides
        ages = values.groupby(["participant_id", "session_id"])["age"].first()
        assert ages.to_dict() == {
            ("sub-01", "ses-1"): 60.0, ("sub-01", "ses-2"): 62.5, ("sub-02", "ses-1"): 40.0, ("sub-02", "ses-2"): 40.0,
        }  # fmt: skip

    def test_a_session_that_is_asked_for_is_run_alone(
        self, visits: Path, quick: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = (visits, tmp_path, "participant", "--config", quick, "--participant_label", "sub-01")
        assert run(*words, "--session_label", "ses-2") == 0
        assert {Path(p).parent.name for p in records(tmp_path)} == {"sub-01_ses-2"}
        said = capsys.readouterr().out
        assert "sub-01_ses-2" in said
        assert "1 of 1 sessions complete" in said
        assert run(visits, tmp_path, "group", "--quiet") == 1  # the others are named
        assert (tmp_path / "group_ses-2.html").is_file()
        assert "no finished table" in json.loads((tmp_path / "group_ses-2.json").read_text())["problems"]["sub-02"]

    def test_pages_are_made_anew_alone(
        self, visits: Path, measured: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        shutil.copytree(measured, out)
        before = records(out)
        for page in out.glob("*.html"):
            page.unlink()
        assert run(visits, out, "participant", "--reports-only", "--session-label", "1") == 0
        assert run(visits, out, "group", "--reports_only") == 0
        assert sorted(p.name for p in out.glob("*.html")) == [
            "group_ses-1.html", "group_ses-2.html", "sub-01_ses-1.html", "sub-02_ses-1.html",
        ]  # fmt: skip
        assert records(out) == before
        shutil.rmtree(out / "sub-02" / "ses-1")
        capsys.readouterr()
        assert run(visits, out, "participant", "--reports-only", "--session-label", "1") == 1
        assert "sub-02_ses-1: has no results to show" in capsys.readouterr().err
        assert main(["report", str(out), "--quiet"]) == 0


def test_who_has_none_of_the_sessions_asked_for_is_named(
    visits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bids = tmp_path / "bids"
    shutil.copytree(visits, bids)
    shutil.rmtree(bids / "sub-02" / "ses-2")
    assert main(["run", str(bids), str(tmp_path / "out"), "group", "--session-label", "2"]) == 2
    assert "sub-02 have none of these sessions and are left out" in capsys.readouterr().err


def test_sessions_together_are_arms_of_one_participant(visits: Path, quick: Path, run: Run, tmp_path: Path) -> None:
    words = (visits, tmp_path, "participant", "--config", quick, "--sessions", "together")
    assert run(*words, "--participant-label", "01", "--reference", "ses1_A") == 0
    table = _table(tmp_path / "sub-01" / "sub-01_desc-nuclei_qsmstats.tsv")
    assert "session_id" not in table
    assert set(table["arm"]) == {"ses1_A", "ses1_B", "ses2_A", "ses2_B"}
    assert (tmp_path / "sub-01.html").is_file()
    similar = _table(tmp_path / "sub-01" / "sub-01_desc-similarity_qsmstats.tsv")
    assert set(similar["reference"]) == {"ses1_A"}


def test_sessions_without_a_common_arm_are_remarked_on(
    tmp_path: Path, run: Run, quick: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "bids"
    for session, arm in zip(SESSIONS, ARMS, strict=True):
        write_scan(root, signal()[:, :2], sub="01", ses=session, acq=arm)
    write_json(root / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.11.0"})
    (tmp_path / "out").mkdir()
    assert main(["run", str(root), str(tmp_path / "out"), "group"]) == 2
    assert "--sessions together" in capsys.readouterr().err
