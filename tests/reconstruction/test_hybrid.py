import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from coil_phantom import SHAPE, every_second_row, make_phantom

from dlqsm.core.checks import InputError
from dlqsm.core.fourier import ifftc
from dlqsm.reconstruction.hybrid import aligned, calibrate, noise_covariance, to_hybrid, whitening_matrix


def random_covariance(n: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    factor = rng.standard_normal((n, 3 * n)) + 1j * rng.standard_normal((n, 3 * n))
    return factor @ factor.conj().T / n


def test_whitening_makes_the_covariance_one():
    covariance = random_covariance(6)
    matrix = whitening_matrix(covariance)
    assert np.allclose(matrix @ covariance @ matrix.conj().T, np.eye(6), atol=1e-12)


def test_noise_covariance_is_that_of_one_component():
    rng = np.random.default_rng(0)
    covariance = random_covariance(3)
    white = rng.standard_normal((3, 200_000)) + 1j * rng.standard_normal((3, 200_000))
    estimate = noise_covariance((np.linalg.cholesky(covariance) @ white).astype(np.complex64))
    assert np.allclose(estimate, covariance, atol=0.02 * np.abs(covariance).max())


def test_a_dead_coil_is_an_input_error():
    with pytest.raises(InputError, match="positive definite"):
        whitening_matrix(np.diag([1.0, 0.0]).astype(complex))


def test_coils_that_hold_noise_alone_are_counted():
    raw = make_phantom(n_coils=4, noise_sd=1e-3).raw
    assert calibrate(raw).n_silent_coils == 0
    rng = np.random.default_rng(4)
    silent = raw.samples.copy()
    for coil in (0, 2):
        drawn = rng.standard_normal((2, *silent[:, :, coil].shape))
        silent[:, :, coil] = 1e-3 * (drawn[0] + 1j * drawn[1])
    assert calibrate(type(raw)(raw.header, silent)).n_silent_coils == 2


def test_hybrid_noise_is_white_with_unit_deviation():
    phantom = make_phantom(n_coils=5, noise_sd=0.05, covariance=random_covariance(5))
    raw = phantom.raw
    rng = np.random.default_rng(9)
    root = 0.05 * np.linalg.cholesky(random_covariance(5))
    white = rng.standard_normal((5, raw.samples.size // 5)) + 1j * rng.standard_normal((5, raw.samples.size // 5))
    pure = np.moveaxis((root @ white).reshape(5, *raw.samples.shape[:2], -1), 0, 2).astype(np.complex64)
    hybrid = to_hybrid(type(raw)(raw.header, pure), calibrate(raw))
    samples = np.moveaxis(hybrid.samples, 2, 0).reshape(5, -1)
    # The noise scan has 20000 samples: its covariance is known to about 1 %.
    assert np.allclose(noise_covariance(samples), np.eye(5), atol=0.04)


def test_all_coils_keep_all_energy_and_fewer_keep_most():
    raw = make_phantom(n_coils=6, noise_sd=1e-4).raw
    whole, some, one = (calibrate(raw, virtual_coils=n) for n in (6, 4, 1))
    assert whole.energy_kept == pytest.approx(1.0, abs=1e-12)
    assert 0.9 < some.energy_kept < whole.energy_kept
    assert one.energy_kept < some.energy_kept
    assert some.matrix.shape == (4, 6)
    energy = [float((np.abs(to_hybrid(raw, c).samples) ** 2).sum()) for c in (whole, some)]
    assert energy[1] / energy[0] == pytest.approx(some.energy_kept, abs=0.03)


def test_automatic_compression_keeps_twelve_coils():
    raw = make_phantom(n_coils=14, noise_sd=1e-3, shape=(4, 20, 16)).raw
    assert calibrate(raw).matrix.shape == (12, 14)


@pytest.mark.parametrize("n", [0, 7])
def test_virtual_coils_beyond_the_coils_are_refused(n: int):
    with pytest.raises(InputError, match=f"1 to 6.*got {n}"):
        calibrate(make_phantom().raw, virtual_coils=n)


@pytest.mark.parametrize("oversampling", [1, 2])
def test_hybrid_planes_are_the_coil_images_without_oversampling(oversampling: int):
    phantom = make_phantom(noise_sd=1e-6, oversampling=oversampling)
    calibration = calibrate(phantom.raw)
    images = ifftc(to_hybrid(phantom.raw, calibration).slab(0, SHAPE[0]), (-2, -1))
    back = torch.from_numpy(np.linalg.inv(calibration.matrix).astype(np.complex64))
    coils = torch.einsum("cv,evxyz->ecxyz", back, images)
    assert torch.allclose(coils, phantom.images[:, None] * phantom.maps, atol=2e-4)


def test_a_slab_is_zero_where_nothing_was_sampled_and_a_file_gives_the_same(tmp_path):
    raw = make_phantom(every_second_row()).raw
    calibration = calibrate(raw)
    memory = to_hybrid(raw, calibration)
    mapped = to_hybrid(raw, calibration, scratch_folder=tmp_path, memory_bytes=1000, block_bytes=100_000)
    assert isinstance(mapped.samples, np.memmap) and not list(tmp_path.iterdir())
    slab = mapped.slab(3, 7)
    assert torch.equal(slab, memory.slab(0, SHAPE[0])[:, :, 3:7])
    assert torch.equal(slab[1:2], memory.slab(3, 7, slice(1, 2)))
    assert torch.equal((slab != 0).any(dim=0).any(dim=0).any(dim=0), memory.sampling_mask)
    assert np.array_equal(memory.sampling_mask.numpy(), raw.header.sampling_mask)


def test_a_disk_without_room_for_the_scratch_file_is_told_before_the_work(tmp_path, monkeypatch):
    """A map of a file is written through memory, where a full disk would end the process with a bus error."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    raw = make_phantom(every_second_row()).raw
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"scratch file of .* GB cannot be made \(No space left.*set TMPDIR"):
        to_hybrid(raw, calibrate(raw), scratch_folder=tmp_path, memory_bytes=1000)
    assert not list(tmp_path.iterdir())


def test_without_a_noise_scan_the_edge_of_kspace_stands_in():
    phantom = make_phantom(n_coils=4, noise_sd=0.2, noise_scan=False, shape=(32, 40, 28))
    calibration = calibrate(phantom.raw)
    assert "no noise scan" in calibration.noise_source
    level = np.sqrt(np.linalg.eigvalsh(np.linalg.inv(calibration.matrix.conj().T @ calibration.matrix)))
    assert np.allclose(level, 0.2, rtol=0.1)


@pytest.mark.parametrize("noise_scan", [True, False])
@pytest.mark.parametrize("missing", [0.125, 0.25])
def test_a_partial_echo_leaves_noise_of_one(noise_scan, missing):
    """Readout samples that were not acquired are zero: without noise, they are no part of its level."""
    raw = make_phantom(n_coils=4, noise_sd=0.2, noise_scan=noise_scan, shape=(32, 40, 28)).raw
    n_missing = int(missing * raw.samples.shape[-1])
    partial, pure = raw.samples.copy(), np.random.default_rng(1).standard_normal((2, *raw.samples.shape))
    noise = (0.2 * (pure[0] + 1j * pure[1])).astype(np.complex64)
    partial[..., :n_missing] = noise[..., :n_missing] = 0
    hybrid = to_hybrid(type(raw)(raw.header, noise), calibrate(type(raw)(raw.header, partial)))
    level = np.sqrt(np.diag(noise_covariance(np.moveaxis(hybrid.samples, 2, 0).reshape(4, -1))).real)
    assert np.allclose(level, 1.0, rtol=0.02 if noise_scan else 0.1)


@pytest.mark.parametrize("offset", [8, 16, 24, 40])
def test_noise_covariance_does_not_depend_on_where_memory_starts(offset):
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal((7, 1003)) + 1j * rng.standard_normal((7, 1003))).astype(np.complex64)
    elsewhere = np.empty(noise.nbytes + 64, np.uint8)[offset : offset + noise.nbytes].view(np.complex64)
    elsewhere = elsewhere.reshape(noise.shape)
    elsewhere[:] = noise
    np.testing.assert_array_equal(noise_covariance(elsewhere), noise_covariance(noise))
    assert aligned(elsewhere).data_ptr() % 64 == 0
    np.testing.assert_array_equal(aligned(elsewhere[:, ::2]).numpy(), noise[:, ::2])


def test_virtual_coils_do_not_depend_on_the_threads_of_numpy():
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from coil_phantom import make_phantom\n"
        "from dlqsm.reconstruction.hybrid import calibrate\n"
        "print(calibrate(make_phantom(n_coils=4, shape=(52, 52, 36)).raw).kspace.tobytes().hex())"
    )
    sums = {
        subprocess.run(
            [sys.executable, "-c", script, str(Path(__file__).parent)],
            env={**os.environ, "OPENBLAS_NUM_THREADS": n_threads},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for n_threads in ("1", "2")
    }
    assert len(sums) == 1
