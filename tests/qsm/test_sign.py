"""The sign by physics: clear where many places of fast decay agree, and nothing else decides."""

import math

import pytest
import torch

from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.sign import CLEAR_SCORE, sign_evidence

GRID = Grid((40, 40, 30), (2.0, 2.0, 2.0))
SCAN = Scan(GRID, (), 3.0)
AXES = torch.meshgrid(*(2.0 * (torch.arange(n) - (n - 1) / 2) for n in GRID.shape), indexing="ij")
BALL = sum(a**2 for a in AXES) < 29**2


def brain(n_places, chi_ppm=0.1, r2star_hz=25.0, noise=0.0, seed=4):
    """Susceptibility and R2* of a ball of 20/s with places of fast decay on a lattice of 16 mm."""
    chi, r2star = torch.zeros(GRID.shape), torch.full(GRID.shape, 20.0)
    centres = [(x, y, z) for x in (-16, 0, 16) for y in (-16, 0, 16) for z in (-16, 0, 16)]
    for centre in centres[:n_places]:
        inside = sum((a - c) ** 2 for a, c in zip(AXES, centre, strict=True)) < 3.5**2
        chi[inside] += chi_ppm
        r2star[inside] += r2star_hz
    generator = torch.Generator().manual_seed(seed)
    noisy = [v + noise * s * torch.randn(GRID.shape, generator=generator) for v, s in ((chi, 0.05), (r2star, 10.0))]
    return noisy[0], noisy[1]


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_many_places_that_agree_are_clear_in_either_sign(noise):
    chi, r2star = brain(27, noise=noise)
    right, wrong = sign_evidence(chi, r2star, BALL, SCAN), sign_evidence(-chi, r2star, BALL, SCAN)
    assert right.verdict == "agrees"
    assert wrong.verdict == "contradicts"
    assert wrong.score == pytest.approx(-right.score, abs=1e-4)
    assert right.score <= math.sqrt(right.n_places)


def test_the_scale_and_the_zero_of_the_susceptibility_do_not_matter():
    chi, r2star = brain(27)
    scores = [sign_evidence(v, r2star, BALL, SCAN).score for v in (chi, 0.3 * chi, chi - 0.2)]
    assert scores == pytest.approx([scores[0]] * 3, abs=0.05)


@pytest.mark.parametrize("n_places", [1, 2, 3])
def test_one_bleeding_or_calcification_can_not_decide(n_places):
    chi, r2star = brain(n_places, chi_ppm=-0.3, r2star_hz=60.0)
    assert sign_evidence(chi, r2star, BALL, SCAN).verdict == "unclear"


def test_noise_is_no_sign():
    verdicts = [sign_evidence(*brain(0, noise=2.0, seed=seed), BALL, SCAN).verdict for seed in range(40)]
    assert verdicts == ["unclear"] * 40


def test_uniform_decay_gives_nothing():
    chi, _ = brain(27)
    found = sign_evidence(chi, torch.full(GRID.shape, 20.0), BALL, SCAN)
    assert (found.score, found.n_places, found.verdict) == (0.0, 0, "unclear")


def test_a_mask_without_inside_gives_nothing():
    chi, r2star = brain(27)
    thin = torch.zeros(GRID.shape, dtype=torch.bool)
    thin[:, :, 14:16] = True
    assert sign_evidence(chi, r2star, thin, SCAN).n_places == 0


def test_the_rate_that_counts_grows_with_the_field():
    chi, r2star = brain(27, r2star_hz=30.0)
    assert sign_evidence(chi, r2star, BALL, Scan(GRID, (), 3.0)).score > CLEAR_SCORE
    assert sign_evidence(chi, r2star, BALL, Scan(GRID, (), 14.0)).n_places == 0
