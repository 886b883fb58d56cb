"""Regular skipping is told from random sampling by the samples alone."""

import numpy as np
import pytest

from dlqsm.acquisition.sampling import full, poisson, uniform
from dlqsm.cohort.plan import default_method
from dlqsm.cohort.sampling_kind import is_uniform
from dlqsm.core.raw import calibration_region

SHAPES = ((128, 36), (96, 64), (52, 36))


def _is_uniform(mask: np.ndarray) -> bool:
    return is_uniform(mask, calibration_region(mask))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("acceleration", [1.5, 2.0, 3.0, 5.0])
def test_the_virtual_scanner_s_arms_are_told_apart(shape: tuple[int, int], acceleration: float) -> None:
    assert _is_uniform(uniform(shape, acceleration, 0).mask)
    assert not _is_uniform(poisson(shape, acceleration, 0).mask)
    assert _is_uniform(full(shape).mask)


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
