"""The cascade: what must hold for any weights, exactly; then that training it helps."""

import importlib
import itertools

import pytest
import torch
from coil_phantom import SHAPE, every_second_row, make_phantom
from networks import options_with_weights, random_network
from torch.nn import functional

from dlqsm.acquisition.sampling import poisson
from dlqsm.core.checks import InputError
from dlqsm.core.fourier import fftc, ifftc
from dlqsm.reconstruction import ECHO_BY_ECHO, halo_planes
from dlqsm.reconstruction.hybrid import calibrate, to_hybrid
from dlqsm.reconstruction.learned import NETWORKS, cascade, convolution
from dlqsm.reconstruction.learned.cascade import CascadeNetwork
from dlqsm.reconstruction.learned.consistency import draw_to_samples, share_of_samples, squared_snr
from dlqsm.reconstruction.learned.convolution import PeriodicConvolution, ResidualBlock
from dlqsm.reconstruction.reconstruct import reconstruct
from dlqsm.reconstruction.sensitivity import espirit
from dlqsm.reconstruction.slabs import plan_slabs

PLANE = (-2, -1)
SLAB = (2, 3, 15, 24, 18)
KINDS = {"planes": {"x_extents": (1, 1, 1)}, "mixed": {"x_extents": (1, 3, 1)}, "volumes": {"x_extents": (3, 3, 3)}}


@pytest.fixture
def mask() -> torch.Tensor:
    return torch.from_numpy(poisson(SLAB[3:], 3.0, 7).mask)


@pytest.fixture
def samples(mask, generator) -> torch.Tensor:
    """Low resolution signal of SNR 30 and noise."""
    rough = torch.zeros(SLAB, dtype=torch.complex64)
    rough[..., 9:15, 6:12] = torch.randn((*SLAB[:3], 6, 6), dtype=torch.complex64, generator=generator)
    noise = 2**0.5 * torch.randn(SLAB, dtype=torch.complex64, generator=generator)
    return (300 * rough + noise) * mask


