"""Regular skipping is told from random sampling by the samples alone."""

import numpy as np
import pytest

from dlqsm.acquisition.sampling import full, poisson, uniform
from dlqsm.cohort.plan import default_method
from dlqsm.core.raw import calibration_region
from dlqsm.core.sampling_kind import FULL, IRREGULAR, UNIFORM, is_uniform, sampling_facts, sampling_kind

SHAPES = ((128, 36), (96, 64), (52, 36))


def _is_uniform(mask: np.ndarray) -> bool:
    return is_uniform(mask, calibration_region(mask))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("acceleration", [1.5, 2.0, 3.0, 5.0])
def test_the_virtual_scanner_s_arms_are_told_apart(shape: tuple[int, int], acceleration: float) -> None:
    assert _is_uniform(uniform(shape, acceleration, 0).mask)
    assert not _is_uniform(poisson(shape, acceleration, 0).mask)
    assert _is_uniform(full(shape).mask)
    assert sampling_kind(uniform(shape, acceleration, 0).mask) == UNIFORM
    assert sampling_kind(poisson(shape, acceleration, 0).mask) == IRREGULAR
    assert sampling_kind(full(shape).mask) == FULL


@pytest.mark.parametrize("elliptical", [False, True])
@pytest.mark.parametrize("kind", ["both axes", "caipirinha", "partial Fourier"])
def test_what_scanners_do_is_regular(kind: str, elliptical: bool) -> None:
    y, z = np.indices((128, 40))
    masks = {
        "both axes": (y % 2 == 0) & (z % 2 == 0),
        "caipirinha": (z % 2 == 0) & ((y + z // 2) % 2 == 0),
        "partial Fourier": (y % 2 == 0) & (y < 96),
    }
    mask = masks[kind]
    if elliptical:
        mask &= ((y - 64) / 64) ** 2 + ((z - 20) / 20) ** 2 <= 1
    mask[56:72, 15:25] = True
    assert _is_uniform(mask)


def test_independent_random_cells_are_not_regular() -> None:
    mask = np.random.default_rng(3).random((128, 40)) < 0.3
    mask[56:72, 15:25] = True
    assert not _is_uniform(mask)


def test_the_reconstruction_follows_from_the_sampling() -> None:
    assert default_method(uniform=True) == "sense"
    assert default_method(uniform=False) == "joint"


def test_what_the_checklist_asks_is_read_from_the_cells() -> None:
    y, z = np.indices((128, 40))
    ellipse = ((y - 64) / 64) ** 2 + ((z - 20) / 20) ** 2 <= 1
    every = np.ones((128, 40), dtype=bool)
    assert sampling_facts(every) == {"sampling": FULL, "partial_fourier": "none", "elliptical_shutter": False}
    assert sampling_facts(ellipse) == {"sampling": FULL, "partial_fourier": "none", "elliptical_shutter": True}
    assert sampling_facts(y < 96)["partial_fourier"] == "0.75 along ky"
    assert sampling_facts((y >= 32) & (z < 38))["partial_fourier"] == "0.75 along ky"
    assert sampling_facts((y >= 32) & (z < 30))["partial_fourier"] == "0.75 along ky, 0.75 along kz"
    assert sampling_facts(ellipse & (y < 96))["elliptical_shutter"]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("acceleration", [2.0, 3.0, 5.0])
def test_outermost_lines_missed_by_chance_are_no_partial_fourier(acceleration: float, seed: int) -> None:
    assert sampling_facts(poisson((128, 36), acceleration, seed).mask)["partial_fourier"] == "none"
