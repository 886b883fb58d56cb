"""Quality figures of one scan, from its maps: what `core.alarms` has limits for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

import torch

from dlqsm.core.checks import InputError
from dlqsm.core.lags import LagSums
from dlqsm.core.scan import Scan
from dlqsm.core.units import PPB_PER_PPM, S_PER_MS
from dlqsm.pipeline.phase_trust import PhaseTrust
from dlqsm.pipeline.susceptibility import QsmMaps
from dlqsm.qsm.field_axis import axis_misfit
from dlqsm.qsm.filtered_phase import LEAST_RATIO, FieldSpread
from dlqsm.qsm.mask import brain_mask
from dlqsm.qsm.mask_shift import mask_shift

LEAST_DICE: Final = 0.6
"""A mask less like the brain that the image shows was made since that brain cannot be found: its shift is not told."""
LEAST_SPAN_S: Final = 0.010
"""Echoes that span less tell R2* too poorly to scale a field by it."""


def map_figures(
    maps: QsmMaps, sums: LagSums, scan: Scan, trust: PhaseTrust, external_mask: torch.Tensor | None = None
) -> dict[str, float]:
    """Figures by the names of `core.alarms.ALARMS`; those that the data do not tell are absent.

    Parameters
    ----------
    maps, sums, scan
        The maps, and what they were made of.
    trust
        What the maps say of the phase.
    external_mask
        Brain mask made elsewhere, where one was given.
    """
    found = {
        **_of_echoes(sums, scan, maps),
        **_of_phase(trust, scan),
        **solver_figures(maps.summary),
        "noise": PPB_PER_PPM * float(maps.noise_hz[maps.eroded_mask].median()) / scan.hz_per_ppm,
        "reference": PPB_PER_PPM * abs(float(maps.chi_ppm[maps.eroded_mask].double().mean())),
    }
    if maps.r2star_hz is not None:
        misfit = axis_misfit(maps.local_field_hz.cpu(), maps.r2star_hz.cpu(), maps.eroded_mask.cpu(), scan)
        found |= {} if misfit is None else {"b0_axis": misfit}
    if external_mask is not None:
        found |= _of_external(external_mask.cpu(), sums.power.sum(0).sqrt().cpu(), scan)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def coil_figures(decisions: Mapping[str, Any]) -> dict[str, float]:
    """Share of silent coils, as the record of a reconstruction tells it; empty where it does not."""
    silent, coils = decisions.get("n_silent_coils"), decisions.get("n_coils")
    return {"silent_coils": silent / coils} if isinstance(silent, int) and isinstance(coils, int) and coils else {}


def _of_external(mask: torch.Tensor, magnitude: torch.Tensor, scan: Scan) -> dict[str, float]:
    """How far a mask made elsewhere lies off the brain; empty where no brain is found that it is like."""
    try:
        brain = brain_mask(magnitude, scan)
    except InputError:
        return {}
    shared, both = int((mask & brain).sum()), int(mask.sum()) + int(brain.sum())
    if 2 * shared < LEAST_DICE * both or not shared:
        return {}
    return {"mask_shift": float(max(map(abs, mask_shift(mask, brain))))}


def _of_echoes(sums: LagSums, scan: Scan, maps: QsmMaps) -> dict[str, float]:
    """Echo times, whether the signal falls from echo to echo, and how fast."""
    times_ms = [time_s / S_PER_MS for time_s in scan.echo_times_s]
    found = {"first_echo": times_ms[0], "last_echo": times_ms[-1]} if times_ms else {}
    inside = maps.eroded_mask.to(sums.power.device)
    signal = [float(power[inside].double().sqrt().mean()) for power in sums.power]
    if len(signal) > 1 and min(signal) > 0.0:
        found["echo_order"] = max(later / earlier for earlier, later in pairwise(signal))
    if maps.r2star_hz is not None:
        rate_hz = float(maps.r2star_hz[maps.eroded_mask].nan_to_num(0.0).median())
        found["decay"] = rate_hz / scan.field_over_3t
    return found


def _of_phase(trust: PhaseTrust, scan: Scan) -> dict[str, float]:
    """Sign, low frequencies, poles, and the susceptibility that decay lets expect."""
    found = _of_spread(trust.spread)
    sign = trust.sign
    if sign is not None and sign.n_places:
        found["sign"] = sign.score
        times_s = scan.echo_times_s
        if sign.r2star_excess_hz > 0.0 and times_s[-1] - times_s[0] >= LEAST_SPAN_S:
            found["field_scale"] = sign.excess_ppb / sign.r2star_excess_hz * scan.field_over_3t
    if trust.poles.get("n_loops"):
        found["poles"] = max(trust.poles["n_poles"]) / trust.poles["n_loops"]
    return found


def _of_spread(spread: FieldSpread) -> dict[str, float]:
    """Low frequencies, where the high ones let expect more of them: else the scan is of no head, or tells nothing."""
    judged = spread.verdict != "unclear" and spread.high_ppb > LEAST_RATIO * spread.low_ppb
    return {"filtered": spread.low_ppb} if judged else {}


def solver_figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """How far solvers ended from their tolerance, and which share of the mask unwrapping left out, from an account."""
    found = {}
    for step, ended in summary.get("convergence", {}).items():
        if ended["tolerance"] > 0.0:
            ratio = ended["residual"] / ended["tolerance"]
            found[f"{step}_converged"] = min(ratio, 1.0) if ended["converged"] else ratio
    unwrapping, n_mask = summary.get("unwrapping", {}), summary.get("mask", {}).get("n_mask", 0)
    if n_mask and "n_uncertain_voxels" in unwrapping:
        found["unwrapping"] = unwrapping["n_uncertain_voxels"] / n_mask
    return found
