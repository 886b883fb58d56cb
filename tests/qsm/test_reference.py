import pytest
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid
from dlqsm.qsm.reference import csf_region, reference

GRID = Grid((40, 40, 20), (1.5, 1.5, 3.0))


def ball(centre_mm, radius_mm):
    axes = [(torch.arange(n) - n / 2) * v for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)]
    mesh = torch.meshgrid(*axes, indexing="ij")
    return sum((x - c) ** 2 for x, c in zip(mesh, centre_mm, strict=True)) < radius_mm**2


MASK = ball((0, 0, 0), 28)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_region_becomes_zero_and_the_constant_does_not_matter(shift, generator):
    chi = torch.randn(GRID.shape, generator=generator, dtype=torch.float64) + shift
    region = ball((5, 0, 0), 6)
    out, told = reference(chi, MASK, region, name="csf")
    assert abs(float(out[region & MASK].mean())) < 1e-12
    assert not out[~MASK].any()
    assert torch.allclose(out[MASK], reference(chi - shift, MASK, region)[0][MASK])
    assert told.mean_ppm == pytest.approx(float(chi[region & MASK].mean()))
    assert told.sd_ppm == pytest.approx(float(chi[region & MASK].std(correction=0)))
    assert (told.name, told.n_voxels) == ("csf", int((region & MASK).sum()))
    assert told.as_dict()["mean_ppm"] == told.mean_ppm


def test_region_counts_inside_the_mask_only():
    chi = torch.where(MASK, 0.1, 5.0)
    _, told = reference(chi, MASK, torch.ones_like(MASK))
    assert told.mean_ppm == pytest.approx(0.1)
    assert told.n_voxels == int(MASK.sum())


def test_csf_is_the_ventricles_not_the_rim():
    ventricles = ball((6, 2, 3), 5) | ball((-6, 2, 3), 5) | ball((0, -12, 0), 3)
    speck = ball((0, 15, 0), 1.8)
    rim = MASK & ~ball((0, 0, 0), 26)
    r2star = torch.where(ventricles | speck | rim, 2.0, 20.0)
    r2star[20, 20, 10] = torch.nan
    found = csf_region(r2star, MASK, GRID, radius_mm=22.0)
    assert torch.equal(found, ventricles)
    assert int(csf_region(r2star, MASK, GRID, radius_mm=22.0, n_components=1).sum()) < int(ventricles.sum())
    assert not csf_region(r2star, MASK, GRID, limit_hz=1.0).any()
    assert (csf_region(r2star, MASK, GRID, radius_mm=40.0) & rim).any()


def test_a_region_without_voxels_is_refused():
    with pytest.raises(InputError, match="'csf' has no voxel inside the mask"):
        reference(torch.zeros(GRID.shape), MASK, ~MASK, name="csf")
    with pytest.raises(InputError, match="shape"):
        reference(torch.zeros(GRID.shape), MASK, MASK[1:])
