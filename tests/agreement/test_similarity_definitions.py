"""SSIM and PSNR in all definitions: each against a computation of its own on the whole array."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

from dlqsm.agreement.similarity import psnr_db, ssim
from dlqsm.agreement.similarity_definitions import PRIMARY, all_definitions, summary_table
from dlqsm.core.checks import InputError

SHAPE = (34, 30, 20)


def make_mask(radius):
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return torch.from_numpy(sum((a / radius) ** 2 for a in axes) < 1)


def maps(seed=0):
    rng = np.random.default_rng(seed)
    reference = ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.5)
    reference = 0.03 * reference / reference.std() + 0.02
    return torch.from_numpy(reference + rng.normal(0, 0.012, SHAPE)), torch.from_numpy(reference)


@pytest.fixture(scope="module", params=[0.7, 1.3], ids=["inside the array", "cut by its border"])
def case(request):
    mask = make_mask(request.param)
    chi, reference = maps()
    found = {(d.measure, d.scale, d.domain, d.dimension): d.value for d in all_definitions(chi, reference, mask)}
    inside = mask.numpy()
    x, r = (np.where(inside, v.numpy() - v.numpy()[inside].mean(), 0.0) for v in (chi, reference))
    return found, x, r, inside


def scales(r, inside):
    return {"window": 0.5, "one": 1.0, "max": r[inside].max(), "range": np.ptp(r[inside])}


def domains(inside):
    box = np.zeros_like(inside)
    box[ndimage.find_objects(inside.astype(int))[0]] = True
    return {"volume": np.ones_like(inside), "brain": inside, "box": box}


def test_every_definition_once(case):
    found, *_ = case
    psnr = itertools.product(["psnr_db"], ["window", "one", "max", "range"], ["volume", "brain", "box"], ["2d", "3d"])
    similar = itertools.product(["ssim"], ["window", "one", "range"], ["volume", "brain", "box"], ["2d", "3d"])
    assert set(found) == {*psnr, *similar}


def test_psnr_by_its_formula(case):
    found, x, r, inside = case
    squares = (x - r) ** 2
    for (scale, peak), (domain, where) in itertools.product(scales(r, inside).items(), domains(inside).items()):
        whole = 10 * np.log10(peak**2 / squares[where].mean())
        assert found[("psnr_db", scale, domain, "3d")] == pytest.approx(whole, abs=1e-4)
        slices = [z for z in range(SHAPE[2]) if inside[..., z].any()]
        each = [10 * np.log10(peak**2 / squares[..., z][where[..., z]].mean()) for z in slices]
        assert found[("psnr_db", scale, domain, "2d")] == pytest.approx(np.mean(each), abs=1e-4)


def reference_ssim(x, r, data_range):
    """The map of scikit-image on an array padded with zeros."""
    room = 6
    options = {"data_range": data_range, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, similar = structural_similarity(np.pad(x, room), np.pad(r, room), full=True, **options)
    return similar[tuple(slice(room, -room) for _ in x.shape)]


def test_ssim_is_scikit_images(case):
    found, x, r, inside = case
    for scale in ("window", "one", "range"):
        span = scales(r, inside)[scale]
        full = {
            "3d": reference_ssim(x, r, span),
            "2d": np.stack([reference_ssim(x[..., z], r[..., z], span) for z in range(SHAPE[2])], axis=-1),
        }
        for (domain, where), dimension in itertools.product(domains(inside).items(), ("2d", "3d")):
            assert found[("ssim", scale, domain, dimension)] == pytest.approx(full[dimension][where].mean(), abs=2e-5)


def test_the_primary_definition_is_that_of_the_similarity_table():
    mask = make_mask(0.7)
    chi, reference = maps(3)
    found = {
        d.measure: d.value for d in all_definitions(chi, reference, mask) if (d.scale, d.domain, d.dimension) == PRIMARY
    }
    assert found["ssim"] == pytest.approx(ssim(chi, reference, mask), abs=1e-5)
    assert found["psnr_db"] == pytest.approx(psnr_db(chi, reference, mask), abs=1e-4)


def test_ten_ppb_are_forty_db_where_the_peak_is_one_ppm():
    # 12 ppb in 27 % of the matrix: 38.4 dB in the brain and 44.1 dB over the matrix, by arithmetic.
    mask = make_mask(0.7)
    _, reference = maps()
    sign = torch.from_numpy(np.indices(SHAPE).sum(0) % 2 * 2.0 - 1.0)
    sign = torch.where(mask, sign - sign[mask].mean(), sign)
    chi = reference + 0.012 * sign / sign[mask].std(correction=0)
    found = {(d.domain, d.dimension): d.value for d in all_definitions(chi, reference, mask)
             if d.measure == "psnr_db" and d.scale == "one"}  # fmt: skip
    assert found[("brain", "3d")] == pytest.approx(-20 * math.log10(0.012), abs=1e-4)
    share = float(mask.double().mean())
    assert found[("volume", "3d")] == pytest.approx(-20 * math.log10(0.012) - 10 * math.log10(share), abs=1e-4)


def test_equal_maps_and_what_lies_outside():
    mask = make_mask(0.7)
    _, reference = maps()
    other = torch.where(mask, reference + 0.1, math.nan)
    for one in all_definitions(other, reference, mask):
        if one.measure == "ssim":
            assert one.value == pytest.approx(1.0, abs=1e-6)
        else:
            assert one.value > 120


def test_refused():
    mask, (chi, reference) = make_mask(0.7), maps()
    with pytest.raises(InputError, match="constant"):
        all_definitions(chi, torch.zeros(SHAPE), mask)
    with pytest.raises(InputError, match="mask"):
        all_definitions(chi, reference, torch.zeros(SHAPE, dtype=torch.bool))


def test_the_summary_is_mean_sd_and_range_over_people():
    mask = make_mask(0.7)
    rows, similar = [], []
    for seed in range(3):
        key = {"participant_id": f"sub-{seed}", "arm": "DL3", "reference": "PI2"}
        found = all_definitions(*maps(seed), mask)
        rows += [
            key | {name: getattr(d, name) for name in ("measure", "scale", "domain", "dimension", "value")}
            for d in found
        ]
        similar.append(key | {"xsim": 0.8 + seed / 10, "rmse_ppb": 10.0 + seed, "ssim": 0.5})
    table = pd.DataFrame(rows)
    found = summary_table(table, pd.DataFrame(similar))
    assert len(found) == 24 + 18 + 2 and (found["n"] == 3).all()
    chosen = (
        (table["measure"] == "ssim")
        & (table["scale"] == "one")
        & (table["domain"] == "box")
        & (table["dimension"] == "2d")
    )
    values = table.loc[chosen, "value"].to_numpy()
    row = found.query("measure == 'ssim' and scale == 'one' and domain == 'box' and dimension == '2d'").iloc[0]
    assert (row["mean"], row["sd"]) == pytest.approx((values.mean(), values.std(ddof=1)))
    assert (row["lowest"], row["highest"]) == pytest.approx((values.min(), values.max()))
    assert found.set_index("measure").loc["rmse_ppb", "mean"] == pytest.approx(11.0)