def run(network, samples, mask, noise=1.0, **options) -> torch.Tensor:
    with torch.no_grad():
        return network(samples, mask, torch.empty(0), noise, **options)


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest, in units of the largest value."""
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize("kind", KINDS)
class TestAnyWeights:
    def test_full_data_return_the_linear_image(self, kind, samples):
        everything = torch.ones(SLAB[3:], dtype=torch.bool)
        result = run(random_network("cascade", **KINDS[kind]), samples, everything)
        assert difference(result, ifftc(samples, PLANE)) < 1e-5

    def test_measured_samples_are_returned_in_exact_mode_and_not_otherwise(self, kind, samples, mask):
        network = random_network("cascade", **KINDS[kind])
        soft, exact = (fftc(run(network, samples, mask, exact=exact), PLANE) for exact in (False, True))
        assert difference(exact * mask, samples) < 1e-5
        assert difference(soft * mask, samples) > 1e-3
        assert float(exact[..., ~mask].abs().max()) > 1.0
        trained_so = fftc(run(random_network("cascade", **KINDS[kind], exact=True), samples, mask), PLANE)
        assert torch.equal(trained_so, exact)

    def test_the_unit_does_not_matter(self, kind, samples, mask):
        network = random_network("cascade", **KINDS[kind])
        plain, scaled = run(network, samples, mask), run(network, 1e3 * samples, mask, noise=1e3)
        assert difference(scaled / 1e3, plain) < 1e-5
        assert difference(run(network, samples, mask, noise=10.0), plain) > 1e-3

    def test_each_coil_and_echo_is_reconstructed_by_itself(self, kind, samples, mask):
        network = random_network("cascade", **KINDS[kind])
        whole = run(network, samples, mask)
        assert difference(run(network, samples[1:, :2], mask), whole[1:, :2]) < 1e-5
        swapped = run(network, samples.flip(0, 1), mask)
        assert difference(swapped.flip(0, 1), whole) < 1e-5

    def test_the_halo_is_as_far_as_the_result_reaches(self, kind, samples, mask):
        network = random_network("cascade", **KINDS[kind])
        halo, kept = network.halo_planes, range(7, 8)
        whole = run(network, samples, mask)[:, :, kept.start : kept.stop]
        part = run(network, samples[:, :, kept.start - halo : kept.stop + halo], mask)
        assert difference(part[:, :, halo : halo + len(kept)], whole) < 1e-5
        if halo:
            narrow = run(network, samples[:, :, kept.start - halo + 1 : kept.stop + halo - 1], mask)
            assert difference(narrow[:, :, halo - 1 : halo - 1 + len(kept)], whole) > 1e-5

    def test_the_gradient_reaches_every_weight(self, kind, samples, mask):
        network = random_network("cascade", **KINDS[kind])
        network(samples, mask, torch.empty(0), 1.0).abs().square().sum().backward()
        still = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
        assert not still

    def test_an_untrained_network_leaves_the_zero_filled_image(self, kind, samples, mask):
        result = run(CascadeNetwork(features=4, **KINDS[kind]), samples, mask)
        assert difference(result, ifftc(samples, PLANE)) < 1e-5

    def test_threads_and_portions_do_not_matter(self, kind, samples, mask, monkeypatch):
        network = random_network("cascade", **KINDS[kind])
        whole, before = run(network, samples, mask), torch.get_num_threads()
        try:
            torch.set_num_threads(3 - min(before, 2))
            assert difference(run(network, samples, mask), whole) < 1e-5
        finally:
            torch.set_num_threads(before)
        with_gradient = network(samples, mask, torch.empty(0), 1.0).detach()
        assert difference(with_gradient, whole) < 1e-5
        # The module: the package names the function so.
        module = importlib.import_module("dlqsm.reconstruction.learned.cascade")
        monkeypatch.setattr(module, "_AT_ONCE_BYTES", {"cpu": 1})
        monkeypatch.setattr(convolution, "STACK_BYTES", 1)
        assert difference(run(network, samples, mask), whole) < 1e-5


def test_mixed_precision_is_for_convolutions_alone(samples, mask):
    network = random_network("cascade")
    full = run(network, samples, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, exact = run(network, samples, mask), run(network, samples, mask, exact=True)
        network(samples, mask, torch.empty(0), 1.0).abs().sum().backward()
    assert mixed.dtype == torch.complex64 and 1e-5 < difference(mixed, full) < 0.02
    assert difference(fftc(exact, PLANE) * mask, samples) < 1e-5
    assert all(value.grad.dtype == torch.float32 for value in network.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_gives_what_the_processor_gives(kind, samples, mask):
    network = random_network("cascade", **KINDS[kind])
    here = run(network, samples, mask)
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        there = run(network.to("cuda"), samples.to("cuda"), mask.to("cuda"))
    finally:
        torch.backends.cudnn.allow_tf32 = before
    assert difference(there.cpu(), here) < 1e-4


@pytest.mark.parametrize(("n_in", "n_out", "extent"), [(3, 5, 3), (5, 2, 1), (4, 4, 3)])
def test_one_convolution_of_neighbours_side_by_side_is_that_of_the_volume(n_in, n_out, extent, generator):
    layer = PeriodicConvolution(n_in, n_out, extent)
    values = torch.randn((2, 6, 9, 7, n_in), generator=generator, requires_grad=True)
    wrapped = functional.pad(values.permute(0, 4, 1, 2, 3), (1, 1, 1, 1, 0, 0), mode="circular")
    expected = functional.conv3d(wrapped, layer.weight, layer.bias, padding=(extent // 2, 0, 0)).permute(0, 2, 3, 4, 1)
    assert torch.allclose(layer(values), expected, atol=1e-5)
    assert torch.allclose(layer._as_volumes(values), expected, atol=1e-5)
    weight = torch.randn(expected.shape, generator=generator)
    of = (values, layer.weight, layer.bias)
    ours, theirs = (torch.autograd.grad((result * weight).sum(), of) for result in (layer(values), expected))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shift", [(1, 0), (-3, 5), (12, 9)])
def test_a_block_moves_with_the_image_across_the_border(shift, generator):
    block = random_network("cascade").blocks[0]
    values = torch.randn((1, 4, 20, 18, 3), generator=generator)
    with torch.no_grad():
        moved = block(values.roll(shift, (2, 3)))
        assert difference(moved, block(values).roll(shift, (2, 3))) < 1e-5
        along_x = block(values.roll(1, 1))
        assert difference(along_x, block(values).roll(1, 1)) > 1e-3


def test_the_block_starts_at_zero_and_has_the_paper_s_depth():
    network = CascadeNetwork()
    assert len(network.blocks) == 5 and {len(block.layers) for block in network.blocks} == {5}
    assert network.halo_planes == 25
    assert not network.blocks[0](torch.ones(1, 2, 4, 4, 3)).any()
    assert sum(value.numel() for value in network.parameters()) == pytest.approx(0.43e6, rel=0.03)
    assert CascadeNetwork(x_extents=(1, 3, 1, 3, 1)).halo_planes == 10
    assert isinstance(network.blocks[0], ResidualBlock)


class TestConsistency:
    def test_the_squared_snr_is_that_of_signal_over_noise(self, mask, generator):
        noise = 3 * 2**0.5 * torch.randn((40, *mask.shape), dtype=torch.complex64, generator=generator) * mask
        assert float(squared_snr(noise, mask, 3.0).mean()) == pytest.approx(0.0, abs=0.06)
        signal = torch.full((1, *mask.shape), 9.0 + 0.0j) * mask
        assert float(squared_snr(signal, mask, 0.5)) == pytest.approx(81 / (2 * 0.25) - 1, rel=1e-5)

    def test_the_share_is_the_mean_by_inverse_variances(self):
        log_weight, snr_squared = torch.tensor(-1.5), torch.tensor([0.5, 20.0, 3000.0])
        ratio = torch.exp(log_weight) * snr_squared
        assert torch.allclose(share_of_samples(log_weight, snr_squared), ratio / (1 + ratio), rtol=1e-4)
        assert float(share_of_samples(torch.tensor(0.0), torch.tensor(100.0))) > 0.98
        assert float(share_of_samples(torch.tensor(0.0), torch.tensor(0.0))) < 1e-5

    def test_samples_draw_the_image_and_cells_without_stay(self, mask, generator):
        image = torch.randn((2, *mask.shape), dtype=torch.complex64, generator=generator)
        samples = torch.randn((2, *mask.shape), dtype=torch.complex64, generator=generator) * mask
        drawn = draw_to_samples(image, samples, mask, 1.0)
        kspace, before = (torch.fft.fft2(values, norm="ortho") for values in (drawn, image))
        assert torch.allclose(kspace * mask, samples, atol=1e-5)
        assert torch.allclose(kspace * ~mask, before * ~mask, atol=1e-5)
        assert torch.allclose(draw_to_samples(drawn, samples, mask, 1.0), drawn, atol=1e-5)
        half = torch.fft.fft2(draw_to_samples(image, samples, mask, 0.5), norm="ortho")
        assert torch.allclose(half * mask, 0.5 * (samples + before * mask), atol=1e-5)


@pytest.fixture(scope="module")
def long_scan():
    return make_phantom(every_second_row((24, 18), 8), n_coils=3, shape=(22, 24, 18))


@pytest.mark.parametrize("kind", KINDS)
def test_slabs_give_what_the_whole_volume_gives(long_scan, kind, tmp_path):
    options = options_with_weights("cascade", tmp_path, **KINDS[kind])
    whole, slabs = (
        reconstruct(long_scan.raw, "cascade", options, slab_bytes=size, uncombined=True) for size in (2**30, 1)
    )
    assert len(plan_slabs(long_scan.raw.header, "cascade", options, slab_bytes=1).slabs) > 1
    assert difference(slabs.images, whole.images) < 1e-5
    assert difference(slabs.uncombined, whole.uncombined) < 1e-5
    assert difference(slabs.noise_sd, whole.noise_sd) < 1e-4
    assert difference(slabs.lag_sums.lags, whole.lag_sums.lags) < 1e-5


def test_the_noise_map_is_that_of_repeats_of_the_scan(tmp_path):
    """Many scans with noise of their own, their combined images; the noise map of one of them."""
    phantom = make_phantom(every_second_row())
    calibration = calibrate(phantom.raw)
    maps = espirit(calibration.kspace, calibration.lines, SHAPE).slab(0, SHAPE[0])
    options = options_with_weights("cascade", tmp_path)
    hybrid = to_hybrid(phantom.raw, calibration)
    sampled, samples = hybrid.sampling_mask, hybrid.slab(0, SHAPE[0])
    repeats = []
    for seed in range(8):
        noise = torch.randn(samples.shape, dtype=samples.dtype, generator=torch.Generator().manual_seed(seed))
        result = cascade(samples + 2**0.5 * noise * sampled, sampled, maps, 1.0, **options)
        repeats.append((result * maps.conj()).sum(1))
    spread = (torch.stack(repeats).var(0).mean(0) / 2).sqrt()
    stated = reconstruct(phantom.raw, "cascade", options).noise_sd
    ratio = (stated.square()[phantom.mask].mean() / spread.square()[phantom.mask].mean()).sqrt()
    assert "cascade" in ECHO_BY_ECHO and 0.8 < float(ratio) < 1.25


def test_a_slab_is_at_least_twice_its_halo_and_the_plan_says_what_it_takes(long_scan, tmp_path):
    header = long_scan.raw.header
    options = options_with_weights("cascade", tmp_path, x_extents=(3, 1, 1), n_blocks=3)
    assert halo_planes("cascade", options) == 3 and halo_planes("cs") == 8 and halo_planes("zero") == 0
    thin, thick = (plan_slabs(header, "cascade", options, slab_bytes=size) for size in (1, 2**30))
    assert thin.planes_at_once == 6 and thick.planes_at_once == 22
    assert thin.with_halo(range(6, 12)) == range(3, 15) and thin.with_halo(range(18, 22)) == range(15, 22)
    assert list(itertools.chain(*thin.slabs)) == list(range(22))
    assert 0 < thin.slab_bytes < thick.slab_bytes
    assert "slabs of 6 of 22 planes and 3 on either side" in str(thin)
    assert plan_slabs(header, "zero").slab_bytes < thick.slab_bytes
    joint = plan_slabs(header, "joint", options_with_weights("joint", tmp_path), slab_bytes=2_400_000)
    together = random_network("joint").planes_together
    assert together > 1 and len(joint.slabs) > 1 and all(planes.start % together == 0 for planes in joint.slabs)
    network = random_network("cascade", x_extents=(3, 1, 1))
    assert network.working_bytes((1, 1, 40, 64, 64)) > network.working_bytes((1, 1, 20, 64, 64))
    assert network.working_bytes((8, 12, 40, 256, 96)) < 8 * 12 * network.working_bytes((1, 1, 40, 256, 96))


def test_training_on_one_slab_takes_away_error(generator):
    phantom = make_phantom(noise_sd=0.02, n_coils=2)
    images = (50 * phantom.images[:1, None] * phantom.maps)[:, :, 5:7]
    kept = torch.from_numpy(poisson(SHAPE[1:], 3.0, 1).mask)
    noise = 2**0.5 * torch.randn(images.shape, dtype=torch.complex64, generator=generator)
    samples = (fftc(images, PLANE) + noise) * kept
    torch.manual_seed(0)
    network = CascadeNetwork(features=8, x_extents=(1, 1, 1), n_blocks=3)
    steps = torch.optim.Adam(network.parameters(), lr=5e-3)
    errors = []
    for _ in range(40):
        error = (network(samples, kept, torch.empty(0), 1.0) - images).abs().mean()
        steps.zero_grad()
        error.backward()
        steps.step()
        errors.append(error.item())
    assert errors[-1] < 0.75 * errors[0]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"features": 0}, "features must be"),
        ({"n_blocks": 10**9}, "n_blocks must be"),
        ({"x_extents": (3, 2)}, "x_extents must be"),
        ({"x_extents": ()}, "x_extents must be"),
        ({"typical_snr": 0.0}, "typical_snr must be above zero"),
    ],
)
def test_settings_out_of_range_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        CascadeNetwork(**settings)


def test_unusable_arguments_are_refused(samples, mask, tmp_path):
    options = options_with_weights("cascade", tmp_path)
    with pytest.raises(InputError, match="unknown consistency 'firm'"):
        cascade(samples, mask, torch.empty(0), 1.0, **options, consistency="firm")
    with pytest.raises(InputError, match="noise must be above zero"):
        cascade(samples, mask, torch.empty(0), 0.0, **options)


def test_the_options_matter(samples, mask, tmp_path):
    options = options_with_weights("cascade", tmp_path)
    soft, exact = (cascade(samples, mask, torch.empty(0), 1.0, **options, consistency=c) for c in ("soft", "exact"))
    assert difference(exact, soft) > 1e-3 and not soft.requires_grad
    assert NETWORKS["cascade"] is CascadeNetwork and not CascadeNetwork.COMBINES
