"""The noise of nucleus values: that of the mean which the table holds, for each weighting."""

import math

import pytest
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.realisations import ENOUGH_REALISATIONS
from dlqsm.core.scan import Grid
from dlqsm.nuclei.noise import COLUMN, weights_of, with_noise_sd
from dlqsm.nuclei.regions import COLUMNS, measure_regions
from dlqsm.nuclei.weighting import WEIGHTINGS, measure_nuclei

GRID = Grid((20, 16, 12), (1.0, 1.0, 2.0))
NAMES = {1: ("Pu", "left"), 2: ("Pu", "right"), 3: ("RN", "left")}
LABELS = torch.zeros(GRID.shape, dtype=torch.uint8)
LABELS[3:6, 4:9, 3:8], LABELS[13:16, 4:9, 3:8], LABELS[9:11, 10:12, 4:6] = 1, 2, 3
SHARES = torch.where(torch.arange(GRID.shape[2]) % 2 == 0, 1.0, 0.6)
PROBABILITIES = SHARES * torch.stack([number == LABELS for number in list(NAMES)])


@pytest.fixture
def errors(generator):
    return 1e-3 * torch.randn(ENOUGH_REALISATIONS, *GRID.shape, generator=generator)


def measured(chi):
    return measure_regions(chi, LABELS, NAMES, GRID, participant="p", arm="a")


def test_the_column_stands_at_the_end_and_is_the_spread_of_the_means(errors):
    chi = torch.zeros(GRID.shape)
    table = with_noise_sd(measured(chi), errors, chi, {n: n == LABELS for n in NAMES}, NAMES, GRID)
    assert list(table.columns) == [*COLUMNS, COLUMN]
    means = torch.stack([torch.tensor(measured(e)["mean_ppb"].to_numpy()) for e in errors])
    assert torch.allclose(torch.tensor(table[COLUMN].to_numpy()), means.std(0), rtol=1e-4)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_each_weighting_has_its_own_noise(weighting, errors):
    chi, weights = torch.zeros(GRID.shape), weights_of(PROBABILITIES, NAMES, weighting)

    def values(volume):
        return measure_nuclei(volume, PROBABILITIES, NAMES, GRID, participant="p", arm="a", weighting=weighting)

    table = with_noise_sd(values(chi), errors, chi, weights, NAMES, GRID)
    means = torch.stack([torch.tensor(values(e)["mean_ppb"].to_numpy()) for e in errors])
    assert torch.allclose(torch.tensor(table[COLUMN].to_numpy()), means.std(0), rtol=1e-4)


def test_voxels_that_are_not_measured_do_not_count(errors):
    chi = torch.zeros(GRID.shape)
    chi[3:6, 4:9, 3:8] = math.nan
    table = with_noise_sd(measured(chi), errors, chi, {n: n == LABELS for n in NAMES}, NAMES, GRID)
    by_region = table.set_index(["roi", "side"])[COLUMN]
    assert math.isnan(by_region["Pu", "left"])
    assert by_region["Pu", "both"] == pytest.approx(by_region["Pu", "right"])


def test_few_realisations_serve_too(errors):
    chi, weights = torch.zeros(GRID.shape), {n: n == LABELS for n in NAMES}
    many = with_noise_sd(measured(chi), errors, chi, weights, NAMES, GRID)[COLUMN]
    few = with_noise_sd(measured(chi), errors[:8], chi, weights, NAMES, GRID)[COLUMN]
    assert float((few / many).median()) == pytest.approx(1.0, abs=0.25)
    with pytest.raises(InputError, match="realisations have shape"):
        with_noise_sd(measured(chi), errors[:, 1:], chi, weights, NAMES, GRID)
