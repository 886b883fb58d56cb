"""A run stops an arm whose phase has the opposite sign, by its maps or by its nuclei, and goes on where told to."""

import json
from pathlib import Path

import pandas as pd
import pytest
from cohort_study import Run, write_images

from dlqsm.cohort.nuclei_sign import doubtful_signs
from dlqsm.cohort.nuclei_stage import settings_hash
from dlqsm.cohort.plan import Plan
from dlqsm.cohort.stages import fingerprints_of
from dlqsm.config import QsmConfig
from dlqsm.core.checks import InputError
from dlqsm.io.images import AS_STORED, PhaseOptions
from dlqsm.io.nifti import read_volume, write_volume


def _plan(folder: Path, phase: PhaseOptions = AS_STORED) -> Plan:
    return Plan(folder, folder, folder / "work", None, QsmConfig(), "virtual", "PI2", phase=phase)


def _nuclei(**pallidum_ppb: float) -> pd.DataFrame:
    rows = [
        (arm, roi, side, sign * value)
        for arm, value in pallidum_ppb.items()
        for roi, sign in (("GPe", 1.0), ("GPi", 1.2), ("Ca", 0.3))
        for side in ("left", "right")
    ]
    return pd.DataFrame(rows, columns=["arm", "roi", "side", "mean_ppb"])


def test_images_of_the_opposite_sign_stop_until_they_are_turned(
    study: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(study, tmp_path / "bids", tmp_path / "recon")
    for path in (tmp_path / "bids").rglob("*part-phase_MEGRE.nii.gz"):
        values, grid = read_volume(path)
        write_volume(path, -values, grid)
    config = tmp_path / "fast.toml"
    config.write_text('[background]\nmethod = "vsharp"\n[inversion]\nmethod = "tkd"\n')
    words = (tmp_path / "bids", tmp_path / "out", "participant", "--atlas", "virtual", "--config", config)
    assert run(*words) == 1
    said = capsys.readouterr().err
    assert "opposite sign" in said and "echo-1_part-phase_MEGRE.nii.gz" in said and "--invert-phase" in said
    assert not list((tmp_path / "out").rglob("*Chimap*"))
    assert run(*words, "--invert-phase") == 0
    (account,) = (tmp_path / "out" / "sub-9" / "anat").glob("*qsmaccount.json")
    told = json.loads(account.read_text())
    assert told["phase_trust"]["sign"]["verdict"] == "agrees"
    assert "turned by --invert-phase" in told["decisions"]["phase_sign"]
    assert "paramagnetic" in (tmp_path / "out" / "sub-9.html").read_text()


def _placed(score: float) -> dict[str, dict[str, object]]:
    account = {"placement": {"local_correlation": {"before": 0.6, "after": score}}}
    return {"PI2": account, "DL3": account}


def test_a_pallidum_below_the_brain_names_its_arm(tmp_path: Path) -> None:
    well = _placed(0.8)
    assert doubtful_signs(_nuclei(PI2=80.0, DL3=60.0), well, _plan(tmp_path)) == {}
    assert doubtful_signs(_nuclei(PI2=-10.0), well, _plan(tmp_path)) == {}
    with pytest.raises(InputError, match=r"arm DL3: .* -66 ppb .*give --invert-phase"):
        doubtful_signs(_nuclei(PI2=80.0, DL3=-60.0), well, _plan(tmp_path))
    with pytest.raises(InputError, match="leave out --invert-phase"):
        doubtful_signs(_nuclei(PI2=-60.0), well, _plan(tmp_path, PhaseOptions(invert=True)))
    accepted = doubtful_signs(_nuclei(PI2=-60.0), well, _plan(tmp_path, PhaseOptions(accept=("sign",))))
    assert list(accepted) == ["PI2"]


def test_a_misplaced_atlas_says_nothing_of_the_sign(tmp_path: Path) -> None:
    nuclei = _nuclei(PI2=-60.0, DL3=-60.0)
    assert doubtful_signs(nuclei, _placed(0.3), _plan(tmp_path)) == {}
    assert doubtful_signs(nuclei, {"PI2": {}, "DL3": {}}, _plan(tmp_path)) == {}


def test_settings_of_a_study_change_with_the_sign_alone(tmp_path: Path) -> None:
    def settings(**options: object) -> str:
        return settings_hash(_plan(tmp_path, PhaseOptions(**options)), fingerprints_of(_plan(tmp_path), "sub-1"))

    assert settings() == settings(accept=("sign",)) == settings(unit="rad")
    assert len({settings(), settings(invert=True), settings(bipolar=True)}) == 3
