"""The physical constants and the conversions between Hz, ppm and radian: their only home."""

import math
from typing import Final

GAMMA_BAR_HZ_PER_T: Final = 42.577478461e6
"""Proton gyromagnetic ratio over 2 pi [Hz/T], CODATA 2022 (free proton, as in ``scipy.constants``)."""

TWO_PI: Final = 2.0 * math.pi
PPB_PER_PPM: Final = 1e3
S_PER_MS: Final = 1e-3
LARGEST_AGE_YEARS: Final = 130.0


def hz_per_ppm(field_strength_t: float) -> float:
    """Larmor frequency of one ppm of the main field [Hz]: gamma/2pi * B0 * 1e-6 (127.73 at 3 T)."""
    return GAMMA_BAR_HZ_PER_T * field_strength_t * 1e-6


def rad_per_ppm(field_strength_t: float, time_s: float) -> float:
    """Phase that one ppm gathers in ``time_s`` [rad]: 2 pi gamma/2pi B0 1e-6 t."""
    return TWO_PI * hz_per_ppm(field_strength_t) * time_s
