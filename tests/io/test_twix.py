"""Siemens raw data: every readout arrives, where the object was, and what recon cannot take is refused."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from twixtools import hdr_def, mdh_def

from dlqsm.core.checks import InputError
from dlqsm.core.fourier import ifftc
from dlqsm.io.raw import RawFile, read_raw, write_raw
from dlqsm.io.twix import read_twix, write_twix
from dlqsm.reconstruction.reconstruct import reconstruct
from made_twix import (
    CENTRE_LPS_MM,
    MATRIX,
    Line,
    all_lines,
    object_readouts,
    point_readouts,
    rotation,
    write_made_twix,
)

OFFSET_MM = (4.0, -6.0, 9.0)
"""Whole voxels along read, phase and slice gradients."""


def _through(tmp_path: Path, lines: list[Line], **changes: object) -> RawFile:
    source = write_made_twix(tmp_path / "meas.dat", lines, **changes)
    write_twix(tmp_path / "raw.h5", read_twix(source))
    return read_raw(tmp_path / "raw.h5")


def _images(raw: RawFile) -> torch.Tensor:
    """Images of the first coil, ``(echo, x, y, z)``, by a plain inverse FFT."""
    header = raw.header
    kspace = torch.zeros((header.n_echoes, header.n_readout, *header.grid.shape[1:]), dtype=torch.complex64)
    samples = torch.from_numpy(raw.readouts(0, len(header.lines))[:, :, 0])
    kspace[:, :, header.lines[:, 0], header.lines[:, 1]] = samples.permute(1, 2, 0)
    n, wanted = header.n_readout, header.grid.shape[0]
    return ifftc(kspace, (-3, -2, -1)).narrow(1, n // 2 - wanted // 2, wanted)


def test_every_sample_arrives_with_sizes_times_and_field(tmp_path: Path) -> None:
    kspace = point_readouts(OFFSET_MM)
    header = (raw := _through(tmp_path, all_lines(kspace))).header
    assert (header.grid.shape, header.n_readout, header.n_coils, header.n_echoes) == (MATRIX, 32, 2, 2)
    assert header.grid.voxel_size_mm == pytest.approx((2.0, 2.0, 3.0))
    assert header.echo_times_s == pytest.approx((0.003, 0.007))
    assert (header.repetition_time_s, header.flip_angle_deg) == pytest.approx((0.02, 15.0))
    assert header.field_strength_t == pytest.approx(123263034 / 42.577478461e6)
    samples = raw.readouts(0, len(header.lines))
    assert np.array_equal(samples, np.moveaxis(kspace[:, :, header.lines[:, 0], header.lines[:, 1]], 2, 0))
    assert not any("sign of their phase" in sentence for sentence in header.missing)


def test_a_point_is_found_where_it_was_in_the_scanner(tmp_path: Path) -> None:
    """The whole geometry: quaternion, position, and that voxels count against the gradients after an inverse FFT."""
    raw = _through(tmp_path, all_lines(point_readouts(OFFSET_MM)))
    image = _images(raw)[0].abs().numpy()
    voxel = np.unravel_index(image.argmax(), image.shape)
    found_ras = raw.header.grid.affine @ np.array([*voxel, 1.0])
    phase, read, along_slice = rotation().T
    x, y, z = OFFSET_MM
    place_lps = np.array(CENTRE_LPS_MM) + x * read + y * phase + z * along_slice
    assert found_ras[:3] == pytest.approx(place_lps * [-1, -1, 1], abs=1e-4)
    assert np.linalg.det(np.asarray(raw.header.grid.rotation)) == pytest.approx(1.0, abs=1e-5)


def test_phase_grows_with_time_where_the_field_is_higher(tmp_path: Path) -> None:
    raw = _through(tmp_path, all_lines(point_readouts(OFFSET_MM)))
    images = _images(raw)
    peak = np.unravel_index(int(images[0].abs().argmax()), images[0].shape)
    turned = float((images[1][peak] / images[0][peak]).angle())
    assert turned == pytest.approx(2 * np.pi * 30.0 * 0.004, abs=1e-3)


def test_reversed_readouts_partial_fourier_and_averages(tmp_path: Path) -> None:
    kspace, lines = point_readouts(OFFSET_MM), []
    for line in all_lines(kspace):
        if line.line < 2:
            continue
        # Reversed, sample i holds k = centre - i; the first of the flipped samples lies outside.
        reversed_ = np.roll(line.samples[:, ::-1], 1, axis=1)
        samples, flags = (reversed_, ("REFLECT",)) if line.echo == 1 else (line.samples, ())
        for average, factor in enumerate((1.0, 3.0)):
            lines.append(Line(factor * samples, line.line - 2, line.partition, line.echo, average, flags=flags))
    raw = _through(tmp_path, lines, centre=(4, 5))
    assert raw.header.lines[:, 0].min() == 2 and raw.header.lines[:, 0].max() == 11
    samples = raw.readouts(0, len(raw.header.lines))
    expected = 2.0 * np.moveaxis(kspace[:, :, raw.header.lines[:, 0], raw.header.lines[:, 1]], 2, 0)
    assert samples[..., 1:] == pytest.approx(expected[..., 1:], abs=1e-5)
    with h5py.File(tmp_path / "raw.h5") as file:
        heads = file["dataset/data"].fields("head")[:]
    assert ((heads["flags"] & (1 << 21)) != 0).sum() == len(lines) // 2  # ACQ_IS_REVERSE is bit 22, from 1


def test_noise_and_calibration_lines_keep_their_meaning(tmp_path: Path) -> None:
    kspace = point_readouts(OFFSET_MM)
    noise = np.random.default_rng(3).standard_normal((2, 200, 2)).astype(np.float32).view(np.complex64)[..., 0]
    lines = [Line(noise, flags=("NOISEADJSCAN",))]
    for line in all_lines(kspace):
        is_central = 2 <= line.line <= 9 and 1 <= line.partition <= 8
        if is_central:
            lines.append(
                Line(line.samples, line.line, line.partition, line.echo, flags=("PATREFSCAN", "PATREFANDIMASCAN"))
            )
        elif line.line % 2 == 0:
            lines.append(line)
    lines.append(Line(kspace[0, :, 3, 3], flags=("PHASCOR",)))
    scan = read_twix(write_made_twix(tmp_path / "meas.dat", lines))
    assert scan.n_left_out == 1
    write_twix(tmp_path / "raw.h5", scan)
    header = read_raw(tmp_path / "raw.h5").header
    assert header.calibration.sum() == 72  # 8 x 8, and the imaging line beside them
    # Noise within a measurement is read for 7.68 ms, the image with a dwell time of 8 us.
    assert header.noise == pytest.approx(noise * np.sqrt(7680 / 200 / 8.0), rel=1e-5)


def test_noise_of_the_measurement_before_is_taken(tmp_path: Path) -> None:
    noise = np.ones((2, 64), np.complex64)
    header = _through(tmp_path, all_lines(point_readouts(OFFSET_MM)), noise_before=noise).header
    assert header.noise == pytest.approx(noise * np.sqrt(4.0 / 8.0), rel=1e-6)


def test_a_separate_calibration_scan_gives_the_sensitivities(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    n = (2 * MATRIX[0], *MATRIX[1:])
    x, y, z = np.meshgrid(*[(np.arange(m) - m // 2) / m for m in n], indexing="ij")
    inside = (np.abs(x) < 0.2) & (np.abs(y) < 0.4) & (np.abs(z) < 0.4)
    shades = np.stack([1 + 0.9 * y, 1 - 0.9 * y + 0.3j, 1j + 0.9j * z, 1 - 0.9 * z * y])
    kspace = object_readouts(inside * shades) + 1e-3 * rng.standard_normal((2, 4, *MATRIX[1:], 32))
    kspace = kspace.astype(np.complex64)
    noise = (1e-3 * rng.standard_normal((4, 500, 2))).astype(np.float32).view(np.complex64)[..., 0]
    lines = [line for line in all_lines(kspace) if line.line % 2 == 0]
    lines += [Line(kspace[0, :, ky, kz], ky, kz, flags=("PATREFSCAN",)) for ky in range(2, 10) for kz in range(1, 9)]
    header = (raw := _through(tmp_path, lines, noise_before=noise)).header
    assert not header.calibration.any()
    assert header.reference is not None and len(header.reference.lines) == 64
    assert any("64 lines of a separate calibration scan" in sentence for sentence in header.missing)
    at = tuple(header.reference.lines[10])
    assert np.array_equal(header.reference.samples[10], kspace[0, :, *at])
    write_raw(tmp_path / "again.h5", raw)
    again = read_raw(tmp_path / "again.h5").header.reference
    assert again is not None and np.array_equal(np.sort(again.lines, axis=0), np.sort(header.reference.lines, axis=0))
    aliased, image = (reconstruct(raw, method).images[0].abs().numpy() for method in ("zero", "sense"))
    # Counted against the gradients, a voxel j beyond the centre lies j before it.
    truth = np.linalg.norm(inside * shades, axis=0)
    truth = np.roll(truth[::-1, ::-1, ::-1], (1, 1, 1), axis=(0, 1, 2))[8:24]
    errors = [np.linalg.norm(i * (i * truth).sum() / (i * i).sum() - truth) for i in (aliased, image)]
    assert errors[1] < 0.5 * errors[0]


def test_nothing_of_the_patient_is_written(tmp_path: Path) -> None:
    _through(tmp_path, all_lines(point_readouts(OFFSET_MM)))
    assert b"Doe" in (tmp_path / "meas.dat").read_bytes()
    assert b"Doe" not in (tmp_path / "raw.h5").read_bytes()


REFUSED = {
    "slices": ({"dimension": 2, "slices": 3}, "holds 3 slices of 2-D data"),
    "radial": ({"trajectory": 2}, r"not Cartesian \(trajectory 2\)"),
    "echo-planar": ({"epi": 45}, r"echo-planar \(factor 45\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_sequences_that_recon_cannot_take_are_refused(tmp_path: Path, case: str) -> None:
    changes, sentence = REFUSED[case]
    path = write_made_twix(tmp_path / "meas.dat", all_lines(point_readouts(OFFSET_MM))[:4], **changes)
    with pytest.raises(InputError, match=sentence) as caught:
        read_twix(path)
    assert "meas.dat" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_cut_short_and_a_file_of_another_kind_are_refused(tmp_path: Path) -> None:
    whole = write_made_twix(tmp_path / "meas.dat", all_lines(point_readouts(OFFSET_MM))).read_bytes()
    (tmp_path / "cut.dat").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.dat").write_text("hello, this is no raw data " * 50)
    (tmp_path / "empty.dat").write_bytes(b"")
    for name, sentence in (
        ("cut", "the file is cut short"),
        ("text", "expected Siemens raw"),
        ("empty", "expected Sie"),
    ):
        with pytest.raises(InputError, match=sentence):
            read_twix(tmp_path / f"{name}.dat")


def test_a_readout_of_no_length_that_is_both_the_end_and_for_the_scanner_alone_is_refused(tmp_path: Path) -> None:
    path = write_made_twix(tmp_path / "meas.dat", all_lines(point_readouts((0, 0, 0))))
    content = bytearray(path.read_bytes())
    start = int(np.frombuffer(bytes(content), hdr_def.MultiRaidFileHeader, count=1)[0]["entry"][0]["off_"])
    header_length = int.from_bytes(content[start : start + 4], "little")
    readout = mdh_def.Scan_header.from_buffer(content, start + header_length)
    mdh_def.set_flag(readout, "ACQEND", True)
    mdh_def.set_flag(readout, "SYNCDATA", True)
    readout.FlagsAndDMALength = 0
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"readout at byte {start + header_length} has no length"):
        read_twix(path)


def test_a_real_phantom_becomes_an_image_without_shift_ghost_or_wrap(shared_data: Path, tmp_path: Path) -> None:
    """One slice of the ACR phantom lying on the table: its air gap is on top, that is in front."""
    write_twix(tmp_path / "raw.h5", read_twix(shared_data / "twix_gre_phantom" / "gre.dat"))
    raw = read_raw(tmp_path / "raw.h5")
    assert raw.header.grid.shape == (160, 160, 1)
    assert any("one 2-D slice" in sentence for sentence in raw.header.missing)
    image = reconstruct(raw, "sense").images[0, :, :, 0].abs().numpy()
    disc = image > 0.2 * image.max()
    columns = np.flatnonzero(disc.any(axis=1) & (disc.sum(axis=1) > 10))
    assert abs(columns.mean() - 80) < 2  # as wide as the field of view leaves room for, in its middle
    rotation_ras = np.asarray(raw.header.grid.rotation)
    assert rotation_ras[1, 1] > 0.99  # the second axis runs to the front
    rows = np.flatnonzero(disc[80].copy())
    flat_top = [np.flatnonzero(disc[x])[-1] for x in (50, 110)]
    assert max(flat_top) < 150 and rows.min() < 10  # cut off by air in front, whole behind
    corners = np.concatenate([image[:12, :12].ravel(), image[-12:, :12].ravel()])
    assert corners.mean() < 0.08 * image[disc].mean()  # noise of a body coil, no ghost


def test_the_centre_of_the_readout_is_the_peak(shared_data: Path) -> None:
    scan = read_twix(shared_data / "twix_gre_phantom" / "gre.dat")
    with scan.path.open("rb") as file:
        line = scan.blocks[80]
        line.fid = file
        profile = np.abs(line.data).sum(axis=0)
    assert profile.argmax() == scan.heads["center_sample"][80] == 160
