"""Tissue values of the virtual head at 3 T: the only home of these numbers.

Susceptibility is relative to the mean of the brain. Ageing follows the iron measurements of Hallgren & Sourander and
later QSM populations; the spread between persons is what is left when a population of age SD 15 years is to show the
correlation with age that is known for each nucleus.

References
----------
Hallgren & Sourander, J Neurochem 3:41 (1958), doi:10.1111/j.1471-4159.1958.tb12607.x (iron against age);
Li et al., Hum Brain Mapp 35:2698 (2014), doi:10.1002/hbm.22360 (susceptibility against age);
Shin et al., NeuroImage 240:118371 (2021), doi:10.1016/j.neuroimage.2021.118371 (R2' per susceptibility);
Spees et al., Magn Reson Med 45:533 (2001), doi:10.1002/mrm.1072 (susceptibility of blood);
Stanisz et al., Magn Reson Med 54:507 (2005), doi:10.1002/mrm.20605 (T1 at 3 T).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from dlqsm.core.units import PPB_PER_PPM, S_PER_MS

FIELD_STRENGTH_T: Final = 3.0
"""Where R2* and T1 hold; they are not scaled to other field strengths."""
REFERENCE_AGE_YEARS: Final = 44.0
R2_STAR_HZ_PER_PPM: Final = 137.0
"""Relaxation that iron adds per susceptibility (Shin 2021); couples R2* to chi within a tissue."""


@dataclass(frozen=True, slots=True)
class Tissue:
    """One row of the table: population values at `REFERENCE_AGE_YEARS`.

    Parameters
    ----------
    chi_ppb
        Mean susceptibility [ppb].
    slope_ppb_per_year
        Its change with age, from ``ages_from_years`` on [ppb/year].
    between_person_sd_ppb
        SD between persons of one age [ppb].
    r2star_hz, t1_ms, proton_density
        R2* [1/s] and T1 [ms] at 3 T; proton density with water = 1.
    texture_ppb
        SD of the smooth variation within the tissue [ppb].
    ages_from_years
        Age at which the change with age sets in.
    """

    chi_ppb: float
    slope_ppb_per_year: float
    between_person_sd_ppb: float
    r2star_hz: float
    t1_ms: float
    proton_density: float
    texture_ppb: float = 0.0
    ages_from_years: float = 0.0

    def mean_chi_ppb(self, age_years: float) -> float:
        """Population mean at an age: chi + slope (max(age, from) - 44)."""
        return self.chi_ppb + self.slope_ppb_per_year * (max(age_years, self.ages_from_years) - REFERENCE_AGE_YEARS)


@dataclass(frozen=True, slots=True)
class TissueValues:
    """What one tissue of one person has: susceptibility [ppm], R2* [1/s], T1 [s], proton density."""

    chi_ppm: float
    r2star_hz: float
    t1_s: float
    proton_density: float


# fmt: off
TISSUES: Final = {
    #                chi    slope  SD     R2*    T1     PD     texture
    "air":       Tissue(9400.0, 0.0, 0.0,  50.0, 1000.0, 0.0),
    "WM":        Tissue(-25.0, 0.05,  6.0, 20.0,  860.0, 0.70, 6.0),
    "GM":        Tissue(15.0,  0.10,  6.0, 17.0, 1350.0, 0.82, 4.0),
    "CSF":       Tissue(15.0,  0.0,   3.0,  2.0, 4200.0, 1.0),
    "ventricle": Tissue(15.0,  0.0,   3.0,  2.0, 4200.0, 1.0),
    "thalamus":  Tissue(5.0,  -0.10,  8.0, 19.0, 1050.0, 0.80, 4.0, ages_from_years=40.0),
    "dentate":   Tissue(95.0,  0.50, 18.0, 28.0, 1000.0, 0.77),
    "Pu":        Tissue(45.0,  0.60, 11.1, 22.5, 1150.0, 0.81),
    "Ca":        Tissue(42.0,  0.25, 12.9, 20.0, 1250.0, 0.81),
    "GPe":       Tissue(120.0, 0.15, 22.0, 36.0,  950.0, 0.76),
    "GPi":       Tissue(110.0, 0.15, 24.0, 35.0,  950.0, 0.76),
    "RN":        Tissue(95.0,  0.60, 17.9, 28.0, 1000.0, 0.76),
    "SNc":       Tissue(90.0,  0.55, 18.9, 29.5, 1000.0, 0.76),
    "SNr":       Tissue(115.0, 0.25, 24.7, 33.5, 1000.0, 0.76),
    "vein":      Tissue(450.0, 0.0,  30.0, 45.0, 1650.0, 0.85),
    "bone":      Tissue(-2000.0, 0.0, 0.0, 400.0, 350.0, 0.03),
    "fat":       Tissue(20.0,  0.0,   0.0, 25.0,  380.0, 0.90),
    "muscle":    Tissue(0.0,   0.0,   0.0, 30.0, 1400.0, 0.80),
    "eye":       Tissue(10.0,  0.0,   0.0,  3.0, 4000.0, 1.0),
}
"""Veins carry 0.45 ppm where they fill the fine cell; maps show 0.2 to 0.35 after partial volume. The dentate's slope
and spread follow the red nucleus; its mean lies below the 152 ppb of one 7 T subject."""
# fmt: on

TISSUE_NUMBERS: Final = {name: number for number, name in enumerate(TISSUES)}
"""Number of each tissue in ``TissueMaps.tissue_labels``; 0 is air."""

_IRON_TISSUES: Final = frozenset({"Pu", "Ca", "GPe", "GPi", "RN", "SNc", "SNr", "dentate", "thalamus", "GM"})


def draw_tissue_values(age_years: float, rng: np.random.Generator) -> dict[str, TissueValues]:
    """Draw one person's values: the population mean at that age plus the person's own deviation.

    chi = mean(age) + SD xi; in tissues whose iron varies R2* follows by `R2_STAR_HZ_PER_PPM`. Ventricles carry the
    person's CSF.

    Parameters
    ----------
    age_years
        Age of the person [years].
    rng
        Source of the deviations xi, one for each tissue in the table's order.

    Returns
    -------
    Values by tissue name.
    """
    values = {name: _person(name, row, age_years, rng.standard_normal()) for name, row in TISSUES.items()}
    return values | {"ventricle": values["CSF"]}


def _person(name: str, row: Tissue, age_years: float, deviation: float) -> TissueValues:
    # Beyond 2.5 SD a nucleus would leave what was ever measured in the healthy (R2* of a thalamus below its R2).
    own = row.between_person_sd_ppb * float(np.clip(deviation, -2.5, 2.5))
    chi_ppb = row.mean_chi_ppb(age_years) + own
    excess_ppm = (chi_ppb - row.chi_ppb) / PPB_PER_PPM if name in _IRON_TISSUES else 0.0
    r2star_hz = row.r2star_hz + R2_STAR_HZ_PER_PPM * excess_ppm
    return TissueValues(chi_ppb / PPB_PER_PPM, r2star_hz, row.t1_ms * S_PER_MS, row.proton_density)
