import numpy as np
import pytest
import torch
from coil_phantom import SHAPE, every_second_row, make_phantom
from networks import options_with_weights

from dlqsm.core.checks import InputError
from dlqsm.core.lags import lag_sums
from dlqsm.core.raw import MemoryRaw, undersample
from dlqsm.reconstruction import HALO_PLANES, LINEAR, RECONSTRUCTIONS
from dlqsm.reconstruction.hybrid import calibrate, to_hybrid
from dlqsm.reconstruction.linear import sense
from dlqsm.reconstruction.noise import local_noise_sd, reliability, zero_filled_noise
from dlqsm.reconstruction.reconstruct import reconstruct
from dlqsm.reconstruction.sensitivity import espirit


@pytest.fixture(scope="module")
def full():
    return make_phantom()


@pytest.fixture(scope="module")
def halved():
    return make_phantom(every_second_row())


def field_error_hz(lags: torch.Tensor, phantom) -> torch.Tensor:
    core = phantom.mask & (phantom.images[0].abs() > 0.3)
    spacing = 0.004
    truth = torch.polar(torch.ones_like(phantom.field_hz), 2 * np.pi * spacing * phantom.field_hz)
    return (lags[0] * truth.conj()).angle()[core] / (2 * np.pi * spacing)


@pytest.mark.parametrize("method", list(RECONSTRUCTIONS))
def test_fully_sampled_data_give_the_true_field(full, method, tmp_path):
    result = reconstruct(full.raw, method, options_with_weights(method, tmp_path))
    assert float(field_error_hz(result.lag_sums.lags, full).square().mean().sqrt()) < 0.6
    assert result.images.dtype == torch.complex64 and result.images.shape == (3, *SHAPE)


def test_sense_unfolds_what_zero_filling_leaves_folded():
    halved = make_phantom(every_second_row(), noise_sd=0.002)
    folded = field_error_hz(reconstruct(halved.raw, "zero").lag_sums.lags, halved).square().mean().sqrt()
    unfolded = field_error_hz(reconstruct(halved.raw, "sense").lag_sums.lags, halved).square().mean().sqrt()
    assert float(unfolded) < 0.7 * float(folded)


def test_zero_filled_lag_sums_are_those_of_the_coil_images(halved):
    result = reconstruct(halved.raw, "zero", uncombined=True)
    direct = lag_sums(result.uncombined, None)
    assert torch.allclose(result.lag_sums.lags, direct.lags, rtol=1e-5, atol=1e-2)
    assert torch.allclose(result.lag_sums.power, direct.power, rtol=1e-5, atol=1e-2)
    assert result.lag_sums.n_channels == 6 == result.uncombined.shape[1]


def test_sense_lag_sums_are_those_of_the_combined_images(halved):
    result = reconstruct(halved.raw, "sense", uncombined=True)
    direct = lag_sums(result.images[:, None], None)
    assert torch.allclose(result.lag_sums.lags, direct.lags, rtol=1e-5, atol=1e-2)
    assert result.lag_sums.n_channels == 1 and result.uncombined is None


@pytest.mark.parametrize("method", LINEAR)
def test_the_size_of_the_slabs_does_not_matter(halved, method, tmp_path):
    whole, planes = (
        reconstruct(halved.raw, method, slab_bytes=size, scratch_folder=tmp_path, options=None) for size in (2**30, 1)
    )
    scale = float(whole.images.abs().max())
    assert torch.allclose(whole.images, planes.images, atol=1e-5 * scale)
    assert torch.allclose(whole.lag_sums.lags, planes.lag_sums.lags, atol=1e-5 * scale**2)
    assert torch.allclose(whole.noise_sd, planes.noise_sd, rtol=1e-3, atol=1e-5)


def test_the_phase_between_echoes_is_that_of_the_truth_and_the_common_phase_smooth(full):
    images = reconstruct(full.raw, "sense").images
    core = full.mask & (full.images[0].abs() > 0.3)
    between = (images[2] * images[0].conj()) / (full.images[2] * full.images[0].conj())
    assert float(between.angle()[core].abs().mean()) < 0.05
    offset = images[0] * full.images[0].conj()
    for axis in range(3):
        n = offset.shape[axis]
        both = core.narrow(axis, 0, n - 1) & core.narrow(axis, 1, n - 1)
        step = (offset.narrow(axis, 1, n - 1) * offset.narrow(axis, 0, n - 1).conj()).angle()
        assert float(step.abs()[both].max()) < 0.5


