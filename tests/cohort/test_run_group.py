"""The group of a cohort: tables and page of everyone, and who is told apart."""

import html
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from cohort_study import Run

from dlqsm.cli import main
from dlqsm.cohort.group import gather
from dlqsm.io.bids import read_dataset
from dlqsm.io.outputs import write_json


class TestGroup:
    def test_tables_and_page_hold_everyone_with_age_and_sex(
        self, study: Path, finished: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        shutil.copytree(finished, out)
        assert run(study, out, "group") == 0
        assert capsys.readouterr().out.strip() == str(out / "group.html")
        table = pd.read_csv(out / "group_desc-nuclei_qsmstats.tsv", sep="\t")
        assert list(table.columns[:4]) == ["participant_id", "age", "sex", "arm"]
        assert len(table) == 5 * 7 * 3  # the third participant has one arm
        assert table.groupby("participant_id")["age"].first().to_dict()["sub-001"] == 61.5
        assert table[table["participant_id"] == "sub-003"]["age"].isna().all()
        agreement = pd.read_csv(out / "group" / "agreement.tsv", sep="\t")
        assert set(agreement["arm"]) == {"DL3"}
        assert set(agreement["n"]) == {2}  # pairs are made of what exists
        answer = json.loads((out / "group" / "agreement.json").read_text())["Answer"]
        assert answer == ["No answer yet: 3 participants were measured, and a test needs at least 5 with both arms."]
        assert html.escape(answer[0]) in (out / "group.html").read_text()
        factors = gather(read_dataset(study).participants, study, out).accelerations
        assert factors == pytest.approx({"PI2": 2.0, "DL3": 3.0}, rel=0.02), "as the scans tell them"
        similarity = pd.read_csv(out / "group_desc-similarity_qsmstats.tsv", sep="\t")
        assert {"ssim", "xsim", "psnr_db", "rmse_ppb"} <= set(similarity.columns)
        assert list(similarity["participant_id"]) == ["sub-001", "sub-002"]
        own = pd.read_csv(out / "sub-001" / "sub-001_desc-similaritydefinitions_qsmstats.tsv", sep="\t")
        assert set(own["arm"]) == {"DL3"} and set(own["measure"]) == {"ssim", "psnr_db"} and own["value"].notna().all()
        both = pd.read_csv(out / "group" / "similarity_definitions.tsv", sep="\t")
        described = json.loads((out / "group" / "similarity_definitions.json").read_text())["columns"]
        assert list(described) == list(both.columns)
        assert set(both["n"]) == {2} and {"xsim", "rmse_ppb", "sharpness_ratio"} < set(both["measure"])
        primary = both.query("measure == 'ssim' and scale == 'window' and domain == 'brain' and dimension == '3d'")
        assert float(primary["mean"].iloc[0]) == pytest.approx(float(similarity["ssim"].mean()), abs=1e-4)
        assert "SSIM in all definitions" in (out / "group.html").read_text()
        notes = " ".join(json.loads((out / "group.json").read_text())["notes"])
        assert "fewer than 5" in notes
        assert "1 of 3 participants have no age" in notes
        assert "1 of 3 participants lack it" in notes

    def test_accounts_tell_the_accelerations_where_a_stream_kept_nothing_else(
        self, study: Path, finished: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        shutil.copytree(finished, out)
        for manifest in out.glob("sub-*/report.json"):
            manifest.unlink()
        factors = gather(read_dataset(study).participants, study, out).accelerations
        assert factors == pytest.approx({"PI2": 2.0, "DL3": 3.0}, rel=0.02)

    def test_a_small_picture_of_all_arms_is_kept_and_one_is_shown(
        self, study: Path, finished: Path, run: Run, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        shutil.copytree(finished, out)
        pictures = sorted(out.glob("sub-*/figures/*"))
        stems = [f"sub-00{i}_desc-arms_qsmfigure" for i in (1, 2)]
        assert [p.name for p in pictures] == [f"{stem}.{ending}" for stem in stems for ending in ("json", "webp")]
        assert all(p.stat().st_size < 60_000 for p in pictures), "what a study of many keeps of each"
        assert "**/figures" in (out / ".bidsignore").read_text().split()
        assert run(study, out, "group") == 0
        page = (out / "group.html").read_text()
        assert "sub-001 in all arms" in page and page.count("data:image/webp;base64,") == 1
        # Derivatives of an earlier version have maps but no picture: it is drawn for the group.
        for picture in pictures:
            picture.unlink()
        assert main(["report", str(out), "--quiet"]) == 0
        assert (out / "group.html").read_text() == page

    def test_who_is_not_finished_is_named(self, study: Path, finished: Path, run: Run, tmp_path: Path) -> None:
        out = tmp_path / "out"
        shutil.copytree(finished, out)
        (out / "logs" / "records" / "sub-002" / "all_nuclei.json").unlink()
        assert run(study, out, "group") == 1
        content = json.loads((out / "group.json").read_text())
        assert "no finished table" in content["problems"]["sub-002"]
        assert "sub-002" not in set(pd.read_csv(out / "group_desc-nuclei_qsmstats.tsv", sep="\t")["participant_id"])

    def test_values_of_unlike_code_are_told(self, study: Path, finished: Path, tmp_path: Path, run: Run) -> None:
        out = tmp_path / "out"
        shutil.copytree(finished, out)
        path = out / "logs" / "records" / "sub-002" / "all_nuclei.json"
        content = json.loads(path.read_text())
        assert content["about"]["code"].startswith("0.")
        write_json(path, {**content, "about": {**content["about"], "code": "0.0.1+abc"}})
        run(study, out, "group")
        notes = json.loads((out / "group.json").read_text())["notes"]
        assert any("2 states of dlqsm's code: 0.0.1+abc" in note for note in notes)

    def test_other_settings_of_a_participant_are_named(
        self, study: Path, finished: Path, run: Run, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        shutil.copytree(finished, out)
        path = out / "logs" / "records" / "sub-003" / "all_nuclei.json"
        content = json.loads(path.read_text())
        assert len(content["about"]["settings"]) == 64
        write_json(path, {**content, "about": {**content["about"], "settings": "other"}})
        assert run(study, out, "group") == 1
        assert "other settings" in json.loads((out / "group.json").read_text())["problems"]["sub-003"]
