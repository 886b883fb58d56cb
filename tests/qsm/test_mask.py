import pytest
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.mask import brain_mask, erode, phase_quality, processing_mask
from dlqsm.qsm.mdi import FieldEstimate, largest_noise_hz

SHAPE, VOXEL_MM = (80, 88, 40), (2.5, 2.5, 4.0)


def scan_of(shape=SHAPE, voxel_mm=VOXEL_MM) -> Scan:
    return Scan(Grid(shape, voxel_mm))


def positions_mm(shape=SHAPE, voxel_mm=VOXEL_MM) -> tuple[torch.Tensor, ...]:
    return torch.meshgrid(
        *((torch.arange(n) - n / 2 + 0.3) * v for n, v in zip(shape, voxel_mm, strict=True)), indexing="ij"
    )


def head(generator: torch.Generator, *, sigma: float = 1.0, shape=SHAPE, voxel_mm=VOXEL_MM):
    """Magnitude of a head (brain, ventricles, fissure, skull bridged by a vessel, scalp, neck), and its brain."""
    x, y, z = positions_mm(shape, voxel_mm)
    r = torch.sqrt((x / 66) ** 2 + (y / 80) ** 2 + ((z - 8) / 56) ** 2)
    brain, skull, scalp = r < 1, (r >= 1) & (r < 1.12), (r >= 1.12) & (r < 1.22)
    neck = (x**2 + (y + 12) ** 2 < 50**2) & (z < -20) & (r >= 1.12)
    bridge = (y.abs() < 4) & (z.abs() < 4) & (x > 0) & skull
    ventricles = ((x.abs() - 9) / 5) ** 2 + (y / 25) ** 2 + ((z - 12) / 7) ** 2 < 1
    clean = 40.0 * brain + 4.0 * skull + 45.0 * (scalp | neck) + 30.0 * bridge
    fissure = brain & (x.abs() < 2.6) & (z > 30)
    clean = torch.where(ventricles | fissure, 18.0, clean) * (1 + 0.15 * x / 66 - 0.1 * z / 56)
    parts = torch.randn((2, *shape), generator=generator) * sigma
    return torch.complex(clean + parts[0], parts[1]).abs(), brain


