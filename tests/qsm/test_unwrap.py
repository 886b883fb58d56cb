import math

import numpy as np
import pytest
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.methods import options_of
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.mdi import wrap
from dlqsm.qsm.unwrap import UNWRAPPERS, romeo, spun
from dlqsm.qsm.unwrap_kernels import romeo_costs

SHAPE = (48, 44, 36)


def scan_of(shape: tuple[int, ...] = SHAPE) -> Scan:
    nx, ny, nz = shape
    return Scan(Grid((nx, ny, nz), (1.0, 1.0, 2.0)))


def axes(shape: tuple[int, ...] = SHAPE) -> tuple[torch.Tensor, ...]:
    return torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=torch.float64) for n in shape), indexing="ij")


def ball(shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return sum(a**2 for a in axes(shape)) < 0.9


def hills(height_rad: float) -> torch.Tensor:
    x, y, z = axes()
    return height_rad * torch.exp(-4 * ((x - 0.3) ** 2 + y**2 + (z + 0.2) ** 2)) - 0.5 * height_rad * (y * x + z**2)


def noise_of(sd: float, generator: torch.Generator, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    """Phase noise of a unit signal in complex noise, in [-pi, pi]."""
    parts = torch.randn((2, *shape), generator=generator, dtype=torch.float64) * sd
    return torch.angle(torch.complex(1 + parts[0], parts[1]))


def wrong_voxels(unwrapped: torch.Tensor, true: torch.Tensor, mask: torch.Tensor) -> int:
    """Voxels off by whole turns from the truth (which holds its own noise), after the common turns are taken out."""
    turns = torch.round((unwrapped.double() - true.double())[mask] / (2 * math.pi))
    return int((turns != turns.median()).sum())


def assert_congruent(unwrapped: torch.Tensor, wrapped: torch.Tensor, mask: torch.Tensor) -> None:
    turns = (unwrapped - wrapped)[mask] / (2 * math.pi)
    assert (turns - turns.round()).abs().max() < 1e-5
    assert (unwrapped[~mask] == 0).all()
    assert -math.pi - 1e-6 < np.median(unwrapped[mask].numpy()) <= math.pi + 1e-6


@pytest.fixture(params=[spun, romeo])
def unwrap(request):
    """Each of the exact methods."""
    return request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("height_rad", [3.0, 12.0, 24.0])
def test_smooth_phase_is_recovered_exactly(unwrap, height_rad, dtype):
    true, mask = hills(height_rad), ball()
    wrapped = wrap(true).to(dtype)
    unwrapped, _, _ = unwrap(wrapped, mask, scan_of())
    assert unwrapped.dtype == dtype
    assert_congruent(unwrapped, wrapped, mask)
    assert wrong_voxels(unwrapped, true, mask) == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("slope_rad", [-2.9, 0.7, 2.9])
def test_a_ramp_of_many_turns_along_each_axis(unwrap, axis, slope_rad):
    index = torch.arange(SHAPE[axis], dtype=torch.float64).reshape([-1 if a == axis else 1 for a in range(3)])
    true = (slope_rad * index).expand(SHAPE)
    mask = torch.ones(SHAPE, dtype=torch.bool)
    unwrapped, _, _ = unwrap(wrap(true), mask, scan_of())
    assert wrong_voxels(unwrapped, true, mask) == 0


@pytest.mark.parametrize("snr", [3.0, 6.0])
@pytest.mark.parametrize("doubled_spacing", [False, True])
def test_no_voxel_is_wrong_where_the_snr_exceeds_three(unwrap, generator, snr, doubled_spacing):
    noise, mask = noise_of(1 / snr, generator), ball()
    true = hills(14.0 if doubled_spacing else 7.0) + noise
    wrapped = wrap(true)
    unwrapped, _, report = unwrap(wrapped, mask, scan_of())
    assert_congruent(unwrapped, wrapped, mask)
    # A noise of nearly half a turn, seen in 1 of 3000 voxels at an SNR of 3, cannot be told from its complement.
    decidable = noise.abs() < 2.4
    assert wrong_voxels(unwrapped, true, mask & decidable) == 0
    assert wrong_voxels(unwrapped, true, mask) <= 5
    assert report.uncertain.sum() < 0.01 * mask.sum()


def test_noisy_regions_do_not_harm_the_reliable_ones(unwrap, generator):
    """A sheet of pure noise parts the volume but for a bridge; both sides must agree."""
    true, mask = hills(25.0), ball()
    sd, quality = torch.full(SHAPE, 0.1, dtype=torch.float64), torch.ones(SHAPE, dtype=torch.float64)
    sheet = torch.zeros(SHAPE, dtype=torch.bool)
    sheet[22:26, :30] = True
    sd[sheet], quality[sheet] = 5.0, 0.1
    parts = torch.randn((2, *SHAPE), generator=generator, dtype=torch.float64) * sd
    true = true + torch.angle(torch.complex(1 + parts[0], parts[1]))
    unwrapped, _, report = unwrap(wrap(true), mask, scan_of(), quality)
    assert wrong_voxels(unwrapped, true, mask & ~sheet) == 0
    assert report.residue_fraction > 0.01
    assert report.jump_fraction > 0.005


def test_regions_across_a_noisy_gap_are_merged(unwrap, generator):
    """No bridge at all: two halves grow on their own and only the votes across the noise can join them."""
    true, mask = hills(25.0), ball()
    sd = torch.full(SHAPE, 0.05, dtype=torch.float64)
    sd[23:25] = 0.6
    parts = torch.randn((2, *SHAPE), generator=generator, dtype=torch.float64) * sd
    noisy = true + torch.angle(torch.complex(1 + parts[0], parts[1]))
    quality = torch.ones(SHAPE, dtype=torch.float64)
    quality[23:25] = 0.05
    unwrapped, _, report = unwrap(wrap(noisy), mask, scan_of(), quality)
    assert report.n_regions >= 2
    assert report.n_detached == 0
    gap = torch.zeros(SHAPE, dtype=torch.bool)
    gap[23:25] = True
    assert wrong_voxels(unwrapped, noisy, mask & ~gap) == 0


def test_open_ended_fringe_lines_stay_local(unwrap):
    """A vortex line has a residue in every slice: no unwrapping is right beside its cut, but all is right afar."""
    x, y, _ = axes()
    vortex = torch.atan2(x - 0.01, y - 0.01) - torch.atan2(x - 0.01, y + 0.19)
    mask = ball()
    wrapped = wrap(hills(12.0) + vortex)
    quality = torch.where((x.abs() < 0.15) & ((y + 0.09).abs() < 0.2), 0.2, 1.0)
    unwrapped, _, report = unwrap(wrapped, mask, scan_of(), quality)
    assert_congruent(unwrapped, wrapped, mask)
    assert report.residue_fraction > 0
    assert wrong_voxels(unwrapped, hills(12.0) + vortex, mask & (x**2 + (y + 0.09) ** 2 > 0.15)) == 0


def test_detached_parts_are_placed_by_extrapolation(unwrap):
    x, y, z = axes()
    true = 20.0 * (0.8 * x + 0.3 * y - 0.2 * z + 0.4 * x * y - 0.3 * z**2)
    mask = (x < 0.2) & (y.abs() < 0.8)
    second, third = (x > 0.35) & (x < 0.8) & (y > 0) & (y < 0.8), (x > 0.4) & (y < -0.2) & (y > -0.9)
    whole = mask | second | third
    unwrapped, _, report = unwrap(wrap(true), whole, scan_of())
    assert report.n_detached == 2
    assert wrong_voxels(unwrapped, true, whole) == 0
    assert not report.uncertain.any()


@pytest.mark.parametrize("n_voxels", [1, 2])
def test_a_mask_of_one_or_two_voxels(unwrap, n_voxels):
    wrapped, mask = wrap(hills(12.0)), torch.zeros(SHAPE, dtype=torch.bool)
    mask[10, 10, 10 : 10 + n_voxels] = True
    unwrapped, _, report = unwrap(wrapped, mask, scan_of())
    assert torch.equal(unwrapped[mask], wrapped[mask])
    assert report.n_regions == 1


def test_a_lone_voxel_beside_a_volume(unwrap):
    true, mask = hills(30.0), ball()
    mask[0, 0, 0] = True
    wrapped = wrap(true)
    unwrapped, _, report = unwrap(wrapped, mask, scan_of())
    assert report.n_detached == 1
    assert_congruent(unwrapped, wrapped, mask)
    mask[0, 0, 0] = False
    assert wrong_voxels(unwrapped, true, mask) == 0


def test_constant_phase_stays_as_it_is(unwrap):
    mask = ball()
    for value in (0.0, 3.0, math.pi):
        unwrapped, _, report = unwrap(torch.full(SHAPE, value), mask, scan_of())
        assert (unwrapped[mask] == torch.tensor(value)).all()
        assert (report.n_regions, report.residue_fraction, report.jump_fraction) == (1, 0.0, 0.0)


def test_repeats_are_bit_identical_and_the_input_is_left_alone(unwrap, generator):
    wrapped, mask = wrap(hills(20.0) + noise_of(0.6, generator)), ball()
    before = wrapped.clone()
    first, second = (unwrap(wrapped, mask, scan_of())[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(wrapped, before)


def test_what_lies_outside_the_mask_does_not_matter(unwrap, generator):
    wrapped, mask = wrap(hills(20.0) + noise_of(0.3, generator)), ball()
    spoilt = torch.where(mask, wrapped, torch.full_like(wrapped, float("nan")))
    assert torch.equal(unwrap(wrapped, mask, scan_of())[0], unwrap(spoilt, mask, scan_of())[0])


def test_quality_steers_the_path(unwrap, generator):
    true = hills(20.0) + noise_of(0.9, generator)
    mask = ball()
    one, _, _ = unwrap(wrap(true), mask, scan_of())
    quality = torch.rand(SHAPE, generator=generator, dtype=torch.float64)
    assert not torch.equal(one, unwrap(wrap(true), mask, scan_of(), quality)[0])


def test_options_of_the_report_change_what_is_uncertain(unwrap, generator):
    true = hills(20.0) + noise_of(0.8, generator)
    quality = torch.rand(SHAPE, generator=generator, dtype=torch.float64)
    strict, lenient = (
        unwrap(wrap(true), ball(), scan_of(), quality, least_agreement=a, least_border=n)[2].uncertain.sum()
        for a, n in ((1.0, 1), (0.0, 1))
    )
    large = unwrap(wrap(true), ball(), scan_of(), quality, least_agreement=0.0, least_border=10**6)[2]
    assert strict > lenient == 0
    assert large.uncertain.any()
    assert large.as_dict()["n_uncertain_voxels"] == int(large.uncertain.sum())


def test_what_cannot_be_used_is_refused(unwrap):
    phase, mask = wrap(hills(12.0)), ball()
    with pytest.raises(InputError, match="phase has shape"):
        unwrap(phase[1:], mask, scan_of())
    with pytest.raises(InputError, match="mask is empty"):
        unwrap(phase, torch.zeros_like(mask), scan_of())
    with pytest.raises(InputError, match="quality has shape"):
        unwrap(phase, mask, scan_of(), phase[1:])
    phase[24, 22, 18] = float("nan")
    with pytest.raises(InputError, match="phase is not finite in 1 voxels"):
        unwrap(phase, mask, scan_of())


def test_the_table_names_them():
    assert UNWRAPPERS["spun"] is spun
    assert UNWRAPPERS["romeo"] is romeo
    assert set(options_of(spun)) == set(options_of(romeo)) == {"least_agreement", "least_border"}


def test_romeo_takes_another_path_than_spun_where_it_is_noisy(generator):
    wrapped = wrap(hills(20.0) + noise_of(0.9, generator))
    assert not torch.equal(spun(wrapped, ball(), scan_of())[0], romeo(wrapped, ball(), scan_of())[0])


@pytest.mark.parametrize(
    ("phase", "quality", "weight"),
    [
        ((0.0, 0.5, 1.0), (1.0, 1.0, 1.0), 0.1 + 0.9 * (1 - 0.5 / math.pi)),
        ((0.0, 0.5, 0.6), (1.0, 1.0, 1.0), (0.1 + 0.9 * (1 - 0.5 / math.pi)) * (0.1 + 0.9 * (1 - 0.4 / 2))),
        ((0.0, 0.0, 0.0), (0.5, 1.0, 1.0), 0.1 + 0.9 * 0.5**2),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.1),
    ],
)
def test_weights_of_romeo_by_hand(phase, quality, weight):
    """The first edge of a line of three voxels."""
    flat_phase, flat_quality, mask = np.zeros(125), np.ones(125), np.zeros(125, bool)
    line = 31 + np.arange(3)
    flat_phase[line], flat_quality[line], mask[line] = phase, quality, True
    costs = romeo_costs(flat_phase, mask, flat_quality, np.array([25, 5, 1]))
    assert costs[2, 31] == 1 + round(254 * (1 - weight))
    assert (costs > 0).sum() == 2
