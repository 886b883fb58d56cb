"""Stages, records, failures and interruptions, on a coarse dataset with a stand-in for the registration."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from cohort_study import THREADS, Run, records, tables, write_images

from dlqsm.cohort import nuclei_stage
from dlqsm.cohort.family_alarms import ArmRefusedError
from dlqsm.cohort.participant import STAGES
from dlqsm.cohort.plan import default_method
from dlqsm.io.nifti import read_image
from dlqsm.io.outputs import write_json

STANDIN = Path(__file__).with_name("standin.py")
ARMS = ("DL3", "PI2")
METHOD = default_method(uniform=False)


def _nuclei(out: Path, label: str) -> pd.DataFrame:
    return pd.read_csv(out / label / f"{label}_desc-nuclei_qsmstats.tsv", sep="\t")


def _all_files(out: Path) -> list[str]:
    return [p.name for p in out.rglob("*") if p.is_file()]


class TestAnUndisturbedRun:
    def test_every_stage_of_every_arm_has_a_record(self, finished: Path) -> None:
        names = {f"{arm}_{stage}.json" for arm in ARMS for stage in STAGES[:2]} | {"all_nuclei.json", "all_page.json"}
        found = {Path(p).name for p in records(finished) if "sub-001" in p}
        assert found == names

    def test_maps_have_the_names_of_the_contract(self, finished: Path) -> None:
        anat, fmap = finished / "sub-001" / "anat", finished / "sub-001" / "fmap"
        for stem in ("Chimap", "R2starmap", "desc-brain_mask", "desc-eroded_mask", "atlas-virtual_dseg"):
            for ending in ("nii.gz", "json"):
                assert (anat / f"sub-001_acq-PI2_rec-sense_{stem}.{ending}").is_file()
        for kind in ("total", "local", "noise"):
            assert (fmap / f"sub-001_acq-PI2_rec-sense_desc-{kind}_fieldmap.nii.gz").is_file()
        assert (finished / "sub-001.html").is_file()
        assert (finished / "logs" / "sub-001.log").read_text().count("qsm") >= 2

    def test_sidecars_tell_sources_units_and_methods(self, finished: Path) -> None:
        path = finished / "sub-001" / "anat" / "sub-001_acq-PI2_rec-sense_Chimap.json"
        content = json.loads(path.read_text())
        assert content["Units"] == "ppm"
        assert content["Sources"] == ["bids:raw:sourcedata/sub-001/anat/sub-001_acq-PI2_MEGRE.h5"]
        assert content["EchoTime"] == [0.0033, 0.0064, 0.0095, 0.0126]
        assert content["SkullStripped"] is True
        assert {"EstimationAlgorithm", "Reference", "Reconstruction"} <= set(content)

    def test_the_table_is_long_and_has_the_truth_at_its_end(self, finished: Path) -> None:
        table = _nuclei(finished, "sub-001")
        assert list(table.columns[:4]) == ["participant_id", "arm", "roi", "side"]
        assert list(table.columns[-2:]) == ["truth_ppb", "mean_true_labels_ppb"]
        assert len(table) == len(ARMS) * 7 * 3
        # On 4 mm voxels RN and SN hold too few voxels, and all do for the network of DL3.
        large = table["roi"].isin(["Pu", "Ca", "GPe", "GPi"])
        both = table[(table["side"] == "both") & (table["arm"] == "PI2") & large].dropna()
        assert both["truth_ppb"].corr(both["mean_true_labels_ppb"]) > 0.8

    def test_files_between_the_stages_are_gone(self, finished: Path) -> None:
        assert not (finished / "work").exists()
        assert not any(name.startswith(".partial-") for name in _all_files(finished))

    def test_a_participant_without_an_arm_keeps_the_others(self, finished: Path) -> None:
        assert set(_nuclei(finished, "sub-003")["arm"]) == {"PI2"}


class TestStrength:
    def test_all_arms_of_all_participants_share_one(self, finished: Path) -> None:
        kept = json.loads((finished / "logs" / "strength.json").read_text())
        assert set(kept["strengths_ppm"]) == {"sub-001", "sub-002", "sub-003"}
        strength = sorted(kept["strengths_ppm"].values())[1]
        sidecars = [p for p in finished.glob("sub-*/anat/*_Chimap.json") if "desc-" not in p.name]
        assert len(sidecars) == 5
        for path in sidecars:
            assert json.loads(path.read_text())["DipoleInversion"]["parameters"]["strength"] == pytest.approx(strength)

    def test_a_given_one_is_kept_and_none_is_chosen(self, study: Path, run: Run, tmp_path: Path) -> None:
        config = tmp_path / "c.toml"
        config.write_text("[inversion]\nstrength = 4e-4\n")
        out = tmp_path / "out"
        assert run(study, out, "participant", "--participant-label", "003", "--config", config) == 0
        assert not (out / "logs" / "strength.json").exists()
        sidecar = out / "sub-003" / "anat" / "sub-003_acq-PI2_rec-sense_Chimap.json"
        assert json.loads(sidecar.read_text())["DipoleInversion"]["parameters"]["strength"] == 4e-4


class TestResume:
    def test_a_second_run_does_nothing(self, study: Path, finished: Path, run: Run) -> None:
        before = records(finished)
        assert run(study, finished, "participant") == 0
        assert records(finished) == before

    def test_a_lost_map_is_made_again_and_nothing_else(
        self, study: Path, finished: Path, run: Run, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        shutil.copytree(finished, out)
        (out / "sub-001" / "anat" / f"sub-001_acq-DL3_rec-{METHOD}_Chimap.nii.gz").unlink()
        before = records(out)
        assert run(study, out, "participant") == 0
        after = records(out)
        # Its values are what they were, so that what was made of them still stands.
        assert {Path(p).name for p in before if after[p] != before[p]} == {"DL3_qsm.json", "DL3_recon.json"}
        assert {p: key for p, (key, _) in after.items()} == {p: key for p, (key, _) in before.items()}
        assert tables(out) == tables(finished)

    def test_other_parameters_run_their_stage_and_all_after_it(
        self, study: Path, finished: Path, run: Run, tmp_path: Path
    ) -> None:
        out, config = tmp_path / "out", tmp_path / "c.toml"
        shutil.copytree(finished, out)
        config.write_text('[inversion]\nmethod = "tkd"\n')
        before = records(out)
        assert run(study, out, "participant", "--participant-label", "003", "--config", config) == 0
        changed = {p for p, value in records(out).items() if value != before[p]}
        assert {Path(p).name for p in changed if "sub-003" in p} == {
            "PI2_qsm.json", "PI2_recon.json", "all_nuclei.json", "all_page.json",
        }  # fmt: skip
        assert {p for p in changed if "sub-003" not in p} == set()

    def test_what_is_made_anew_on_request_registers_anew(
        self, study: Path, finished: Path, run: Run, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        shutil.copytree(finished, out)
        kept = out / "sub-003" / "xfm" / "from-PI2_to-atlas_xfm.json"
        write_json(kept, {})
        assert run(study, out, "participant", "--participant-label", "003") == 0
        assert kept.is_file()
        assert run(study, out, "participant", "--participant-label", "003", "--overwrite") == 0
        assert not kept.exists()


def _start(*words: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(STANDIN), "run", *map(str, words), *THREADS, "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _kill_when(process: subprocess.Popen[bytes], seen: Callable[[], bool]) -> None:
    """Kill as ``kill -9`` does, as soon as something is seen on disk."""
    until = time.monotonic() + 60
    while not seen() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    assert process.poll() is None, process.stderr and process.stderr.read().decode()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stderr is not None
    process.stderr.close()


@pytest.mark.slow
def test_a_run_killed_at_any_moment_resumes_to_the_same_tables(
    study: Path, finished: Path, run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    label = out / "sub-001"
    moments: tuple[Callable[[], bool], ...] = (
        lambda: (label / "anat" / f"sub-001_acq-DL3_rec-{METHOD}_Chimap.nii.gz").exists(),  # maps without their record
        lambda: any(label.glob("anat/*_dseg.nii.gz")),  # labels without a table
    )
    for moment in moments:
        _kill_when(_start(study, out, "participant", "--participant-label", "001"), moment)
        assert not (out / "logs" / "records" / "sub-001" / "all_nuclei.json").exists()
    assert run(study, out, "participant", "--participant-label", "001") == 0
    assert not any(name.startswith(".partial-") for name in _all_files(out))
    expected = {name: content for name, content in tables(finished).items() if "sub-001" in name}
    assert {name: content for name, content in tables(out).items() if "sub-001" in name} == expected


@pytest.mark.slow
def test_workers_die_with_the_run_that_started_them(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = _start(study, out, "participant", "--workers", 2)
    _kill_when(process, lambda: len(list(out.glob("logs/records/*/sources.json"))) == 2)
    time.sleep(1.0)
    before = sorted((str(p), p.stat().st_size) for p in out.rglob("*"))
    time.sleep(2.0)
    assert sorted((str(p), p.stat().st_size) for p in out.rglob("*")) == before


class TestFailures:
    def test_one_broken_file_fails_its_participant_and_no_other(
        self, study: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bids, out = tmp_path / "bids", tmp_path / "out"
        shutil.copytree(study, bids)
        broken = bids / "sourcedata" / "sub-001" / "anat" / "sub-001_acq-DL3_MEGRE.h5"
        os.truncate(broken, broken.stat().st_size // 2)
        assert run(bids, out, "participant", "--participant-label", "001", "sub-003") == 1
        said = capsys.readouterr()
        assert "1 of 2 participants complete" in said.out
        assert f"dlqsm run: sub-001: DL3: {broken}" in said.err
        assert "Traceback" not in said.err
        assert "Traceback" in (out / "logs" / "sub-001.log").read_text()
        assert set(_nuclei(out, "sub-001")["arm"]) == {"PI2"}  # its other arm is mapped all the same
        assert (out / "sub-003.html").is_file()
        shutil.copy2(study / broken.relative_to(bids), broken)
        assert run(bids, out, "participant", "--participant-label", "001", "003") == 0
        assert set(_nuclei(out, "sub-001")["arm"]) == {"PI2", "DL3"}

    def test_a_defect_fails_its_participant_and_no_other(
        self, study: Path, finished: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out"
        shutil.copytree(finished, out)
        for label in ("sub-002", "sub-003"):
            (out / "logs" / "records" / label / "all_nuclei.json").unlink()

        def fails(family: object, *_: object) -> None:
            if "sub-002" in str(family):
                raise ZeroDivisionError("seven")
            raise MemoryError

        monkeypatch.setattr("dlqsm.cohort.stages.measure_family", fails)
        assert run(study, out, "participant") == 1
        log = (out / "logs" / "sub-002.log").read_text()
        assert "ZeroDivisionError: seven (a defect of dlqsm" in log
        assert "Traceback" in log
        assert "too little memory" in (out / "logs" / "sub-003.log").read_text()
        assert records(out).keys() >= {"logs/records/sub-001/all_nuclei.json"}

    def test_arms_of_two_heads_are_flagged(
        self, study: Path, finished: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out"
        shutil.copytree(finished, out)
        (out / "logs" / "records" / "sub-001" / "all_nuclei.json").unlink()
        plain = nuclei_stage.locate_nuclei

        def unlike(*arms: object, **keywords: object) -> list[nuclei_stage.ArmNuclei]:
            found = plain(*arms, **keywords)  # type: ignore[arg-type]
            for arm in found:
                arm.account["local_correlation"] = {"before": 0.3, "after": 0.8 if arm.name == "DL3" else 1.0}
            return found

        monkeypatch.setattr(nuclei_stage, "locate_nuclei", unlike)
        assert run(study, out, "participant", "--participant-label", "001") == 0
        accounts = json.loads((out / "sub-001" / "sub-001_desc-registration_qsmaccount.json").read_text())
        assert ["another head than PI2" in " ".join(accounts[arm]["warnings"]) for arm in ARMS] == [True, False]
        assert "another head" in (out / "logs" / "sub-001.log").read_text()

    @pytest.mark.parametrize(("bad", "left"), [("DL3", ["PI2"]), ("PI2", [])])
    def test_an_arm_that_is_refused_beside_the_others_takes_only_itself(
        self,
        study: Path,
        finished: Path,
        run: Run,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        bad: str,
        left: list[str],
    ) -> None:
        """All are measured against the reference, so that without it none is."""
        out = tmp_path / "out"
        shutil.copytree(finished, out)
        (out / "logs" / "records" / "sub-001" / "all_nuclei.json").unlink()
        (out / "sub-001" / "sub-001_desc-nuclei_qsmstats.tsv").unlink()

        def refuse(nuclei: pd.DataFrame, *_: object) -> dict[str, str]:
            if bad in set(nuclei["arm"]):
                raise ArmRefusedError(bad, f"arm {bad}: the phase seems to have the opposite sign")
            return {}

        monkeypatch.setattr(nuclei_stage, "doubtful_signs", refuse)
        assert run(study, out, "participant", "--participant-label", "001") == 1
        (failure,) = json.loads((out / "logs" / "records" / "sub-001" / "outcome.json").read_text())["failures"]
        assert failure == f"arm {bad}: the phase seems to have the opposite sign"
        path = out / "sub-001" / "sub-001_desc-nuclei_qsmstats.tsv"
        assert ([*_nuclei(out, "sub-001")["arm"].unique()] if path.is_file() else []) == left

    def test_two_runs_on_one_folder(
        self, study: Path, finished: Path, run: Run, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lock = finished / ".dlqsm.lock"
        lock.write_text(f"{os.uname().nodename} {os.getppid()}")
        try:
            assert run(study, finished, "participant") == 2
            assert run(study, finished, "group") == 2
        finally:
            lock.unlink()
        assert capsys.readouterr().err.count("another dlqsm process") == 2


def test_images_are_an_arm_as_raw_data_are(study: Path, finished: Path, run: Run, tmp_path: Path) -> None:
    """Echo images in anat, phase in the unit of an inherited sidecar, through the same stages and without rec-."""
    bids, out = tmp_path / "bids", tmp_path / "out"
    write_images(study, bids, tmp_path / "recon")
    assert run(bids, out, "participant", "--atlas", "virtual") == 0
    anat = out / "sub-9" / "anat"
    assert (anat / "sub-9_acq-A_Chimap.nii.gz").is_file()
    assert {Path(p).name for p in records(out)} == {"A_qsm.json", "all_nuclei.json", "all_page.json"}
    chi = read_image(anat / "sub-9_acq-A_Chimap.nii.gz").values
    raw_chi = read_image(finished / "sub-001" / "anat" / "sub-001_acq-PI2_rec-sense_Chimap.nii.gz").values
    inside = (chi != 0) & (raw_chi != 0)
    # The same images; only the noise map, which weights the inversion, is not known from images.
    assert pd.Series(chi[inside]).corr(pd.Series(raw_chi[inside])) > 0.97
