"""Region values: hand-made volumes whose means are known, and what is refused."""

import math

import numpy as np
import pytest
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.labels import NUCLEI, label_table
from dlqsm.core.scan import Grid
from dlqsm.nuclei.regions import COLUMNS, measure_regions

GRID = Grid((6, 5, 4), (1.6, 1.6, 4.0))
NAMES = {1: ("Pu", "left"), 2: ("RN", "left"), 8: ("Pu", "right"), 9: ("RN", "right")}


def measure(chi_ppm, labels, names=NAMES, grid=GRID):
    return measure_regions(chi_ppm, labels, names, grid, participant="sub-01", arm="PI2")


def row(table, roi, side):
    return table[(table.roi == roi) & (table.side == side)].iloc[0]


@pytest.fixture
def labels():
    volume = torch.zeros(GRID.shape, dtype=torch.uint8)
    volume[0, 0, :3], volume[5, 0, 0] = 1, 8
    volume[0, 2, :2], volume[5, 2, :2] = 2, 9
    return volume


def test_values_are_those_of_the_voxels(labels):
    chi = torch.zeros(GRID.shape, dtype=torch.float64)
    chi[0, 0, :3] = torch.tensor([0.01, 0.02, 0.06])
    chi[5, 0, 0] = 0.11
    table = measure(chi, labels)
    left, both = row(table, "Pu", "left"), row(table, "Pu", "both")
    assert left.mean_ppb == pytest.approx(30.0)
    assert left.median_ppb == pytest.approx(20.0)
    assert left.sd_ppb == pytest.approx(np.std([10, 20, 60], ddof=1))
    assert left.n_voxels == 3
    assert left.volume_mm3 == pytest.approx(3 * 1.6 * 1.6 * 4.0)
    assert both.mean_ppb == pytest.approx(200 / 4), "both pools the voxels; the mean of the sides would be 70"
    assert both.n_voxels == 4


def test_table_has_the_columns_of_the_contract_in_the_order_of_the_names(labels):
    table = measure(torch.rand(GRID.shape), labels, label_table())
    assert tuple(table.columns) == COLUMNS
    assert list(table.roi.unique()) == list(NUCLEI)
    assert list(table.side[:3]) == ["left", "right", "both"]
    assert set(table.participant_id) == {"sub-01"} and set(table.arm) == {"PI2"}


def test_constant_shift_moves_means_only(labels, generator):
    chi = torch.rand(GRID.shape, generator=generator, dtype=torch.float64)
    before, after = measure(chi, labels), measure(chi + 0.02, labels)
    np.testing.assert_allclose(after.mean_ppb - before.mean_ppb, 20.0, rtol=1e-9)
    np.testing.assert_allclose(after.sd_ppb, before.sd_ppb, rtol=1e-9)


def test_voxels_that_are_not_finite_are_no_measurement(labels):
    chi = torch.full(GRID.shape, 0.05)
    chi[0, 0, 0], chi[0, 2, :2] = math.nan, math.inf
    table = measure(chi, labels)
    assert row(table, "Pu", "left").n_voxels == 2
    assert row(table, "Pu", "left").mean_ppb == pytest.approx(50.0)
    empty = row(table, "RN", "left")
    assert empty.n_voxels == 0 and empty.volume_mm3 == 0.0
    assert math.isnan(empty.mean_ppb) and math.isnan(empty.sd_ppb) and math.isnan(empty.median_ppb)
    assert row(table, "RN", "both").n_voxels == 2


def test_region_without_voxels_keeps_its_row():
    table = measure(torch.zeros(GRID.shape), torch.zeros(GRID.shape, dtype=torch.uint8), label_table())
    assert len(table) == 3 * len(NUCLEI)
    assert (table.n_voxels == 0).all() and table.mean_ppb.isna().all()


def test_one_voxel_has_no_spread(labels):
    assert math.isnan(row(measure(torch.ones(GRID.shape), labels), "Pu", "right").sd_ppb)


def test_names_may_hold_pooled_labels_only(labels):
    pooled = {1: ("Pu", "both"), 2: ("RN", "both"), 8: ("Pu", "both"), 9: ("RN", "both")}
    table = measure(torch.ones(GRID.shape), labels, pooled)
    assert list(table.side) == ["both", "both"]
    assert list(table.n_voxels) == [4, 4]


def test_whole_numbers_stored_as_float_are_labels(labels):
    chi = torch.rand(GRID.shape)
    assert measure(chi, labels.float()).equals(measure(chi, labels))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda chi, labels: (chi[:-1], labels, NAMES), r"shape \(5, 5, 4\); expected \(6, 5, 4\)"),
        (lambda chi, labels: (chi, labels[..., :3], NAMES), "resample the labels"),
        (lambda chi, labels: (chi, labels + 0.5, NAMES), "not whole numbers"),
        (lambda chi, labels: (chi, torch.where(labels == 1, math.nan, labels.float()), NAMES), "not whole numbers"),
        (lambda chi, labels: (chi, labels, {1: ("Pu", "left")}), "numbers 2, 8, 9, which the table of names lacks"),
        (lambda chi, labels: (chi, labels, NAMES | {1: ("Pu", "L")}), "side 'L'; expected left, right or both"),
    ],
)
def test_unusable_input_is_refused_with_a_sentence(labels, change, says):
    with pytest.raises(InputError, match=says):
        measure(*change(torch.zeros(GRID.shape), labels))
