"""`dlqsm convert` of raw data: one file, or a dataset that `dlqsm run` reads."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from converted import convert, is_valid
from dlqsm.io.bids import read_dataset
from dlqsm.io.raw import read_raw
from made_twix import all_lines, point_readouts, write_made_twix


class TestRaw:
    @pytest.fixture
    def twix(self, tmp_path: Path) -> Path:
        noise = np.random.default_rng(0).standard_normal((2, 50)).astype(np.complex64)
        return write_made_twix(tmp_path / "meas.dat", all_lines(point_readouts((4.0, -6.0, 9.0))), noise_before=noise)

    def test_twix_becomes_a_file(self, twix: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
        convert(twix, tmp_path / "out" / "raw.h5")
        assert read_raw(tmp_path / "out" / "raw.h5").header.n_echoes == 2
        assert "exists already" in refused("convert", twix, tmp_path / "out" / "raw.h5")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["meas.dat", "out"]

    def test_twix_becomes_a_dataset_that_run_finds(self, twix: Path, tmp_path: Path) -> None:
        convert(twix, tmp_path / "out", "--acq", "DL3", "--participant-label", "07")
        (person,) = read_dataset(tmp_path / "out").participants
        assert (person.label, person.arms[0].name) == ("sub-07", "DL3")
        assert person.arms[0].raw == tmp_path / "out" / "sourcedata/sub-07/anat/sub-07_acq-DL3_MEGRE.h5"
        is_valid(tmp_path / "out")

    def test_ismrmrd_goes_into_a_dataset_without_names(self, twix: Path, tmp_path: Path) -> None:
        convert(twix, tmp_path / "raw.h5")
        convert(tmp_path / "raw.h5", tmp_path / "out")
        (person,) = read_dataset(tmp_path / "out").participants
        one, other = read_raw(tmp_path / "raw.h5"), read_raw(person.arms[0].raw)
        assert np.array_equal(one.readouts(0, 20), other.readouts(0, 20))
        assert np.allclose(one.header.grid.affine, other.header.grid.affine, atol=1e-4)
        assert np.array_equal(one.header.noise, other.header.noise)

    def test_what_recon_cannot_take_is_refused_and_leaves_nothing(
        self, tmp_path: Path, refused: Callable[..., str]
    ) -> None:
        lines = [line for line in all_lines(point_readouts((0, 0, 0))) if line.line % 2 == 0]
        path = write_made_twix(tmp_path / "meas.dat", lines)
        said = refused("convert", path, tmp_path / "new" / "out")
        assert "meas.dat has no calibration region" in said and "dlqsm-convert" not in said
        assert [p.name for p in tmp_path.iterdir()] == ["meas.dat"]

    def test_options_for_images_are_refused(self, twix: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
        assert "--series is for DICOM images" in refused("convert", twix, tmp_path / "raw.h5", "--series", "3")
