"""Options of reconstructions that a study gives by its configuration file."""

import json
from pathlib import Path

import pytest
from cohort_study import Run

from dlqsm.cohort.arm_stages import recon_key
from dlqsm.cohort.nuclei_stage import settings_hash
from dlqsm.cohort.plan import Arm, Plan
from dlqsm.cohort.stages import fingerprints_of
from dlqsm.config import QsmConfig, read_qsm_config, read_reconstruction_options
from dlqsm.core.checks import InputError
from dlqsm.io.bids_sources import ArmSource

QUICK = '[inversion]\nmethod = "tkd"\n[background]\nmethod = "vsharp"\n'


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_tables_of_methods_stand_beside_those_of_the_steps(tmp_path: Path) -> None:
    path = written(tmp_path / "c.toml", QUICK + "[reconstruction.joint]\nfinal_steps = 2\n")
    assert read_reconstruction_options(path) == {"joint": {"final_steps": 2}}
    assert read_qsm_config(path).inversion.method == "tkd"
    assert read_reconstruction_options(written(tmp_path / "d.toml", QUICK)) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[reconstruction.grappa]\nkernel = 5\n", "grappa"),
        ("[reconstruction.joint]\nfinal_stops = 2\n", "final_stops"),
        ("[reconstruction.joint]\nfinal_steps = 1.5\n", "final_steps of .reconstruction.joint. must be a whole number"),
        ("[reconstruction]\nmethod = 'joint'\n", "one table a method"),
        ("reconstruction = 'joint'\n", "one table a method"),
        ("[reconstruction.joint]\nweights = 'own.safetensors'\n", "own.safetensors: .* does not exist"),
    ],
)
def test_what_no_method_has_is_refused(tmp_path: Path, text: str, said: str) -> None:
    for read in (read_reconstruction_options, read_qsm_config):
        with pytest.raises(InputError, match=said) as error:
            read(written(tmp_path / "c.toml", text))
        assert str(error.value).startswith(str(tmp_path / "c.toml"))


def test_values_of_other_options_are_not_compared(tmp_path: Path) -> None:
    def settings(**options: dict[str, int]) -> str:
        plan = Plan(tmp_path, tmp_path, tmp_path / "work", None, QsmConfig(), "virtual", "PI2", reconstruction=options)
        return settings_hash(plan, fingerprints_of(plan, "sub-1"))

    assert len({settings(), settings(joint={"final_steps": 2}), settings(joint={"final_steps": 1})}) == 3


def test_weights_count_by_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "bids").mkdir()
    path, weights = tmp_path / "settings" / "c.toml", tmp_path / "settings" / "own.safetensors"
    path.parent.mkdir()
    written(path, "[reconstruction.joint]\nweights = 'own.safetensors'\n")
    raw = written(tmp_path / "bids" / "raw.h5", "raw")
    arm = Arm("DL3", "sub-1", ArmSource("DL3", (("acq", "DL3"),), raw=raw), "joint")
    keys = []
    for content in ("one", "one", "two"):
        written(weights, content)
        options = read_reconstruction_options(path)
        assert options == {"joint": {"weights": str(weights)}}
        plan = Plan(tmp_path / "bids", tmp_path, tmp_path / "work", None, QsmConfig(), "virtual", "PI2", options)
        prints = fingerprints_of(plan, "sub-1")
        keys.append((recon_key(arm, plan, prints), settings_hash(plan, prints)))
    assert keys[0] == keys[1]
    assert keys[1][0] != keys[2][0] and keys[1][1] != keys[2][1]


@pytest.mark.slow
def test_a_run_reconstructs_with_them_and_anew_where_they_change(study: Path, run: Run, tmp_path: Path) -> None:
    config, out = tmp_path / "c.toml", tmp_path / "out"
    words = (study, out, "participant", "--participant-label", "001", "--method", "sense", "--config", config)
    maps = []
    for n in (1, 1, 6):
        written(config, QUICK + f"[reconstruction.sense]\nmax_iterations = {n}\n")
        assert run(*words) == 0
        (account,) = out.glob("sub-001/anat/*acq-DL3_rec-sense_qsmaccount.json")
        told = json.loads(account.read_text())["scan"]["decisions"]
        assert told["options"]["max_iterations"] == n
        (chi,) = out.glob("sub-001/anat/*acq-DL3_rec-sense_Chimap.nii.gz")
        maps.append((chi.read_bytes(), chi.stat().st_mtime_ns))
    assert maps[0] == maps[1]
    assert maps[1][0] != maps[2][0]
