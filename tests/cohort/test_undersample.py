"""Retrospective undersampling of a site's own raw data, fully sampled or by parallel imaging."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_images import raw_scan

from dlqsm.acquisition.sampling import poisson
from dlqsm.cli import main
from dlqsm.core.raw import MemoryRaw, undersample
from dlqsm.core.sampling_kind import IRREGULAR, sampling_kind
from dlqsm.io.raw import read_raw, write_raw

Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """A call that must be refused: exit code 2; what it said."""

    def call(*words: object) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 2
        return capsys.readouterr().err

    return call


def site_of(folder: Path, scans: dict[str, MemoryRaw]) -> Path:
    for arm, raw in scans.items():
        anat = folder / "sourcedata" / "sub-01" / "anat"
        anat.mkdir(parents=True, exist_ok=True)
        write_raw(anat / f"sub-01_acq-{arm}_MEGRE.h5", raw)
    return folder


def kept_by(folder: Path, arm: str) -> np.ndarray:
    return read_raw(folder / "sourcedata" / "sub-01" / "anat" / f"sub-01_acq-{arm}_MEGRE.h5").header.sampling_mask


def elliptical_scan() -> MemoryRaw:
    header = raw_scan(1).header
    _, ny, nz = header.grid.shape
    y, z = np.indices((ny, nz))
    ellipse = ((y - ny // 2) / (ny // 2)) ** 2 + ((z - nz // 2) / (nz // 2)) ** 2 <= 1
    lines = np.argwhere(ellipse).astype(np.int32)
    samples = np.ones((len(lines), header.n_echoes, header.n_coils, header.n_readout), np.complex64)
    return MemoryRaw(replace(header, lines=lines, calibration=np.ones(len(lines), bool)), samples)


def test_lines_of_parallel_imaging_are_chosen_among_where_no_scan_is_full(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    site, out = site_of(tmp_path / "site", {"PI2": raw_scan(1)}), tmp_path / "out"
    assert main(["undersample", str(site), str(out), "--acceleration", "3"]) == 0
    assert "drawn among those acquired" in "".join(capsys.readouterr())
    kept, acquired = kept_by(out, "PI2_rec-AF3"), kept_by(site, "PI2")
    assert kept.sum() == round(kept.size / 3) and acquired[kept].all()
    assert sampling_kind(kept) == IRREGULAR
    np.testing.assert_array_equal(kept_by(out, "PI2"), acquired)
    words = ("undersample", site, tmp_path / "other", "--acceleration")
    assert "give a larger one" in refused(*words, 1.1, 3)
    assert "leave --kind out" in refused(*words, 3, "--kind", "uniform")
    assert not (tmp_path / "other").exists()


def test_a_scan_that_is_full_within_an_ellipse_is_fully_sampled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = site_of(tmp_path / "site", {"FULL": elliptical_scan(), "PI2": raw_scan(1)})
    assert main(["undersample", str(site), str(tmp_path / "out"), "--acceleration", "3"]) == 0
    assert "PI2 is not fully sampled and is left out" in "".join(capsys.readouterr())
    kept = kept_by(tmp_path / "out", "FULL_rec-AF3")
    assert kept.sum() == round(kept.size / 3) and kept_by(site, "FULL")[kept].all()


def test_scans_sampled_at_random_are_refused(tmp_path: Path, refused: Refused) -> None:
    raw = elliptical_scan()
    acquired = raw.header.sampling_mask
    random = poisson(acquired.shape, 3.0, 0, acquired)
    site = site_of(tmp_path / "site", {"CS": undersample(raw, random.mask, random.calibration)})
    words = ("undersample", site, tmp_path / "out", "--acceleration", 5)
    assert "fully sampled or skips lines regularly" in refused(*words)
