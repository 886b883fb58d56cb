"""Tissue table: physical ranges, ageing and spread of a drawn population."""

import numpy as np
import pytest

from dlqsm.acquisition.participants import draw_participants
from dlqsm.acquisition.tissue import REFERENCE_AGE_YEARS, TISSUE_NUMBERS, TISSUES, draw_tissue_values
from dlqsm.core.labels import NUCLEI

# Correlation with age that the published population shows, for an age SD of 15 years.
CORRELATION = {"Pu": 0.63, "Ca": 0.28, "RN": 0.45, "SNc": 0.40}


@pytest.fixture(scope="module")
def population():
    people = draw_participants(3000, seed=1)
    return np.array([p.age_years for p in people]), [
        draw_tissue_values(p.age_years, np.random.default_rng(p.seed)) for p in people
    ]


def test_every_tissue_has_physical_values():
    for name, row in TISSUES.items():
        assert row.r2star_hz > 0, name
        assert row.t1_ms > 0, name
        assert 0 <= row.proton_density <= 1, name
        # T2* cannot be longer than T1.
        assert 1e3 / row.r2star_hz < row.t1_ms, name
    assert set(NUCLEI) <= set(TISSUES)
    assert TISSUE_NUMBERS["air"] == 0
    assert TISSUES["air"].proton_density == 0


def test_order_of_susceptibilities_is_that_of_the_brain():
    chi = {name: row.chi_ppb for name, row in TISSUES.items()}
    assert chi["bone"] < chi["WM"] < 0 < chi["GM"] < chi["Ca"] < chi["Pu"] < chi["GPi"] < chi["GPe"] < chi["vein"]
    assert 400 <= chi["vein"] <= 500
    assert 10 <= chi["CSF"] <= 20


@pytest.mark.parametrize("name", [*NUCLEI, "GM", "WM"])
def test_population_reproduces_slope_and_spread(population, name):
    ages, values = population
    row = TISSUES[name]
    chi_ppb = np.array([v[name].chi_ppm * 1e3 for v in values])
    slope, offset = np.polyfit(ages, chi_ppb, 1)
    standard_error = row.between_person_sd_ppb / (ages.std() * np.sqrt(len(ages)))
    assert slope == pytest.approx(row.slope_ppb_per_year, abs=4 * standard_error)
    assert offset + slope * REFERENCE_AGE_YEARS == pytest.approx(row.chi_ppb, abs=0.1 * row.between_person_sd_ppb)
    residual_sd = np.std(chi_ppb - slope * ages - offset)
    assert residual_sd == pytest.approx(row.between_person_sd_ppb, rel=0.06)


@pytest.mark.parametrize(("name", "correlation"), CORRELATION.items())
def test_correlation_with_age(population, name, correlation):
    ages, values = population
    assert np.corrcoef(ages, [v[name].chi_ppm for v in values])[0, 1] == pytest.approx(correlation, abs=0.05)


def test_thalamus_loses_susceptibility_only_after_forty():
    thalamus = TISSUES["thalamus"]
    assert thalamus.mean_chi_ppb(20) == thalamus.mean_chi_ppb(40)
    assert thalamus.mean_chi_ppb(70) - thalamus.mean_chi_ppb(40) == pytest.approx(30 * thalamus.slope_ppb_per_year)
    assert thalamus.slope_ppb_per_year < 0


def test_r2star_rises_with_iron_and_stays_positive(population):
    _, values = population
    for name in TISSUES:
        assert min(v[name].r2star_hz for v in values) > 0, name
    putamen = [(v["Pu"].chi_ppm, v["Pu"].r2star_hz) for v in values]
    assert np.corrcoef(np.array(putamen).T)[0, 1] == pytest.approx(1.0)


def test_values_follow_from_the_generator():
    first, again, other = (draw_tissue_values(50.0, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert first == again
    assert first["RN"] != other["RN"]
    assert first["ventricle"] == first["CSF"]
