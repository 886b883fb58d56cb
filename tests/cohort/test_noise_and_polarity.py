"""A run that tells the noise of its values, and one of alternating readout; keys change where they are asked for."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cohort_study import Run, records, write_images

from dlqsm.io.nifti import read_image

FAST = '[background]\nmethod = "vsharp"\n[inversion]\nmethod = "tkd"\n'
N_REALISATIONS = 30


def _nuclei(out: Path, label: str) -> pd.DataFrame:
    return pd.read_csv(out / label / f"{label}_desc-nuclei_qsmstats.tsv", sep="\t")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "fast.toml"
    path.write_text(FAST)
    return path


class TestUncertainty:
    def test_the_noise_of_a_nucleus_is_that_of_its_mean_over_realisations(
        self, study: Path, run: Run, config: Path, tmp_path: Path
    ) -> None:
        words = (study, tmp_path, "participant", "--participant-label", "003", "--config", config)
        assert run(*words, "--uncertainty", N_REALISATIONS) == 0
        stem = str(tmp_path / "sub-003" / "anat" / "sub-003_acq-PI2_rec-sense_")
        errors_ppm = read_image(Path(stem + "desc-realisations_Chimap.nii.gz")).values
        sd_ppm = read_image(Path(stem + "desc-noise_Chimap.nii.gz")).values
        labels = read_image(Path(stem + "atlas-virtual_dseg.nii.gz")).values
        common = read_image(Path(stem + "desc-common_mask.nii.gz")).values > 0
        np.testing.assert_allclose(sd_ppm, errors_ppm.std(-1, ddof=1), atol=2e-5)
        means_ppm = errors_ppm[common & (labels == 1)].mean(0) - errors_ppm[common].mean(0)
        names = pd.read_csv(stem + "atlas-virtual_dseg.tsv", sep="\t").set_index("index")
        table = _nuclei(tmp_path, "sub-003").set_index(["roi", "side"])
        told = table.loc[(names.loc[1, "roi"], names.loc[1, "side"]), "noise_sd_ppb"]
        assert told == pytest.approx(1000 * means_ppm.std(ddof=1), rel=0.01)
        assert (table["noise_sd_ppb"] > 0).all()
        sidecar = json.loads(Path(stem + "desc-noise_Chimap.json").read_text())
        assert (sidecar["Realisations"], sidecar["Pooled"], sidecar["Units"]) == (N_REALISATIONS, False, "ppm")

    def test_without_it_the_files_go_and_the_keys_are_what_they_were(
        self, study: Path, run: Run, config: Path, tmp_path: Path
    ) -> None:
        words = (study, tmp_path, "participant", "--participant-label", "003", "--config", config)
        assert run(*words) == 0
        plain = records(tmp_path)
        assert run(*words, "--uncertainty", 2) == 0
        noisy = records(tmp_path)
        changed = {Path(path).name for path in plain if noisy[path][0] != plain[path][0]}
        assert changed == {"PI2_qsm.json", "all_nuclei.json", "all_page.json"}
        assert run(*words, "--uncertainty", 2) == 0
        assert records(tmp_path) == noisy
        assert len(list(tmp_path.rglob("*_desc-realisations_Chimap.*"))) == 2
        assert run(*words) == 0
        assert {path: key for path, (key, _) in records(tmp_path).items()} == {p: key for p, (key, _) in plain.items()}
        assert not list(tmp_path.rglob("*_desc-realisations_Chimap.*"))
        assert "noise_sd_ppb" not in _nuclei(tmp_path, "sub-003")

    def test_the_strength_of_the_study_stays_what_it_was(
        self, study: Path, finished: Path, run: Run, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        shutil.copytree(finished, out)
        kept = (out / "logs" / "strength.json").stat().st_mtime_ns
        assert run(study, out, "participant", "--participant-label", "003", "--uncertainty", 2) == 0
        assert (out / "logs" / "strength.json").stat().st_mtime_ns == kept
        before, after = (_nuclei(o, "sub-003") for o in (finished, out))
        pd.testing.assert_frame_equal(after.drop(columns="noise_sd_ppb"), before)
        assert run(study, out, "group") == 0
        group = pd.read_csv(out / "group_desc-nuclei_qsmstats.tsv", sep="\t", na_values="n/a")
        known = group.groupby("participant_id")["noise_sd_ppb"].apply(lambda sds: sds.notna().all())
        assert known.to_dict() == {"sub-001": False, "sub-002": False, "sub-003": True}

    def test_one_realisation_is_refused(
        self, study: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(study, tmp_path, "participant", "--uncertainty", 1) == 2
        assert "two realisations of the noise or more; got 1" in capsys.readouterr().err


class TestBipolar:
    def test_what_parts_odd_and_even_echoes_is_taken_out(
        self, study: Path, run: Run, config: Path, tmp_path: Path
    ) -> None:
        bids, out = tmp_path / "bids", tmp_path / "out"
        write_images(study, bids, tmp_path / "recon", even_echoes_rad=0.5)
        words = (bids, out, "participant", "--atlas", "virtual", "--config", config)
        accounts, keys = [], []
        for more in ((), ("--bipolar",)):
            assert run(*words, *more) == 0
            accounts.append(json.loads((out / "sub-9" / "anat" / "sub-9_acq-A_qsmaccount.json").read_text()))
            keys.append({path: key for path, (key, _) in records(out).items()})
        assert [a["odd_even_phase"]["offset_rad"] for a in accounts] == pytest.approx([-0.5, -0.5], abs=0.05)
        assert [a["decisions"]["odd_even_phase"].split(", ")[1].split()[0] for a in accounts] == ["left", "taken"]
        assert set(keys[0]) == set(keys[1])
        assert all(keys[0][path] != keys[1][path] for path in keys[0])

    @pytest.mark.parametrize("option", [("--bipolar",), ("--coil-combination", "mcpc3ds")])
    def test_raw_data_alone_are_refused(
        self, study: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: tuple[str, ...]
    ) -> None:
        assert run(study, tmp_path, "participant", *option) == 2
        assert f"{option[0]} needs echo images" in capsys.readouterr().err