def noise_only(phantom, seed: int) -> MemoryRaw:
    rng = np.random.default_rng(seed)
    shape = phantom.raw.samples.shape
    noise = 0.01 * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    return MemoryRaw(phantom.raw.header, noise.astype(np.complex64))


@pytest.mark.parametrize("method", LINEAR)
def test_the_noise_map_is_that_of_many_repeats(halved, method):
    calibration = calibrate(halved.raw)
    maps = espirit(calibration.kspace, calibration.lines, SHAPE).slab(0, SHAPE[0])
    power = torch.zeros(SHAPE)
    n_repeats = 30
    for seed in range(n_repeats):
        hybrid = to_hybrid(noise_only(halved, seed), calibration)
        images = RECONSTRUCTIONS[method](hybrid.slab(0, SHAPE[0]), hybrid.sampling_mask, maps, 1.0)
        power += images.abs().square().mean(dim=(0, 1)) / (2 * n_repeats)
    stated = reconstruct(halved.raw, method).noise_sd
    ratio = (stated / power.sqrt())[halved.mask]
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.03)
    assert float((ratio - 1).square().mean().sqrt()) < 0.12


def test_the_size_of_the_slabs_hardly_matters_where_the_prior_joins_planes(halved, tmp_path):
    options = {"max_iterations": 8}
    whole, planes = (
        reconstruct(halved.raw, "cs", options, slab_bytes=size, scratch_folder=tmp_path) for size in (2**30, 2**21)
    )
    noise = float(whole.noise_sd[halved.mask].mean())
    assert noise > 0 and HALO_PLANES["cs"] == 8
    assert float((whole.images - planes.images)[:, halved.mask].abs().square().mean().sqrt()) < 0.5 * noise


@pytest.mark.parametrize("options", [{}, {"coils": "each"}, {"prior": "llr"}])
def test_the_noise_map_of_cs_is_that_of_repeats_of_the_scan(halved, options):
    """Many scans with noise of their own; the noise map of one of them."""
    calibration = calibrate(halved.raw)
    maps = espirit(calibration.kspace, calibration.lines, SHAPE).slab(0, SHAPE[0])
    options = {"max_iterations": 8, **options}
    hybrid = to_hybrid(halved.raw, calibration)
    sampled = hybrid.sampling_mask
    repeats = []
    for seed in range(8):
        random = torch.Generator().manual_seed(seed)
        samples = hybrid.slab(0, SHAPE[0])
        noise = 2**0.5 * torch.randn(samples.shape, dtype=samples.dtype, generator=random) * sampled
        result = RECONSTRUCTIONS["cs"](samples + noise, sampled, maps, 1.0, **options)
        repeats.append(result if result.shape[1] == 1 else (result * maps.conj()).sum(1, keepdim=True))
    spread = (torch.stack(repeats).var(0).mean((0, 1)) / 2).sqrt()
    stated = reconstruct(halved.raw, "cs", options).noise_sd
    ratio = (stated.square()[halved.mask].mean() / spread.square()[halved.mask].mean()).sqrt()
    assert 0.75 < float(ratio) < 1.3


def test_what_stands_for_the_error_is_the_same_everywhere():
    noise_sd, power = torch.tensor([[[1.0, 4.0, 0.0]]]), torch.tensor([[[3.0, 1.0, 0.0]]])
    expected = torch.full((1, 1, 3), ((3.0 * 1.0 + 1.0 * 16.0) / 4.0) ** 0.5)
    torch.testing.assert_close(reliability(noise_sd, power), expected)
    torch.testing.assert_close(reliability(7.0 * noise_sd, power), 7.0 * expected)
    assert torch.equal(reliability(noise_sd, torch.zeros_like(power)), noise_sd)