def dice(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("sigma", [0.5, 4.0, 7.0])
def test_brain_is_found_without_skull_scalp_and_neck(generator, sigma):
    magnitude, brain = head(generator, sigma=sigma)
    found = brain_mask(magnitude, scan_of())
    assert dice(found, brain) > 0.97
    assert found[40, 44, 23]  # near a ventricle


def test_unit_and_grid_do_not_matter(generator):
    magnitude, _ = head(generator)
    found = brain_mask(magnitude, scan_of())
    assert dice(found, brain_mask(1e6 * magnitude.double(), scan_of())) > 0.995
    fine, fine_brain = head(generator, shape=(161, 175, 80), voxel_mm=(1.25, 1.25, 2.0))
    assert dice(brain_mask(fine, scan_of((161, 175, 80), (1.25, 1.25, 2.0))), fine_brain) > 0.97


def test_every_option_of_brain_mask_changes_the_result(generator):
    magnitude, _ = head(generator)
    default = brain_mask(magnitude, scan_of())
    others = [
        {"darkest": 0.98},
        {"brightest": 1.02},
        {"opening_mm": 15.0},
        {"closing_mm": 0.1},
        {"working_voxel_mm": 5.0},
    ]
    for option in [*others, {"fraction": 0.2}, {"n_steps": 20}]:
        assert not torch.equal(default, brain_mask(magnitude, scan_of(), **option)), option


def test_a_field_of_view_inside_the_head_is_kept_whole(generator):
    magnitude, brain = head(generator)
    inner = magnitude[26:54, 28:60, 16:28]
    assert brain[26:54, 28:60, 16:28].all()
    assert brain_mask(inner, scan_of(tuple(inner.shape))).float().mean() > 0.97


def test_voxels_that_are_not_finite_count_as_dark(generator):
    magnitude, brain = head(generator)
    magnitude[30:34, 40:44, 20:22] = float("nan")
    assert dice(brain_mask(magnitude, scan_of()), brain) > 0.97


def test_an_image_without_contrast_is_refused():
    with pytest.raises(InputError, match=r"magnitude is 7\.0 everywhere"):
        brain_mask(torch.full(SHAPE, 7.0), scan_of())
    with pytest.raises(InputError, match="magnitude has shape"):
        brain_mask(torch.ones((3, 3, 3)), scan_of())


def test_real_philips_head(shared_data, load_real):
    magnitude, scan = load_real(shared_data)
    litres = float(brain_mask(magnitude, scan).sum()) * scan.grid.voxel_volume_mm3 * 1e-6
    assert 1.3 < litres < 1.8  # cranial cavities of adults


def test_phase_quality_falls_with_noise_and_incoherence():
    worst = largest_noise_hz(3e-3)
    noise, coherence = torch.tensor([0.0, 0.5 * worst, worst, 0.0]), torch.tensor([1.0, 1.0, 1.0, 0.4])
    quality = phase_quality(FieldEstimate(torch.zeros(4), 3e-3, noise, coherence))
    assert torch.allclose(quality, torch.tensor([1.0, 0.5, 0.0, 0.4]), atol=1e-6)


def test_processing_mask_counts_what_it_takes_away(generator):
    magnitude, _ = head(generator)
    x, y, z = positions_mm()
    brain = x**2 + y**2 + z**2 < 40**2
    island = (x - 70) ** 2 + y**2 + z**2 < 6**2
    quality = torch.ones(SHAPE)
    hole, rim, lost = torch.zeros(SHAPE, dtype=torch.bool), x > 30, (40, 44, 20)
    hole[44:46, 44:46, 20:22] = True
    quality[hole | rim] = 0.1
    quality[island] = 1.0
    magnitude[lost] = float("nan")
    mask, counts = processing_mask(magnitude, quality, scan_of(), brain | island)
    assert torch.equal(mask, brain & ~rim & (torch.isfinite(magnitude)))
    assert counts == {
        "n_brain": int((brain | island).sum()),
        "n_not_finite": 1,
        "n_low_quality": int((brain & (rim | hole)).sum()),
        "n_rim_decay": 0,
        "n_detached": int(island.sum()),
        "n_filled": 8,
        "n_left": 0,
        "n_mask": int(mask.sum()),
    }
    left, counts = processing_mask(magnitude, quality, scan_of(), brain | island, fill_holes=False)
    assert torch.equal(left, mask & ~hole)
    assert (counts["n_filled"], counts["n_left"]) == (0, 8)
    strict, _ = processing_mask(magnitude, quality, scan_of(), brain, least_quality=0.05)
    assert strict.sum() > mask.sum()


def test_fast_decay_wears_the_rim_away_but_not_what_it_does_not_touch(generator):
    magnitude, _ = head(generator)
    x, y, z = positions_mm()
    brain = x**2 + y**2 + z**2 < 40**2
    sinus, nucleus = (y > 25) & (x.abs() < 10), (x**2 + y**2 + z**2) < 8**2
    decay = torch.where(sinus | nucleus, 100.0, 20.0)
    quality = torch.ones(SHAPE)
    quality[nucleus & (x > 0)] = 0.1
    mask, counts = processing_mask(magnitude, quality, scan_of(), brain, r2star_hz=decay)
    assert torch.equal(mask, brain & ~sinus)
    assert counts["n_rim_decay"] == int((brain & sinus).sum())
    at_7_t = Scan(Grid(SHAPE, VOXEL_MM), field_strength_t=7.0)
    for scan, options in ((scan_of(), {"largest_rim_r2star_hz": 120.0}), (at_7_t, {})):
        whole, _ = processing_mask(magnitude, quality, scan, brain, r2star_hz=decay, **options)
        assert torch.equal(whole, brain)


def test_processing_mask_makes_its_own_brain_mask(generator):
    magnitude, brain = head(generator)
    mask, counts = processing_mask(magnitude, torch.ones(SHAPE), scan_of())
    assert dice(mask, brain) > 0.97
    assert counts["n_mask"] == counts["n_brain"]


def test_an_empty_mask_is_refused(generator):
    magnitude, brain = head(generator)
    with pytest.raises(InputError, match=r"phase quality of 0\.5 or more"):
        processing_mask(magnitude, torch.zeros(SHAPE), scan_of(), brain)
    with pytest.raises(InputError, match="mask is empty"):
        processing_mask(magnitude, torch.ones(SHAPE), scan_of(), torch.zeros_like(brain))


@pytest.mark.parametrize("voxel_mm", [(1.0, 1.0, 1.0), (0.8, 1.0, 2.0)])
def test_erosion_of_a_ball_is_a_smaller_ball(voxel_mm):
    shape = (60, 50, 40)
    x, y, z = positions_mm(shape, voxel_mm)
    r = torch.sqrt(x**2 + y**2 + z**2)
    eroded = erode(r < 18, Grid(shape, voxel_mm), 5.0)
    assert (r[eroded] < 18 - 5.0 + 0.5 * max(voxel_mm)).all()
    assert eroded[r < 18 - 5.0 - max(voxel_mm)].all()


def test_outside_the_array_is_outside_the_mask():
    mask = torch.ones((9, 9, 9), dtype=torch.bool)
    eroded = erode(mask, Grid((9, 9, 9), (1.0, 1.0, 1.0)), 2.0)
    assert torch.equal(eroded[2:-2, 2:-2, 2:-2], torch.ones((5, 5, 5), dtype=torch.bool))
    assert eroded.sum() == 125
    assert torch.equal(erode(mask, Grid((9, 9, 9), (1.0, 1.0, 1.0)), 0.0), mask)
    assert not erode(mask, Grid((9, 9, 9), (1.0, 1.0, 1.0)), 50.0).any()


@pytest.fixture
def load_real():
    nibabel = pytest.importorskip("nibabel")

    def load(folder):
        path = folder / "philips_dual_echo" / "nifti" / "2001_WIP_fcMRI_Field_Mapping_cl_e{}.nii.gz"
        images = [nibabel.load(str(path).format(echo)) for echo in (1, 2)]
        echoes = torch.stack([torch.from_numpy(image.get_fdata(dtype="float32")) for image in images])
        nx, ny, nz = echoes.shape[1:]
        return (echoes**2).sum(0).sqrt(), Scan(Grid.from_affine((nx, ny, nz), images[0].affine))

    return load
