"""The virtual scanner: what comes out is the physics that went in, measured against independent computations."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from standins import AIR_PPM, LABEL_OF, Sphere, ball_head

from dlqsm.acquisition import placement, virtual_scan
from dlqsm.acquisition.coils import helmet, sensitivity_map
from dlqsm.acquisition.conditions import Conditions, draw_conditions, draw_lying, parse_arm
from dlqsm.acquisition.head import Participant, Pose, make_head
from dlqsm.acquisition.protocols import Protocol
from dlqsm.acquisition.resampling import crop_matrices, fraction_of_voxels, resample
from dlqsm.acquisition.sampling import full
from dlqsm.acquisition.tissue import TISSUE_NUMBERS
from dlqsm.acquisition.virtual_scan import acquire, encode, scan_clean, scan_tissue
from dlqsm.core.checks import InputError
from dlqsm.core.fourier import crop_kspace, fftc, ifftc
from dlqsm.core.scan import Grid
from dlqsm.io.anatomy import load_anatomy
from dlqsm.reconstruction.reconstruct import reconstruct

PUTAMEN = LABEL_OF[("Pu", "left")]
SPHERE = Sphere((15.0, 10.0, 5.0), 12.0, 0.2, PUTAMEN)
SINUS = Sphere((0.0, 60.0, -62.0), 14.0, AIR_PPM)
HEAD = ball_head(SPHERE, SINUS, scalp_mm=25.0)
PROTOCOL = Protocol(
    "test", (60, 68, 36), (3.0, 3.0, 4.0), (2, 2, 3), 4, echo_times_s=(3e-3, 6e-3, 9e-3), snr=math.inf, slab_edge=0.05
)
STILL = PROTOCOL.without_motion()


@pytest.fixture(autouse=True, scope="module")
def small_surroundings():
    """A wide grid that just holds this head, which has no neck."""
    patch = pytest.MonkeyPatch()
    patch.setattr(placement, "WIDE_EXTENT_MM", 250.0)
    yield
    patch.undo()


@functools.cache
def scanned(protocol=STILL, arm="FULL", seeds=(1, 2), pose=None):
    return scan_tissue(HEAD, protocol, arm, seeds, pose=pose)


def coil_images(scan):
    """Coil images ``(echo, coil, x, y, z)`` of a fully sampled scan."""
    header = scan.raw.header
    kspace = np.zeros((header.n_echoes, header.n_coils, *header.grid.shape), dtype=np.complex64)
    kspace[:, :, :, header.lines[:, 0], header.lines[:, 1]] = scan.raw.samples.transpose(1, 2, 3, 0)
    return ifftc(torch.from_numpy(kspace), (-3, -2, -1))


def true_sensitivities(scan):
    coils = helmet(scan.raw.header.n_coils, np.random.default_rng(1))
    grid = scan.raw.header.grid
    return coils, torch.stack([sensitivity_map(coils, index, grid) for index in range(coils.n_coils)])


def test_header_describes_the_data():
    scan = scanned(arm="DL3")
    header, samples = scan.raw.header, scan.raw.samples
    assert samples.shape == (round(68 * 36 / 3), 3, 4, 60)
    assert samples.dtype == np.complex64
    assert header.acceleration == pytest.approx(3, abs=0.01)
    assert header.calibration.sum() > 5
    assert header.scan.echo_times_s == PROTOCOL.echo_times_s
    assert header.grid == scan.truth.grid == PROTOCOL.grid
    assert (header.repetition_time_s, header.flip_angle_deg, header.field_strength_t) == (30.2e-3, 15.0, 3.0)


def test_phase_between_echoes_is_the_true_field():
    scan = scanned(dataclasses.replace(STILL, shim_sd_ppm=0.1))
    images, truth = coil_images(scan), scan.truth
    inner = erode(truth.mask, 3)
    gathered = (images[0].conj() * images[1]).sum(dim=0).angle()[inner]
    expected = 2 * math.pi * 3e-3 * truth.total_field_hz[inner]
    difference_hz = torch.angle(torch.exp(1j * (gathered - expected))) / (2 * math.pi * 3e-3)
    assert float(truth.total_field_hz[inner].std()) > 5
    assert float(difference_hz.std()) < 0.4
    assert float(difference_hz.mean().abs()) < 0.1


def test_magnitude_decays_with_r2star():
    images = coil_images(scanned())
    inner = erode(scanned().truth.mask, 3)
    combined = (images.abs() ** 2).sum(dim=1).sqrt()
    rate = torch.log(combined[0] / combined[1])[inner] / 3e-3
    assert float(rate.median()) == pytest.approx(20.0, abs=0.6)


def test_fully_sampled_data_are_image_times_coil():
    scan = scanned()
    _, sensitivities = true_sensitivities(scan)
    images = coil_images(scan)[0]
    inner = erode(scan.truth.mask, 3)
    plain = (images * sensitivities.conj()).sum(dim=0) / (sensitivities.abs() ** 2).sum(dim=0)
    left = (images - plain * sensitivities)[:, inner]
    # Not zero: the crop comes after the coils, so that edges ring with the sensitivity of their own place.
    assert float((left.abs() ** 2).mean().sqrt() / images[:, inner].abs().mean()) < 1e-2


def test_coils_on_the_intermediate_grid_equal_coils_on_the_fine_grid():
    fine = STILL.fine_grid()
    maps = HEAD(fine, Pose())
    signal = (maps.proton_density * torch.exp(0.02j * torch.arange(fine.shape[1])[:, None])).to(torch.complex64)
    signal *= torch.sin(math.pi * (torch.arange(fine.shape[2]) + 0.5) / fine.shape[2])
    coils = helmet(4, np.random.default_rng(1))
    sampling = full(STILL.shape[1:])
    image = resample(signal, crop_matrices(fine.shape, virtual_scan._coil_shape(STILL)))
    samples = encode([image], coils, sampling, STILL)[:, 0]
    scale = math.sqrt(np.prod(STILL.shape) / fine.n_voxels)
    for coil in range(4):
        direct = crop_kspace(fftc(signal * sensitivity_map(coils, coil, fine), (0, 1, 2)), STILL.shape) * scale
        lines = direct[:, sampling.lines[:, 0], sampling.lines[:, 1]].T.numpy()
        assert np.abs(samples[:, coil] - lines).max() < 5e-4 * np.abs(lines).max()


def test_local_field_of_a_sphere_is_analytic():
    truth = scanned().truth
    affine = torch.from_numpy(truth.grid.affine)
    index = torch.stack(torch.meshgrid(*(torch.arange(n).double() for n in truth.grid.shape), indexing="ij"), dim=-1)
    offset = index @ affine[:3, :3].T + affine[:3, 3] - torch.tensor(SPHERE.centre_mm).double()
    r = torch.linalg.vector_norm(offset, dim=-1)
    # The moment of the voxelised sphere, which the crop keeps: 4 pi a^3 chi / 3 for a perfect one.
    moment = float(truth.chi_ppm.sum()) * truth.grid.voxel_volume_mm3
    assert moment == pytest.approx(4 * math.pi / 3 * SPHERE.radius_mm**3 * SPHERE.chi_ppm, rel=0.03)
    dipole = moment / (4 * math.pi * r**3) * (3 * (offset[..., 2] / r) ** 2 - 1) * 127.7324
    where = (r > 22) & (r < 40) & truth.mask
    slope = float((truth.local_field_hz[where] * dipole[where]).sum() / (dipole[where] ** 2).sum())
    assert slope == pytest.approx(1.0, abs=0.02)
    # What is left is the ringing of the crop at the sphere's edge.
    assert float((truth.local_field_hz[where] - dipole[where]).std() / dipole[where].std()) < 0.12


def test_background_is_harmonic_and_shimmed_inside_the_brain():
    truth = scanned().truth
    background = truth.total_field_hz - truth.local_field_hz
    inner = erode(truth.mask, 2)
    assert float(background[truth.mask].mean().abs()) < 0.5
    assert float((background[truth.mask].abs() < 127.7).float().mean()) > 0.98
    curvature = sum(
        (background.roll(1, a) + background.roll(-1, a) - 2 * background)[inner] / truth.grid.voxel_size_mm[a] ** 2
        for a in range(3)
    )
    # By the mean-value property a harmonic field equals its mean over a sphere: here within 0.05 Hz, 0.4 ppb.
    assert float(curvature.abs().mean()) * 3.0**2 / 6 < 0.05
    assert float(background[truth.mask].std()) > 2


def test_labels_fill_at_least_half_of_their_voxels():
    truth = scanned().truth
    assert truth.labels.unique().tolist() == [0, PUTAMEN]
    volume = int((truth.labels == PUTAMEN).sum()) * truth.grid.voxel_volume_mm3
    assert volume == pytest.approx(4 / 3 * math.pi * 12**3, rel=0.1)
    inside = truth.chi_ppm[truth.labels == PUTAMEN]
    assert float(inside.mean()) == pytest.approx(0.2 * 0.9, rel=0.1)
    outside = truth.chi_ppm[erode(truth.mask, 1) & (truth.labels == 0)]
    assert abs(float(outside.mean())) < 2e-3


def test_noise_is_white_correlated_and_of_the_requested_level():
    noisy = dataclasses.replace(STILL, snr=20.0)
    assert scanned(noisy).raw.header.noise.shape[0] == 4
    scan, clean = scanned(noisy), scanned(STILL)
    coils, _ = true_sensitivities(scan)
    sd = scan.truth.conditions["noise_sd"]
    noise = (scan.raw.samples - clean.raw.samples).transpose(2, 0, 1, 3).reshape(4, -1)
    measured = noise @ noise.conj().T / (2 * noise.shape[1] * sd**2)
    np.testing.assert_allclose(measured, coils.covariance, atol=6 / math.sqrt(2 * noise.shape[1]))
    from_scan = scan.raw.header.noise @ scan.raw.header.noise.conj().T / (2 * scan.raw.header.noise.shape[1] * sd**2)
    np.testing.assert_allclose(from_scan, coils.covariance, atol=0.04)
    by_echo = scan.raw.samples[:, 0] - clean.raw.samples[:, 0], scan.raw.samples[:, 1] - clean.raw.samples[:, 1]
    assert abs(np.vdot(by_echo[0], by_echo[1])) / np.vdot(by_echo[0], by_echo[0]).real < 0.02


def test_snr_of_the_combined_image_is_the_protocols():
    noisy = dataclasses.replace(STILL, snr=20.0)
    scan, clean = scanned(noisy), scanned(STILL)
    coils, sensitivities = true_sensitivities(scan)
    inverse = torch.from_numpy(np.linalg.inv(coils.covariance)).to(torch.complex64)
    weights = torch.einsum("ab,bxyz->axyz", inverse, sensitivities)
    normal = (weights.conj() * sensitivities).sum(dim=0).real

    def combined(images):
        return (weights.conj() * images[0]).sum(dim=0) / normal

    image, noise = combined(coil_images(clean)), combined(coil_images(scan) - coil_images(clean))
    tissue = HEAD(STILL.fine_grid(), Pose()).tissue_labels == TISSUE_NUMBERS["WM"]
    fractions = fraction_of_voxels(tissue, crop_matrices(tissue.shape, STILL.shape))
    white = scan.truth.mask & (fractions >= 0.9)
    # The noise SD differs from voxel to voxel by the known gain; scaled by it, all voxels measure one number.
    unit_sd = float((noise * normal.sqrt())[white].real.std())
    snr = float((image.abs() * normal.sqrt())[white].mean()) / unit_sd
    assert snr == pytest.approx(20.0, rel=0.03)


def test_drift_turns_each_line_by_its_time_and_echo():
    drifting = dataclasses.replace(STILL, drift_ppm=(0.04, 0.04))
    scan, still = scanned(drifting, "PI2"), scanned(STILL, "PI2")
    rate = scan.truth.conditions["drift_hz_per_s"]
    assert abs(rate) == pytest.approx(0.04 * 127.7324 / 420, rel=1e-4)
    time_s = np.arange(len(scan.raw.samples)) * 30.2e-3
    for echo, te in enumerate(PROTOCOL.echo_times_s):
        turned = still.raw.samples[:, echo] * np.exp(2j * np.pi * rate * time_s * te)[:, None, None]
        np.testing.assert_allclose(scan.raw.samples[:, echo], turned, atol=1e-5 * np.abs(turned).max())


def test_a_clean_scan_has_the_samples_of_a_scan_without_noise_and_states_the_noise_it_leaves_out():
    coils = helmet(4, np.random.default_rng(1))
    draws, _, _, phase = np.random.default_rng([1, 2, *b"FULL"]).spawn(4)
    draw_conditions(STILL, parse_arm("FULL"), draws, None)
    drifting = Conditions(Pose(), 0.03)
    noisy = dataclasses.replace(STILL, snr=20.0)
    clean = scan_clean(HEAD, noisy, drifting, full(STILL.shape[1:]), coils, (draws, phase))
    np.testing.assert_array_equal(clean.samples, scanned().raw.samples)
    assert clean.noise_sd == pytest.approx(scanned(dataclasses.replace(STILL, snr=20.0)).truth.conditions["noise_sd"])
    noise = clean.noise(50_000, np.random.default_rng(2))
    measured = noise @ noise.conj().T / (2 * noise.shape[1] * clean.noise_sd**2)
    np.testing.assert_allclose(measured, coils.covariance, atol=0.02)
    header = clean.header(noise)
    assert header.noise is noise
    assert header.sampling_mask.all() and header.acceleration == 1.0
    assert header.scan == STILL.scan
    assert (clean.truth.mask == scanned().truth.mask).all()


def test_pose_moves_head_and_field():
    turned = scanned(pose=Pose((0.0, 6.0, 0.0), (0.0, 9.0, 0.0)))
    still = scanned()
    assert turned.truth.conditions["rotation_deg"] == (0.0, 6.0, 0.0)

    def centre(mask):
        return torch.nonzero(mask).double().mean(dim=0)

    moved = centre(turned.truth.mask) - centre(still.truth.mask)
    assert float(moved[1]) == pytest.approx(3.0, abs=0.05)  # 9 mm of 3 mm voxels
    shifted = still.truth.total_field_hz.roll(3, 1)
    inner = erode(turned.truth.mask, 3)
    assert float((turned.truth.total_field_hz - shifted)[inner].std()) > 0.3
    assert np.abs(turned.raw.samples - still.raw.samples).max() > 0.1 * np.abs(still.raw.samples).max()


def test_time_matched_arms_acquire_the_lines_of_the_published_time():
    matched = scan_tissue(HEAD, STILL, "DL5", (1, 2), af_mode="time-matched")
    n_y, n_z = STILL.shape[1:]
    assert len(matched.raw.header.lines) == round(n_y * n_z * 131.0 / (280 * 96 * 30.2e-3))
    with pytest.raises(InputError, match="af_mode"):
        scan_tissue(HEAD, STILL, "DL5", (1, 2), af_mode="real")


def test_central_arms_acquire_more_of_a_coarse_matrix():
    central, nominal = (scan_tissue(HEAD, STILL, "DL5", (1, 2), af_mode=mode) for mode in ("central", "nominal"))
    assert len(central.raw.header.lines) > 1.3 * len(nominal.raw.header.lines)
    assert central.truth.conditions["acceleration"] < 0.75 * nominal.truth.conditions["acceleration"]


def test_arms_are_separate_scans_and_seeds_repeat_them():
    noisy = dataclasses.replace(PROTOCOL, snr=20.0)
    first, again = scanned(noisy, "DL4"), scan_tissue(HEAD, noisy, "DL4", (1, 2))
    np.testing.assert_array_equal(first.raw.samples, again.raw.samples)
    np.testing.assert_array_equal(first.raw.header.noise, again.raw.header.noise)
    assert first.truth.conditions == again.truth.conditions
    pi, repeated = scanned(noisy, "PI2"), scanned(noisy, "PI2rep")
    np.testing.assert_array_equal(pi.raw.header.lines, repeated.raw.header.lines)
    lying = draw_lying(noisy, np.random.default_rng([1, *b"lying"]))
    assert pi.truth.conditions["rotation_deg"] == lying.rotation_deg != repeated.truth.conditions["rotation_deg"]
    assert scanned(noisy, "FULL", seeds=(1, 9)).truth.conditions["translation_mm"] == lying.translation_mm
    assert pi.truth.conditions["shim_error_ppm"] != repeated.truth.conditions["shim_error_ppm"]
    assert np.abs(pi.raw.header.noise - repeated.raw.header.noise).max() > 0
    other = scanned(noisy, "DL4", seeds=(1, 3))
    assert (other.raw.header.sampling_mask != first.raw.header.sampling_mask).any()


def test_tilted_slab_keeps_the_sphere_and_its_sign():
    tilted = scanned(dataclasses.replace(STILL, tilt_deg=(20.0, 0.0, 0.0)))
    assert tilted.raw.header.scan.b0_direction[1] == pytest.approx(math.sin(math.radians(20)))
    inside = tilted.truth.chi_ppm[tilted.truth.labels == PUTAMEN]
    assert float(inside.mean()) == pytest.approx(0.18, rel=0.15)
    affine = tilted.truth.grid.affine
    centre = np.argwhere(tilted.truth.labels.numpy() == PUTAMEN).mean(axis=0)
    np.testing.assert_allclose(affine[:3, :3] @ centre + affine[:3, 3], SPHERE.centre_mm, atol=1.5)


def test_odd_matrices_work():
    odd = dataclasses.replace(STILL, shape=(59, 67, 35))
    scan = scanned(odd)
    inner = erode(scan.truth.mask, 3)
    images = coil_images(scan)
    gathered = (images[0].conj() * images[1]).sum(dim=0).angle()[inner]
    difference = torch.angle(torch.exp(1j * (gathered - 2 * math.pi * 3e-3 * scan.truth.total_field_hz[inner])))
    assert float(difference.std()) / (2 * math.pi * 3e-3) < 0.45


def test_noise_needs_white_matter():
    def no_tissue(grid: Grid, pose: Pose):
        maps = ball_head()(grid, pose)
        return dataclasses.replace(maps, tissue_labels=torch.zeros_like(maps.tissue_labels))

    with pytest.raises(InputError, match="no white matter"):
        scan_tissue(no_tissue, dataclasses.replace(STILL, snr=50.0), "FULL", (0, 0))
    with pytest.raises(InputError, match="unknown arm 'XX'"):
        scan_tissue(no_tissue, STILL, "XX", (0, 0))


def test_a_participant_is_scanned_with_a_field_as_in_life(monkeypatch):
    monkeypatch.setattr(placement, "WIDE_EXTENT_MM", 400.0)
    monkeypatch.setattr(placement, "WIDE_VOXEL_MM", 3.2)
    head = make_head(load_anatomy(), Participant("sub-001", 44.0, "female", 3))
    protocol = Protocol("test", (68, 76, 48), (3.0, 3.0, 3.0), (2, 2, 2), 4, echo_times_s=(3e-3, 6e-3), snr=60.0)
    scan = acquire(head, protocol, "DL3", 5)
    truth, hz_per_ppm = scan.truth, protocol.scan.hz_per_ppm
    assert np.isfinite(scan.raw.samples).all()
    assert scan.raw.header.acceleration == pytest.approx(3.0, abs=0.01)
    assert 0 < np.linalg.norm(truth.conditions["rotation_deg"]) < 6
    brain_litres = int(truth.mask.sum()) * truth.grid.voxel_volume_mm3 / 1e6
    assert 1.0 < brain_litres < 1.9
    field_ppm = truth.total_field_hz[truth.mask] / hz_per_ppm
    assert float((field_ppm.abs() < 1).float().mean()) > 0.98
    assert 1.0 < float(field_ppm.max()) < 6.0
    local_ppb = truth.local_field_hz[erode(truth.mask, 2)] / hz_per_ppm * 1e3
    assert 4 < float(local_ppb.std()) < 20
    for number in range(1, 15):
        assert float(truth.chi_ppm[truth.labels == number].mean()) > 0.0
    assert int((truth.labels == PUTAMEN).sum()) * truth.grid.voxel_volume_mm3 > 2000


def erode(mask, n):
    padded = (~mask).float()[None, None]
    return torch.nn.functional.max_pool3d(padded, 2 * n + 1, 1, n)[0, 0] == 0


def test_a_scan_without_noise_has_no_noise_scan_and_is_reconstructed():
    raw = scanned().raw
    assert raw.header.noise is None
    images = reconstruct(raw, "zero").images
    brain = scanned().truth.mask
    assert images.isfinite().all() and float(images[0].abs()[brain].mean()) > 10 * float(
        images[0].abs()[~brain].median()
    )