def test_lag_sums_have_the_noise_of_a_linear_method_and_what_stands_for_the_error_of_another(halved):
    linear, sparse = (reconstruct(halved.raw, method) for method in ("sense", "cs"))
    assert torch.equal(linear.lag_sums.noise_sd, linear.noise_sd)
    assert torch.equal(sparse.lag_sums.noise_sd, reliability(sparse.noise_sd, sparse.lag_sums.power[0]))


def test_the_noise_of_full_data_is_one(full):
    assert torch.equal(reconstruct(full.raw, "zero").noise_sd, torch.ones(SHAPE))
    # One replica smoothed over 343 voxels: known to a few per cent.
    noise = reconstruct(full.raw, "sense").noise_sd[full.mask]
    assert float(noise.mean()) == pytest.approx(1.0, abs=0.02)
    assert zero_filled_noise(torch.eye(4, dtype=torch.bool), 2.0) == pytest.approx(1.0)


def test_the_local_deviation_ignores_the_background(generator):
    noise = torch.randn((30, 30, 30), dtype=torch.complex64, generator=generator) * 3 * 2**0.5
    noise[:, :15] = 0
    sd = local_noise_sd(noise)
    assert float(sd[:, 15:].mean()) == pytest.approx(3.0, rel=0.02)
    assert not sd[:, :15].any()


def test_the_seed_changes_the_replica_and_nothing_else(halved):
    one, same, other = (reconstruct(halved.raw, "sense", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.noise_sd, same.noise_sd) and not torch.equal(one.noise_sd, other.noise_sd)
    assert torch.equal(one.images, other.images)


def test_options_and_virtual_coils_reach_the_method(halved):
    plain = reconstruct(halved.raw, "sense")
    changed = reconstruct(halved.raw, "sense", {"max_iterations": 2}, virtual_coils=4)
    assert not torch.allclose(plain.images, changed.images, atol=1e-2)
    assert changed.decisions["options"]["max_iterations"] == 2 and changed.decisions["n_virtual_coils"] == 4
    assert plain.decisions["acceleration"] == pytest.approx(halved.raw.header.acceleration)
    assert plain.decisions["sampling"] == "uniform" and plain.decisions["partial_fourier"] == "none"
    assert "noise scan of 20000 samples" in plain.decisions["whitening"]
    assert set(plain.decisions["seconds"]) == {"calibration", "sensitivities", "hybrid", "reconstruction"}


def test_progress_rises_to_one(halved):
    seen: list[float] = []
    reconstruct(halved.raw, "zero", progress=seen.append, slab_bytes=1)
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1.0) and len(seen) > SHAPE[0]


def test_retrospective_undersampling_is_the_same_as_scanning_less(full):
    mask = every_second_row()
    kept = undersample(full.raw, mask)
    hybrid = to_hybrid(kept, calibrate(full.raw))
    whole = to_hybrid(full.raw, calibrate(full.raw)).slab(0, SHAPE[0])
    assert torch.allclose(hybrid.slab(0, SHAPE[0]), whole * torch.from_numpy(mask), atol=1e-4)
    assert kept.header.acceleration == pytest.approx(mask.size / mask.sum())


def test_unknown_methods_and_options_are_refused(halved):
    with pytest.raises(InputError, match="unknown reconstruction method 'grappa'"):
        reconstruct(halved.raw, "grappa")
    with pytest.raises(InputError, match="has no option 'weight'"):
        reconstruct(halved.raw, "sense", {"weight": 1})


def test_the_table_follows_the_protocol(halved, tmp_path):
    calibration = calibrate(halved.raw)
    hybrid = to_hybrid(halved.raw, calibration)
    maps = espirit(calibration.kspace, calibration.lines, SHAPE).slab(0, 2)
    for name, method in RECONSTRUCTIONS.items():
        options = options_with_weights(name, tmp_path)
        result = method(hybrid.slab(0, 2), hybrid.sampling_mask, maps, 1.0, **options)
        assert result.shape[0] == 3 and result.shape[1] in (1, 6) and result.shape[2:] == (2, *SHAPE[1:])
    assert RECONSTRUCTIONS["sense"] is sense
