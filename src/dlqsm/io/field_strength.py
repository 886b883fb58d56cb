"""The main field of a scan, from what its header names: nominal field and resonance frequency."""

from __future__ import annotations

from typing import Final

from dlqsm.core import units

_AGREEMENT: Final = 1e-3
"""Relative difference up to which nominal field and resonance frequency say the same."""


def believed_field_t(nominal_t: float | None, frequency_hz: float | None) -> tuple[float | None, str | None]:
    """Main field [T], and a sentence where the two disagree, as for the "3 T" of some scanners, which are 2.89 T.

    Parameters
    ----------
    nominal_t
        Field that the header names [T]; None or zero where it names none.
    frequency_hz
        Resonance frequency of protons [Hz]; None or zero where the header names none.
    """
    measured = frequency_hz / units.GAMMA_BAR_HZ_PER_T if frequency_hz else None
    if nominal_t and measured and abs(measured - nominal_t) > _AGREEMENT * nominal_t:
        told = f"The header says {nominal_t:g} T, its resonance frequency {measured:.4f} T; the frequency is believed."
        return measured, told
    return nominal_t or measured or None, None
